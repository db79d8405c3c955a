//! Requests as a driver sends them, against real files.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;

use monocore_virtio::conformance::Subject;
use monocore_virtio::test_driver::{Part as Buffer, TestDriver};
use monocore_virtio::{VirtioDevice, virtio_conformance};

use crate::{Block, Concat, DiskError, Part, Raw};

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap() ^ seed).collect()
}

fn header(kind: u32, sector: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat()
}

fn raw(len: usize, read_only: bool) -> (TestDriver<Block>, File) {
    let file = file(&pattern(len, 0));
    let disk = Raw::new(file.try_clone().unwrap(), read_only).unwrap();
    (TestDriver::started(Block::new(disk, "scratch").unwrap()), file)
}

/// Reads `len` bytes and returns them with the status.
fn read(driver: &mut TestDriver<Block>, sector: u64, len: usize) -> (Vec<u8>, u8) {
    let request = header(0, sector);
    let answer_at = driver.alloc(len + 1);
    let header_at = driver.put(&request);
    driver.queues[0].add(&[Buffer::readable(header_at, 16), Buffer::writable(answer_at, len + 1)]);
    driver.queues[0].kick();
    driver.wait_used(0);
    let mut answer = driver.get(answer_at, len + 1);
    let status = answer.pop().unwrap();
    (answer, status)
}

fn write(driver: &mut TestDriver<Block>, kind: u32, sector: u64, data: &[u8]) -> u8 {
    driver.request(0, &[&header(kind, sector), data], &[1])[0]
}

fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
}

struct Scratch;

impl Subject for Scratch {
    type Device = Block;
    const REQUEST_QUEUES: &'static [usize] = &[0];
    fn device() -> Block {
        Block::new(Raw::new(file(&pattern(64 << 10, 0)), false).unwrap(), "scratch").unwrap()
    }
    fn add_request(driver: &mut TestDriver<Block>) -> usize {
        let (request, answer) = (driver.put(&header(0, 1)), driver.alloc(513));
        driver.queues[0].add(&[Buffer::readable(request, 16), Buffer::writable(answer, 513)]);
        0
    }
}

virtio_conformance!(Scratch);

#[test]
fn a_concatenation_reads_as_one_disk_with_gaps_and_short_files_as_zeroes() {
    let (first, second) = (pattern(4096, 1), pattern(10_000, 2));
    let parts = [
        Part { file: Some(file(&first)), offset_bytes: 512, len_bytes: 3072 },
        Part { file: None, offset_bytes: 0, len_bytes: 1024 },
        Part { file: None, offset_bytes: 0, len_bytes: 0 },
        Part { file: Some(file(&second)), offset_bytes: 0, len_bytes: 10_240 },
    ];
    let whole = [&first[512..3584], &[0; 1024], &second, &[0; 240]].concat();
    let mut driver = TestDriver::started(Block::new(Concat::new(parts).unwrap(), "root").unwrap());
    let mut capacity = [0; 8];
    driver.device.read_config(0, &mut capacity);
    assert_eq!(u64::from_le_bytes(capacity), 28);
    assert_eq!(read(&mut driver, 0, whole.len()), (whole.clone(), 0));
    for sector in 0..27 {
        let at = usize::try_from(sector).unwrap() * 512;
        assert_eq!(read(&mut driver, sector, 1024), (whole[at..at + 1024].to_vec(), 0), "{sector}");
    }
    assert_eq!(read(&mut driver, 27, 1024).1, 1);
    assert_eq!(write(&mut driver, 1, 0, &[1; 512]), 1);
}

#[test]
fn pieces_that_make_no_disk_are_refused() {
    let odd = Part { file: None, offset_bytes: 0, len_bytes: 513 };
    assert!(matches!(Concat::new([odd]), Err(DiskError::Unaligned(513))));
    let far = Part { file: None, offset_bytes: u64::MAX - 511, len_bytes: 512 };
    assert!(matches!(Concat::new([far]), Err(DiskError::TooLarge)));
    let huge = || Part { file: None, offset_bytes: 0, len_bytes: 1 << 62 };
    assert!(matches!(Concat::new([huge(), huge()]), Err(DiskError::TooLarge)));
    assert!(matches!(Raw::new(file(&[0; 100]), false), Err(DiskError::Unaligned(100))));
    let disk = || Raw::new(file(&[]), false).unwrap();
    for serial in ["", "longer than 20 bytes of ascii", "späti"] {
        assert!(matches!(Block::new(disk(), serial), Err(DiskError::Serial(_))), "{serial}");
    }
}

#[test]
fn writes_reach_the_file_whatever_the_shape_of_their_buffers() {
    let (mut driver, mut file) = raw(8192, false);
    let data = pattern(1024, 9);
    let head = header(1, 3);
    let parts: [&[u8]; 5] = [&head[..5], &head[5..], &data[..1], &data[1..700], &data[700..]];
    assert_eq!(driver.request(0, &parts, &[1]), [0]);
    let mut content = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut content).unwrap();
    assert_eq!(content[1536..2560], data);
    assert_eq!(content[..1536], pattern(8192, 0)[..1536]);
    assert_eq!(read(&mut driver, 3, 1024), (data, 0));
    assert_eq!(driver.request(0, &[&header(4, 0)], &[1]), [0]);
    let metrics = driver.device.metrics();
    assert_eq!(metrics.written_bytes.load(Ordering::Relaxed), 1024);
    assert_eq!(metrics.flushes.load(Ordering::Relaxed), 1);
}

#[test]
fn an_indirect_table_is_one_request_too() {
    let (mut driver, _file) = raw(8192, false);
    let (request, answer, table) = (driver.put(&header(0, 2)), driver.alloc(513), driver.alloc(48));
    let parts =
        [Buffer::readable(request, 16), Buffer::writable(answer, 512), Buffer::writable(answer + 512, 1)];
    driver.queues[0].add_indirect(table, &parts);
    driver.queues[0].kick();
    assert_eq!(driver.wait_used(0).1, 513);
    assert_eq!(driver.get(answer, 513), [&pattern(8192, 0)[1024..1536], &[0]].concat());
}

#[test]
fn what_lies_outside_the_disk_is_an_error() {
    let (mut driver, file) = raw(8192, false);
    for sector in [16, 17, 1 << 40, u64::MAX / 512, u64::MAX / 512 + 1, u64::MAX] {
        assert_eq!(read(&mut driver, sector, 512).1, 1, "{sector}");
        assert_eq!(write(&mut driver, 1, sector, &[1; 512]), 1, "{sector}");
    }
    assert_eq!(read(&mut driver, 15, 1024).1, 1);
    assert_eq!(read(&mut driver, 0, 100).1, 1);
    assert_eq!(write(&mut driver, 1, 0, &[1; 511]), 1);
    assert_eq!(driver.request(0, &[&[0; 15]], &[1]), [1]);
    assert_eq!(file.metadata().unwrap().len(), 8192);
    assert_eq!(driver.device.metrics().errors.load(Ordering::Relaxed), 16);
}

#[test]
fn discarded_and_zeroed_ranges_read_as_zeroes_and_free_their_blocks() {
    let (mut driver, file) = raw(1 << 20, false);
    file.sync_all().unwrap();
    let blocks = file.metadata().unwrap().blocks();
    assert_eq!(write(&mut driver, 11, 0, &range(8, 512, 0)), 0);
    assert_eq!(write(&mut driver, 13, 0, &[range(1024, 512, 1), range(1600, 1, 0)].concat()), 0);
    let mut expected = pattern(1 << 20, 0);
    for (sector, sectors) in [(8, 512), (1024, 512), (1600, 1)] {
        expected[sector * 512..(sector + sectors) * 512].fill(0);
    }
    assert_eq!(read(&mut driver, 0, 1 << 20), (expected, 0));
    file.sync_all().unwrap();
    assert!(file.metadata().unwrap().blocks() < blocks);
    assert_eq!(file.metadata().unwrap().len(), 1 << 20);
}

#[test]
fn ranges_that_are_none_change_nothing() {
    let (mut driver, _file) = raw(8192, false);
    let good = range(0, 1, 0);
    for (kind, ranges, status) in [
        (11, range(0, 1, 1), 2),
        (13, range(0, 1, 2), 2),
        (11, [good.clone(), range(16, 1, 0)].concat(), 1),
        (13, [good.clone(), range(u64::MAX, 1, 0)].concat(), 1),
        (11, good[..15].to_vec(), 1),
        (11, Vec::new(), 1),
        (13, good.repeat(17), 1),
    ] {
        assert_eq!(write(&mut driver, kind, 0, &ranges), status, "{kind} {ranges:?}");
    }
    assert_eq!(read(&mut driver, 0, 8192), (pattern(8192, 0), 0));
}

#[test]
fn a_read_only_disk_refuses_every_change() {
    let (mut driver, _file) = raw(8192, true);
    assert_eq!(driver.device.features() & (1 << 5), 1 << 5);
    assert_eq!(write(&mut driver, 1, 0, &[1; 512]), 1);
    assert_eq!(write(&mut driver, 11, 0, &range(0, 1, 0)), 1);
    assert_eq!(write(&mut driver, 13, 0, &range(0, 1, 0)), 1);
    assert_eq!(read(&mut driver, 0, 8192), (pattern(8192, 0), 0));
}

#[test]
fn the_serial_is_told_and_unknown_requests_are_not_supported() {
    let (mut driver, _file) = raw(8192, false);
    let answer = driver.request(0, &[&header(8, 0)], &[20, 1]);
    assert_eq!(answer, [b"scratch".as_slice(), &[0; 14]].concat());
    assert_eq!(driver.request(0, &[&header(99, 0)], &[1]), [2]);
}

#[test]
fn a_state_of_another_disk_is_refused() {
    let device = |len| Block::new(Raw::new(file(&pattern(len, 0)), false).unwrap(), "x").unwrap();
    assert!(device(1024).restore(&device(1024).save().unwrap()).is_ok());
    assert!(device(1024).restore(&device(512).save().unwrap()).is_err());
}
