//! The processor a guest sees: the host's, made to agree with itself and with this machine.
//!
//! Taken away: nested virtualization, performance counters, machine checks, MTRRs, power management and protection keys, each
//! of which costs exits or needs devices and registers that are not there. Added: TSC_DEADLINE and ARAT, without which
//! Linux calibrates its timers against hardware this machine does not have.
//!
//! Source: Intel SDM vol. 2A CPUID; AMD APM vol. 3 appendix E; Linux Documentation/virt/kvm/x86/cpuid.rst.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

const LEAF_1_ECX_MONITOR: u32 = 1 << 3;
const LEAF_1_ECX_VMX: u32 = 1 << 5;
const LEAF_1_ECX_SMX: u32 = 1 << 6;
const LEAF_1_ECX_EST: u32 = 1 << 7;
const LEAF_1_ECX_TM2: u32 = 1 << 8;
const LEAF_1_ECX_PDCM: u32 = 1 << 15;
const LEAF_1_ECX_DCA: u32 = 1 << 18;
const LEAF_1_ECX_TSC_DEADLINE: u32 = 1 << 24;
const LEAF_1_ECX_XSAVE: u32 = 1 << 26;
const LEAF_1_ECX_HYPERVISOR: u32 = 1 << 31;
const LEAF_1_EDX_MCE: u32 = 1 << 7;
const LEAF_1_EDX_MTRR: u32 = 1 << 12;
const LEAF_1_EDX_MCA: u32 = 1 << 14;
const LEAF_1_EDX_HTT: u32 = 1 << 28;
const LEAF_6_EAX_ARAT: u32 = 1 << 2;
const LEAF_7_ECX_PKU: u32 = 1 << 3;
const LEAF_7_ECX_OSPKE: u32 = 1 << 4;
const LEAF_7_ECX_PKS: u32 = 1 << 31;
const EXT_1_ECX_CMP_LEGACY: u32 = 1 << 1;
const EXT_1_ECX_SVM: u32 = 1 << 2;
const EXT_1_ECX_PERFCTR: u32 = (1 << 23) | (1 << 24) | (1 << 28);
const EXT_1_EDX_MCE_MTRR_MCA: u32 = (1 << 7) | (1 << 12) | (1 << 14);
/// XCR0 bit of the protection key register.
const XFEATURE_PKRU: u32 = 9;
/// CPUID leaf where the TSC's and the APIC timer's frequencies stand, as VMware began it.
const LEAF_HYPERVISOR_TIMING: u32 = 0x4000_0010;
const LEAF_HYPERVISOR: u32 = 0x4000_0000;
/// KVM's local APIC timer counts nanoseconds.
const APIC_TIMER_KHZ: u32 = 1_000_000;

/// Whether a leaf belongs to a machine of ours at all.
pub(super) fn is_kept(entry: &kvm_cpuid_entry2) -> bool {
    // PKRU's part of the XSAVE area; V2 topology, which KVM passes through from the host.
    let is_pkru = entry.function == 0xd && entry.index == XFEATURE_PKRU;
    !is_pkru && !matches!(entry.function, 0x1f | 0x8000_0026)
}

/// Takes away and adds features, the same for all vCPUs.
pub(super) fn filter(entries: &mut [kvm_cpuid_entry2], tsc_deadline: bool) {
    let xsave_len = xsave_area_len(entries);
    for entry in entries {
        match (entry.function, entry.index) {
            (0x1, _) => filter_leaf_1(entry, tsc_deadline),
            (0x6, _) => *entry = registers(entry, [LEAF_6_EAX_ARAT, 0, 0, 0]),
            (0x7, 0) => entry.ecx &= !(LEAF_7_ECX_PKU | LEAF_7_ECX_OSPKE | LEAF_7_ECX_PKS),
            // Performance counters, the TSC's crystal (kvmclock and 0x40000010 say it), AMD's counters and SVM.
            (0xa | 0x15 | 0x16 | 0x8000_000a | 0x8000_0022, _) => *entry = registers(entry, [0; 4]),
            (0xd, 0) => {
                entry.eax &= !(1 << XFEATURE_PKRU);
                entry.ecx = xsave_len;
            }
            (0x8000_0001, _) => {
                entry.ecx &= !(EXT_1_ECX_SVM | EXT_1_ECX_PERFCTR);
                entry.edx &= !EXT_1_EDX_MCE_MTRR_MCA;
            }
            _ => {}
        }
    }
}

fn registers(entry: &kvm_cpuid_entry2, [eax, ebx, ecx, edx]: [u32; 4]) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 { eax, ebx, ecx, edx, ..*entry }
}

fn filter_leaf_1(entry: &mut kvm_cpuid_entry2, tsc_deadline: bool) {
    entry.ecx &= !(LEAF_1_ECX_MONITOR
        | LEAF_1_ECX_VMX
        | LEAF_1_ECX_SMX
        | LEAF_1_ECX_EST
        | LEAF_1_ECX_TM2
        | LEAF_1_ECX_PDCM
        | LEAF_1_ECX_DCA);
    entry.edx &= !(LEAF_1_EDX_MCE | LEAF_1_EDX_MTRR | LEAF_1_EDX_MCA);
    entry.ecx |= LEAF_1_ECX_HYPERVISOR;
    if tsc_deadline {
        entry.ecx |= LEAF_1_ECX_TSC_DEADLINE;
    }
}

/// Length of the standard-format XSAVE area of the features that are left: the furthest end of any of them.
fn xsave_area_len(entries: &[kvm_cpuid_entry2]) -> u32 {
    const LEGACY_AND_HEADER: u32 = 576;
    let user = entries.iter().filter(|e| e.function == 0xd && (2..63).contains(&e.index) && e.ecx & 1 == 0);
    user.map(|e| e.eax.saturating_add(e.ebx)).fold(LEGACY_AND_HEADER, u32::max)
}

/// Every state component a guest may enable in XCR0; `None` without XSAVE.
pub(super) fn xfeatures(entries: &[kvm_cpuid_entry2]) -> Option<u64> {
    let has_xsave = entries.iter().any(|e| e.function == 1 && e.ecx & LEAF_1_ECX_XSAVE != 0);
    let main = entries.iter().find(|e| e.function == 0xd && e.index == 0)?;
    has_xsave.then_some(u64::from(main.eax) | (u64::from(main.edx) << 32))
}

/// Makes vCPU `index` one of `vcpus` single-threaded cores of one package.
pub(super) fn set_topology(entries: &mut [kvm_cpuid_entry2], index: u8, vcpus: u8) {
    let id = u32::from(index);
    let count = u32::from(vcpus);
    // Bits of an APIC id that count cores.
    let id_bits = count.next_power_of_two().trailing_zeros();
    for entry in entries {
        match (entry.function, entry.index) {
            (0x1, _) => {
                entry.ebx = (entry.ebx & 0xffff) | (id << 24) | (count << 16);
                entry.edx = if count > 1 { entry.edx | LEAF_1_EDX_HTT } else { entry.edx & !LEAF_1_EDX_HTT };
            }
            (0x4, _) => set_intel_cache_sharing(entry, count),
            (0xb, 0) => set_topology_level(entry, 1, (0, 1), id),
            (0xb, 1) => set_topology_level(entry, 2, (id_bits, count), id),
            (0xb, _) => set_topology_level(entry, 0, (0, 0), id),
            (0x8000_0001, _) if count > 1 => entry.ecx |= EXT_1_ECX_CMP_LEGACY,
            (0x8000_0001, _) => entry.ecx &= !EXT_1_ECX_CMP_LEGACY,
            (0x8000_0008, _) => entry.ecx = (id_bits << 12) | (count - 1),
            (0x8000_001d, _) => set_amd_cache_sharing(entry, count),
            (0x8000_001e, _) => *entry = registers(entry, [id, id & 0xff, 0, 0]),
            _ => {}
        }
    }
}

/// Leaf 0xb: `(shift, logical)` processors at a level of type `kind` (1 threads, 2 cores, 0 none).
fn set_topology_level(entry: &mut kvm_cpuid_entry2, kind: u32, (shift, logical): (u32, u32), id: u32) {
    let level = entry.index;
    *entry = registers(entry, [shift, logical, (kind << 8) | level, id]);
}

/// Leaf 4: first and second level caches per core, the third shared by all.
fn set_intel_cache_sharing(entry: &mut kvm_cpuid_entry2, count: u32) {
    if entry.eax & 0x1f == 0 {
        return;
    }
    let level = (entry.eax >> 5) & 7;
    let sharing = if level >= 3 { count - 1 } else { 0 };
    entry.eax = (entry.eax & 0x3fff) | (sharing << 14) | ((count - 1).min(63) << 26);
}

/// Leaf 0x8000001d: as leaf 4, without the package's cores.
fn set_amd_cache_sharing(entry: &mut kvm_cpuid_entry2, count: u32) {
    let level = (entry.eax >> 5) & 7;
    let sharing = if level >= 3 { count - 1 } else { 0 };
    entry.eax = (entry.eax & 0x3fff) | (sharing << 14);
}

/// Says the TSC's frequency where KVM says nothing of it.
pub(super) fn set_tsc_frequency(entries: &mut CpuId, tsc_khz: u32) {
    let timing = kvm_cpuid_entry2 {
        function: LEAF_HYPERVISOR_TIMING,
        eax: tsc_khz,
        ebx: APIC_TIMER_KHZ,
        ..Default::default()
    };
    let mut has_hypervisor_leaf = false;
    for entry in entries.as_mut_slice() {
        if entry.function == LEAF_HYPERVISOR {
            entry.eax = entry.eax.max(LEAF_HYPERVISOR_TIMING);
            has_hypervisor_leaf = true;
        }
    }
    if has_hypervisor_leaf && entries.push(timing).is_err() {
        tracing::debug!("no room for the timing leaf");
    }
}

#[cfg(test)]
#[path = "cpuid_tests.rs"]
mod tests;
