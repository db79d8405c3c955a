//! Where things lie in the guest's physical address space, one file per architecture.

#[cfg(target_arch = "x86_64")]
#[path = "layout/x86_64.rs"]
mod arch;

pub use arch::*;
