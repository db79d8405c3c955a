//! What a snapshot keeps of a machine and its vCPUs.
//!
//! Order of restoring matters: CPUID first (it decides which MSRs and XSAVE states exist), then the special registers, which
//! hold the APIC's base, then the local APIC, and the TSC deadline after it.

use kvm_bindings::{
    CpuId, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_MAX_CPUID_ENTRIES, Msrs,
    kvm_clock_data, kvm_cpuid_entry2, kvm_debugregs, kvm_irqchip, kvm_lapic_state, kvm_mp_state,
    kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{VcpuFd, VmFd};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::NamedCall;

/// TSC_DEADLINE, restored last: it arms the timer, which needs the TSC and the APIC.
const MSR_TSC_DEADLINE: u32 = 0x6e0;
/// MSRs a guest of this machine can have changed, beside those in the special registers. Those the host lacks are left out.
const MSRS: &[u32] = &[
    0x10, // TSC
    0x3a,
    0x3b, // FEATURE_CONTROL, TSC_ADJUST
    0x48,
    0x122,
    0x123, // SPEC_CTRL, TSX_CTRL, MCU_OPT_CTRL
    0x174,
    0x175,
    0x176, // SYSENTER
    0x1a0,
    0x277, // MISC_ENABLE, PAT
    0xda0,
    0x1c4,
    0x1c5, // XSS, XFD, XFD_ERR
    0xc000_0081,
    0xc000_0082,
    0xc000_0083,
    0xc000_0084, // STAR, LSTAR, CSTAR, SFMASK
    0xc000_0102,
    0xc000_0103, // KERNEL_GS_BASE, TSC_AUX
    0xc001_0114,
    0xc001_011f, // VM_CR, VIRT_SPEC_CTRL
    0x4b56_4d00,
    0x4b56_4d01,
    0x4b56_4d02,
    0x4b56_4d03,
    0x4b56_4d04,
    0x4b56_4d05, // kvmclock, async PF, steal time, EOI
    MSR_TSC_DEADLINE,
];

/// Everything a guest can see of a vCPU.
#[derive(Serialize, Deserialize)]
pub struct VcpuState {
    cpuid: Vec<kvm_cpuid_entry2>,
    tsc_khz: u32,
    general: kvm_regs,
    special: kvm_sregs,
    xsave: kvm_xsave,
    xcrs: kvm_xcrs,
    debug: kvm_debugregs,
    lapic: kvm_lapic_state,
    msrs: Vec<kvm_msr_entry>,
    events: kvm_vcpu_events,
    mp_state: kvm_mp_state,
}

/// Interrupt controllers and clock.
#[derive(Clone, Serialize, Deserialize)]
pub struct VmState {
    irqchips: Vec<kvm_irqchip>,
    clock: kvm_clock_data,
}

pub(crate) fn save_vm(vm: &VmFd) -> Result<VmState, Error> {
    let chips = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC];
    let irqchips = chips
        .iter()
        .map(|&chip_id| {
            let mut chip = kvm_irqchip { chip_id, ..Default::default() };
            vm.get_irqchip(&mut chip).call("KVM_GET_IRQCHIP")?;
            Ok(chip)
        })
        .collect::<Result<_, Error>>()?;
    // The flags tell how the reading was taken and are not to be given back.
    let clock = kvm_clock_data { flags: 0, ..vm.get_clock().call("KVM_GET_CLOCK")? };
    Ok(VmState { irqchips, clock })
}

pub(crate) fn restore_vm(vm: &VmFd, state: &VmState) -> Result<(), Error> {
    for chip in &state.irqchips {
        vm.set_irqchip(chip).call("KVM_SET_IRQCHIP")?;
    }
    vm.set_clock(&state.clock).call("KVM_SET_CLOCK")
}

pub(crate) fn save_vcpu(vcpu: &VcpuFd) -> Result<VcpuState, Error> {
    // The state an INIT may be pending in settles with the MP state, so that one comes first.
    let mp_state = vcpu.get_mp_state().call("KVM_GET_MP_STATE")?;
    Ok(VcpuState {
        cpuid: vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES).call("KVM_GET_CPUID2")?.as_slice().to_vec(),
        tsc_khz: vcpu.get_tsc_khz().call("KVM_GET_TSC_KHZ")?,
        general: vcpu.get_regs().call("KVM_GET_REGS")?,
        special: vcpu.get_sregs().call("KVM_GET_SREGS")?,
        xsave: vcpu.get_xsave().call("KVM_GET_XSAVE")?,
        xcrs: vcpu.get_xcrs().call("KVM_GET_XCRS")?,
        debug: vcpu.get_debug_regs().call("KVM_GET_DEBUGREGS")?,
        lapic: vcpu.get_lapic().call("KVM_GET_LAPIC")?,
        msrs: save_msrs(vcpu)?,
        events: vcpu.get_vcpu_events().call("KVM_GET_VCPU_EVENTS")?,
        mp_state,
    })
}

pub(crate) fn restore_vcpu(vcpu: &VcpuFd, state: &VcpuState) -> Result<(), Error> {
    let cpuid = CpuId::from_entries(&state.cpuid)
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidData))
        .call("CPUID of the saved state")?;
    vcpu.set_cpuid2(&cpuid).call("KVM_SET_CPUID2")?;
    if vcpu.get_tsc_khz().ok() != Some(state.tsc_khz) {
        vcpu.set_tsc_khz(state.tsc_khz).call("KVM_SET_TSC_KHZ")?;
    }
    vcpu.set_mp_state(state.mp_state).call("KVM_SET_MP_STATE")?;
    vcpu.set_regs(&state.general).call("KVM_SET_REGS")?;
    vcpu.set_sregs(&state.special).call("KVM_SET_SREGS")?;
    // SAFETY: no dynamically enabled XSAVE state (AMX) is ever permitted to this process, so the fixed 4 KiB area is all
    // the kernel reads.
    unsafe { vcpu.set_xsave(&state.xsave) }.call("KVM_SET_XSAVE")?;
    vcpu.set_xcrs(&state.xcrs).call("KVM_SET_XCRS")?;
    vcpu.set_debug_regs(&state.debug).call("KVM_SET_DEBUGREGS")?;
    vcpu.set_lapic(&state.lapic).call("KVM_SET_LAPIC")?;
    restore_msrs(vcpu, &state.msrs)?;
    vcpu.set_vcpu_events(&state.events).call("KVM_SET_VCPU_EVENTS")
}

fn one_msr(entry: kvm_msr_entry) -> Result<Msrs, Error> {
    Msrs::from_entries(&[entry])
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::OutOfMemory))
        .call("allocate an MSR list")
}

/// Reads one by one: KVM stops a list at the first MSR the host lacks.
fn save_msrs(vcpu: &VcpuFd) -> Result<Vec<kvm_msr_entry>, Error> {
    let mut saved = Vec::with_capacity(MSRS.len());
    for &index in MSRS {
        let mut list = one_msr(kvm_msr_entry { index, ..Default::default() })?;
        if vcpu.get_msrs(&mut list).call("KVM_GET_MSRS")? == 1 {
            saved.extend_from_slice(list.as_slice());
        }
    }
    Ok(saved)
}

fn restore_msrs(vcpu: &VcpuFd, msrs: &[kvm_msr_entry]) -> Result<(), Error> {
    for entry in msrs {
        let set = vcpu.set_msrs(&one_msr(*entry)?).call("KVM_SET_MSRS")?;
        if set != 1 {
            return Err(Error::Msr { index: entry.index });
        }
    }
    Ok(())
}
