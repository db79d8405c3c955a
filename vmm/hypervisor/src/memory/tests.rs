use std::io::Write;

use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion};

use super::*;

const MIB: usize = 1 << 20;

fn temporary(content: &[u8]) -> File {
    let mut file = map::memfd(0).unwrap();
    file.write_all(content).unwrap();
    file
}

#[test]
fn private_ram_is_aligned_for_huge_pages() {
    let ram =
        allocate(&[(GuestAddress(0), 64 * MIB), (GuestAddress(1 << 32), 6 * MIB)], Backing::Private).unwrap();
    for region in ram.iter() {
        assert_eq!(region.as_ptr() as usize % HUGE_PAGE_BYTES, 0, "{:?}", region.start_addr());
    }
}

#[test]
fn shared_ram_is_one_file() {
    let ram =
        allocate(&[(GuestAddress(0), 4 * MIB), (GuestAddress(1 << 32), 2 * MIB)], Backing::Shared).unwrap();
    let offsets: Vec<_> = ram.iter().map(|r| r.file_offset().unwrap().start()).collect();
    assert_eq!(offsets, [0, 4 * MIB as u64]);
}

#[test]
fn a_mapped_file_is_read_in_place_and_never_written() {
    let mut content = vec![0u8; 3 * 4096];
    content[4096..4101].copy_from_slice(b"hello");
    let file = temporary(&content);
    let ram = allocate(&[(GuestAddress(0), 4 * MIB)], Backing::Private).unwrap();
    map_file(&ram, 8192, &file, 4096, 8192).unwrap();
    let mut seen = [0; 5];
    ram.read_slice(&mut seen, GuestAddress(8192)).unwrap();
    assert_eq!(&seen, b"hello");
    ram.write_slice(b"HELLO", GuestAddress(8192)).unwrap();
    let mut on_disk = [0; 5];
    rustix::io::pread(&file, &mut on_disk, 4096).unwrap();
    assert_eq!(&on_disk, b"hello");
}

#[test]
fn what_lies_outside_ram_or_file_is_refused() {
    let file = temporary(&[7; 4096]);
    let ram = allocate(&[(GuestAddress(0), 2 * MIB)], Backing::Private).unwrap();
    let past_ram = map_file(&ram, 2 * MIB as u64 - 4096, &file, 0, 8192);
    assert!(matches!(past_ram, Err(MemoryError::OutOfRange { .. })), "{past_ram:?}");
    let past_file = map_file(&ram, 0, &file, 4096, 4096);
    assert!(matches!(past_file, Err(MemoryError::OutOfRange { .. })), "{past_file:?}");
    assert!(matches!(copy_file(&ram, u64::MAX, &file, 0, 1), Err(MemoryError::OutOfRange { .. })));
    assert!(matches!(copy_file(&ram, 0, &file, 0, 4097), Err(MemoryError::Os { .. })));
    copy_file(&ram, 100, &file, 0, 4096).unwrap();
    assert_eq!(ram.read_obj::<u8>(GuestAddress(100 + 4095)).unwrap(), 7);
}
