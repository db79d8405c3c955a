//! The ioctl requests a machine's threads make, for whoever confines them.
//!
//! Source: Linux include/uapi/linux/kvm.h.

use std::mem::size_of;

use kvm_bindings::{KVMIO, kvm_cpuid2, kvm_irq_level, kvm_mp_state, kvm_regs, kvm_sregs, kvm_xcrs};
use vmm_sys_util::ioctl::{_IOC_NONE, _IOC_READ, _IOC_WRITE};

/// What a vCPU's thread asks of KVM while the machine runs: KVM_RUN for [`Vcpu::run`](monocore_hypervisor::Vcpu::run), and
/// KVM_KVMCLOCK_CTRL for [`Vcpu::note_standstill`](monocore_hypervisor::Vcpu::note_standstill).
pub const RUN_REQUESTS: &[u64] = &[
    request(_IOC_NONE, 0x80, 0),
    // KVM_KVMCLOCK_CTRL
    request(_IOC_NONE, 0xad, 0),
];

/// What [`IrqLine::raise`](monocore_hypervisor::IrqLine::raise) asks of KVM: KVM_IRQ_LINE.
pub const RAISE_REQUESTS: &[u64] = &[request(_IOC_WRITE, 0x61, size_of::<kvm_irq_level>())];

/// What [`BindVcpu::bind`](monocore_hypervisor::BindVcpu::bind) asks of KVM on the vCPU's thread.
pub const BIND_REQUESTS: &[u64] = &[
    // KVM_GET_REGS is not among them: a booting vCPU's are set whole.
    request(_IOC_WRITE, 0x82, size_of::<kvm_regs>()),
    request(_IOC_READ, 0x83, size_of::<kvm_sregs>()),
    request(_IOC_WRITE, 0x84, size_of::<kvm_sregs>()),
    request(_IOC_WRITE, 0x90, size_of::<kvm_cpuid2>()),
    request(_IOC_WRITE, 0x99, size_of::<kvm_mp_state>()),
    // KVM_GET_TSC_KHZ
    request(_IOC_NONE, 0xa3, 0),
    request(_IOC_WRITE, 0xa7, size_of::<kvm_xcrs>()),
];

/// Direction, size, type and number in one word (include/uapi/asm-generic/ioctl.h).
const fn request(direction: u32, number: u32, size: usize) -> u64 {
    ((direction as u64) << 30) | ((size as u64) << 16) | ((KVMIO as u64) << 8) | number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_the_kernels_header() {
        assert_eq!(RUN_REQUESTS, [0xae80, 0xaead]);
        assert_eq!(RAISE_REQUESTS, [0x4008_ae61]);
        // As strace prints them.
        let expected = [0x4090_ae82, 0x8138_ae83, 0x4138_ae84, 0x4008_ae90, 0x4004_ae99, 0xaea3, 0x4188_aea7];
        assert_eq!(BIND_REQUESTS, expected);
    }
}
