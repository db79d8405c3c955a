//! KVM behind the traits of `monocore-hypervisor`.
//!
//! Interrupt controllers live in the kernel and doorbells are ioeventfds, so a running guest leaves the kernel only for
//! accesses nobody put a doorbell on; an interrupt is delivered by the thread that raises its line. A vCPU is kicked by a signal whose handler sets
//! `immediate_exit`, so that a kick just before KVM_RUN is not lost.
//!
//! Trust: the guest decides what arrives in `kvm_run`; the kernel bounds its lengths.
//! Source: Linux Documentation/virt/kvm/api.rst.
#![allow(unsafe_code, reason = "a hypervisor backend: memory slots, shared kvm_run pages, signals")]

mod error;
mod irq_line;
mod kick;
mod port_io;
mod probe;
mod system;
mod vcpu;
mod vm;

#[cfg(target_arch = "x86_64")]
#[path = "x86_64/mod.rs"]
mod arch;

pub use arch::{BIND_REQUESTS, RAISE_REQUESTS, RUN_REQUESTS, VcpuState, VmState};
pub use error::Error;
pub use kick::{KvmVcpuHandle, kick_signal};
pub use probe::{HostFacts, Unusable, probe};
pub use system::Kvm;
pub use vcpu::{KvmVcpu, UnboundVcpu};
pub use vm::KvmVm;
