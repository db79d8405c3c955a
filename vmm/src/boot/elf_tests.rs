use std::io::Write;

use super::*;

/// A kernel of one read-only segment at 16 MiB and one writable one behind it, each 4096 bytes in the file.
pub(crate) fn sample() -> Vec<u8> {
    let mut image = vec![0u8; 3 * 4096];
    image[..6].copy_from_slice(b"\x7fELF\x02\x01");
    image[18..20].copy_from_slice(&MACHINE_X86_64.to_le_bytes());
    image[32..40].copy_from_slice(&64u64.to_le_bytes());
    image[54..56].copy_from_slice(&56u16.to_le_bytes());
    image[56..58].copy_from_slice(&3u16.to_le_bytes());
    let headers = [
        (PT_LOAD, 5, 4096, 0x100_0000, 4096, 4096),
        (PT_LOAD, 6, 8192, 0x100_1000, 4096, 8192),
        (PT_NOTE, 4, 512, 0, 20, 20),
    ];
    for (index, (kind, flags, offset, gpa, file_len, memory_len)) in headers.into_iter().enumerate() {
        let raw = &mut image[64 + 56 * index..][..56];
        raw[0..4].copy_from_slice(&u32::to_le_bytes(kind));
        raw[4..8].copy_from_slice(&u32::to_le_bytes(flags));
        for (at, value) in [(8, offset), (24, gpa), (32, file_len), (40, memory_len)] {
            raw[at..at + 8].copy_from_slice(&u64::to_le_bytes(value));
        }
    }
    image[512..532].copy_from_slice(b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0\x30\x00\x00\x01");
    image[4096] = 0x90;
    image[8192] = 0x91;
    image
}

pub(crate) fn file(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file
}

#[test]
fn segments_and_entry_are_found() {
    let headers = read(&file(&sample())).unwrap();
    assert_eq!(headers.entry, 0x100_0030);
    assert_eq!(headers.segments.len(), 2);
    assert_eq!(headers.segments[1].memory_len, 8192);
    assert!(headers.segments[1].writable && !headers.segments[0].writable);
}

#[test]
fn a_kernel_without_its_note_is_refused() {
    let mut image = sample();
    image[520] = 17;
    assert!(read(&file(&image)).unwrap_err().contains("PVH"));
}

#[test]
fn no_byte_of_the_headers_can_break_the_reader() {
    let sample = sample();
    for at in (0..232).chain(512..532) {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut image = sample.clone();
            image[at] = value;
            let _ = read(&file(&image));
        }
    }
    for len in [0, 10, 63, 64, 100, 520] {
        assert!(read(&file(&sample[..len])).is_err(), "{len}");
    }
}
