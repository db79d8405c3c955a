//! What a vCPU's run ends with, and whom it asks on the way.

use crate::Gpa;

/// The bus a vCPU reaches when the guest touches an address that is no RAM.
///
/// Backends call it from within [`Vcpu::run`](crate::Vcpu::run), so plain device accesses never unwind the
/// run loop. Accesses nobody answers read as all ones and writes to them are dropped.
pub trait CpuIo {
    /// The guest reads `data.len()` bytes (1, 2, 4 or 8) at `gpa`.
    fn mmio_read(&self, gpa: Gpa, data: &mut [u8]);
    /// The guest writes `data.len()` bytes (1, 2, 4 or 8) at `gpa`.
    fn mmio_write(&self, gpa: Gpa, data: &[u8]);
    /// The guest reads from x86 I/O port `port`; `data` holds one element (1, 2 or 4 bytes).
    fn port_read(&self, port: u16, data: &mut [u8]);
    /// The guest writes to x86 I/O port `port`; `data` holds one element (1, 2 or 4 bytes).
    fn port_write(&self, port: u16, data: &[u8]);
    /// Whether something just written asks this vCPU to leave its run loop (the exit device, a reset).
    fn should_stop(&self) -> bool;
}

/// Why [`Vcpu::run`](crate::Vcpu::run) returned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VcpuExit {
    /// [`VcpuHandle::kick`](crate::VcpuHandle::kick) was called, or a signal came.
    Kicked,
    /// [`CpuIo::should_stop`] said so.
    Stopped,
    /// The guest powered off (PSCI SYSTEM_OFF, or a halt that nothing can end).
    PowerOff,
    /// The guest asked for a reset.
    Reset,
    /// x86: a fault while delivering a double fault; the guest's kernel is lost.
    TripleFault,
    /// The hypervisor could not go on, for example an instruction it cannot emulate.
    InternalError {
        /// The hypervisor's own number for the cause (KVM: `suberror`).
        suberror: u32,
        /// What it said beside it, bounded by the hypervisor's interface (KVM: 16 words).
        data: Vec<u64>,
    },
    /// The hardware refused to enter the guest.
    FailEntry {
        /// The hardware's reason (VMX/SVM exit code).
        reason: u64,
    },
}
