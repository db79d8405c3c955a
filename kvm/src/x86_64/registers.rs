//! Registers at the first instruction of a PVH kernel.
//!
//! Source: Xen docs/misc/pvh.pandoc ("x86/HVM direct boot ABI"): 32-bit protected mode without paging, flat segments,
//! `ebx` the address of the start info.

use kvm_bindings::{kvm_regs, kvm_segment, kvm_xcr, kvm_xcrs};
use kvm_ioctls::VcpuFd;
use monocore_hypervisor::Gpa;

use crate::Error;
use crate::error::NamedCall;

/// Protection enable and extension type.
const CR0_PE_ET: u64 = 0x11;
/// The flags bit that is always one.
const RFLAGS_RESERVED: u64 = 2;

const SEGMENT_CODE: u8 = 0xb;
const SEGMENT_DATA: u8 = 0x3;
const SEGMENT_TASK_BUSY: u8 = 0xb;

/// Sets a vCPU to enter a kernel at `entry` with the start info at `start_info`.
pub(super) fn boot(vcpu: &VcpuFd, entry: Gpa, start_info: Gpa) -> Result<(), Error> {
    let mut special = vcpu.get_sregs().call("KVM_GET_SREGS")?;
    special.cs = flat(SEGMENT_CODE, 0x8);
    let data = flat(SEGMENT_DATA, 0x10);
    (special.ds, special.es, special.fs, special.gs, special.ss) = (data, data, data, data, data);
    special.tr = kvm_segment {
        limit: 0x67,
        type_: SEGMENT_TASK_BUSY,
        present: 1,
        selector: 0x18,
        ..Default::default()
    };
    special.cr0 = CR0_PE_ET;
    special.cr4 = 0;
    special.efer = 0;
    vcpu.set_sregs(&special).call("KVM_SET_SREGS")?;
    let general = kvm_regs { rip: entry.0, rbx: start_info.0, rflags: RFLAGS_RESERVED, ..Default::default() };
    vcpu.set_regs(&general).call("KVM_SET_REGS")
}

/// A 32-bit segment from 0 to 4 GiB.
fn flat(type_: u8, selector: u16) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    }
}

/// Sets XCR0 to `value`, which Linux would set as well.
///
/// KVM derives the XSAVE area's length in CPUID leaf 0xd from the XCR0 it knows of. An emulated AMD-V does not tell it of a
/// guest's XSETBV; the guest then finds a length that does not fit and complains.
pub(super) fn enable_xfeatures(vcpu: &VcpuFd, value: u64) -> Result<(), Error> {
    let mut registers = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
    registers.xcrs[0] = kvm_xcr { xcr: 0, reserved: 0, value };
    vcpu.set_xcrs(&registers).call("KVM_SET_XCRS")
}
