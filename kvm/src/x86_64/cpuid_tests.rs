use kvm_bindings::CpuId;

use super::*;

fn leaf(function: u32, index: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 { function, index, eax, ebx, ecx, edx, ..Default::default() }
}

/// A host with everything, AVX at 576 and PKRU at 2688.
fn host() -> Vec<kvm_cpuid_entry2> {
    vec![
        leaf(0x1, 0, [0, 0xff00_0000, !0, !0]),
        leaf(0x4, 0, [0x0400_0121, 0, 0, 0]),
        leaf(0x4, 3, [0x0fc0_0163, 0, 0, 0]),
        leaf(0x6, 0, [0, 0, 1, 0]),
        leaf(0x7, 0, [1, 0, !0, 0]),
        leaf(0xa, 0, [!0, 0, 0, 0]),
        leaf(0xb, 0, [0; 4]),
        leaf(0xb, 1, [0; 4]),
        leaf(0xd, 0, [0x207, 832, 2696, 0]),
        leaf(0xd, 2, [256, 576, 0, 0]),
        leaf(0xd, 9, [8, 2688, 0, 0]),
        leaf(0xd, 11, [16, 0, 1, 0]),
        leaf(LEAF_HYPERVISOR, 0, [0x4000_0001, 0, 0, 0]),
        leaf(0x8000_0001, 0, [0, 0, !0, !0]),
        leaf(0x8000_0008, 0, [0; 4]),
    ]
}

fn guest(index: u8, vcpus: u8) -> Vec<kvm_cpuid_entry2> {
    let mut entries = host();
    entries.retain(is_kept);
    filter(&mut entries, true);
    set_topology(&mut entries, index, vcpus);
    entries
}

fn find(entries: &[kvm_cpuid_entry2], function: u32, index: u32) -> kvm_cpuid_entry2 {
    *entries.iter().find(|e| e.function == function && e.index == index).unwrap()
}

#[test]
fn the_xsave_area_has_no_protection_keys() {
    let guest = guest(0, 1);
    assert!(!guest.iter().any(|e| e.function == 0xd && e.index == XFEATURE_PKRU));
    let main = find(&guest, 0xd, 0);
    assert_eq!(main.eax, 7);
    assert_eq!(main.ecx, 832, "the end of AVX, supervisor states not counted");
    assert_eq!(find(&guest, 7, 0).ecx & LEAF_7_ECX_PKU, 0);
}

#[test]
fn timers_need_no_calibration() {
    let guest = guest(0, 1);
    assert_ne!(find(&guest, 1, 0).ecx & LEAF_1_ECX_TSC_DEADLINE, 0);
    assert_eq!(find(&guest, 6, 0).eax, LEAF_6_EAX_ARAT);
    let mut entries = CpuId::from_entries(&guest).unwrap();
    set_tsc_frequency(&mut entries, 2_500_000);
    assert_eq!(find(entries.as_slice(), LEAF_HYPERVISOR, 0).eax, LEAF_HYPERVISOR_TIMING);
    assert_eq!(find(entries.as_slice(), LEAF_HYPERVISOR_TIMING, 0).eax, 2_500_000);
}

#[test]
fn what_the_machine_lacks_is_not_offered() {
    let guest = guest(0, 1);
    let one = find(&guest, 1, 0);
    assert_eq!(one.ecx & (LEAF_1_ECX_VMX | LEAF_1_ECX_MONITOR), 0);
    assert_eq!(one.edx & (LEAF_1_EDX_MTRR | LEAF_1_EDX_MCE | LEAF_1_EDX_HTT), 0);
    assert_eq!(find(&guest, 0xa, 0).eax, 0);
    assert_eq!(find(&guest, 0x8000_0001, 0).ecx & EXT_1_ECX_SVM, 0);
}

#[test]
fn topology_leaves_agree_on_cores_of_one_package() {
    let guest = guest(2, 3);
    assert_eq!(find(&guest, 1, 0).ebx >> 16, 0x0203);
    let threads = find(&guest, 0xb, 0);
    assert_eq!((threads.eax, threads.ebx, threads.ecx, threads.edx), (0, 1, 0x100, 2));
    let cores = find(&guest, 0xb, 1);
    assert_eq!((cores.eax, cores.ebx, cores.ecx, cores.edx), (2, 3, 0x201, 2));
    assert_eq!(find(&guest, 0x8000_0008, 0).ecx, (2 << 12) | 2);
    assert_eq!(find(&guest, 4, 0).eax >> 14, (2 << 12), "a private first-level cache");
    assert_eq!(find(&guest, 4, 3).eax >> 14, (2 << 12) | 2, "a third-level cache of all three");
}
