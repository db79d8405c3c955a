//! Putting a kernel, its initramfs and what it is told into guest RAM.

#[cfg(target_arch = "x86_64")]
#[path = "boot/x86_64.rs"]
mod arch;
mod command_line;
mod elf;
mod initrd;
mod kernel;
mod mp_table;
mod pvh;

pub(crate) use arch::load;
pub(crate) use command_line::{CommandLine, virtio_window};
