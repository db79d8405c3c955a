//! What differs by architecture: CPUID, boot registers, interrupt controllers, snapshot state.

mod cpuid;
mod registers;
mod requests;
mod state;

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, KVM_MP_STATE_UNINITIALIZED, kvm_mp_state};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};
use monocore_hypervisor::{VcpuStart, layout};

use crate::Error;
use crate::error::NamedCall;

pub use requests::{BIND_REQUESTS, RAISE_REQUESTS, RUN_REQUESTS};
pub use state::{VcpuState, VmState};
pub(crate) use state::{restore_vcpu, restore_vm, save_vcpu, save_vm};

/// What the host offers its guests, less what a machine of ours does not have.
pub(crate) fn supported_cpuid(kvm: &Kvm) -> Result<CpuId, Error> {
    let mut entries = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).call("KVM_GET_SUPPORTED_CPUID")?;
    entries.retain(cpuid::is_kept);
    let tsc_deadline = kvm.check_extension(Cap::TscDeadlineTimer);
    cpuid::filter(entries.as_mut_slice(), tsc_deadline);
    Ok(entries)
}

/// The CPUID of vCPU `index` of `vcpus`.
pub(crate) fn vcpu_cpuid(supported: &CpuId, index: u8, vcpus: u8) -> CpuId {
    let mut entries = supported.clone();
    cpuid::set_topology(entries.as_mut_slice(), index, vcpus);
    entries
}

/// Makes the interrupt controllers; there is no PIT.
pub(crate) fn prepare_vm(vm: &VmFd) -> Result<(), Error> {
    let identity_map = layout::KVM_IDENTITY_MAP.0;
    vm.set_identity_map_address(identity_map).call("KVM_SET_IDENTITY_MAP_ADDR")?;
    let tss = usize::try_from(identity_map + 0x1000).unwrap_or(usize::MAX);
    vm.set_tss_address(tss).call("KVM_SET_TSS_ADDR")?;
    vm.create_irq_chip().call("KVM_CREATE_IRQCHIP")
}

/// Gives a vCPU its CPUID and, where it boots, its registers.
pub(crate) fn prepare_vcpu(vcpu: &VcpuFd, mut entries: CpuId, start: VcpuStart) -> Result<(), Error> {
    if let Ok(tsc_khz) = vcpu.get_tsc_khz() {
        cpuid::set_tsc_frequency(&mut entries, tsc_khz);
    }
    vcpu.set_cpuid2(&entries).call("KVM_SET_CPUID2")?;
    if let Some(value) = cpuid::xfeatures(entries.as_slice()) {
        registers::enable_xfeatures(vcpu, value)?;
    }
    match start {
        VcpuStart::Boot { entry, argument } => registers::boot(vcpu, entry, argument),
        VcpuStart::Wait => {
            vcpu.set_mp_state(kvm_mp_state { mp_state: KVM_MP_STATE_UNINITIALIZED }).call("KVM_SET_MP_STATE")
        }
    }
}
