use std::sync::atomic::Ordering;

use monocore_hypervisor::GuestRam;
use monocore_virtio::conformance::Subject;
use monocore_virtio::test_driver::{Part, TestDriver};
use monocore_virtio::virtio_conformance;
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::*;

const HUGE: usize = 2 << 20;

struct Empty;

impl Subject for Empty {
    type Device = Balloon;
    const REQUEST_QUEUES: &'static [usize] = &[0, 1, 2];
    fn device() -> Balloon {
        Balloon::new()
    }
    fn add_request(driver: &mut TestDriver<Balloon>) -> usize {
        let addr = driver.alloc(8192);
        driver.queues[REPORTING].add(&[Part::writable(addr, 8192)]);
        REPORTING
    }
}

virtio_conformance!(Empty);

/// How many KiB of `ram` the process has (`Rss` of /proc/self/smaps, of the mappings that hold it).
fn resident_kib(ram: &GuestRam) -> usize {
    let first = ram.get_host_address(GuestAddress(0)).unwrap() as usize;
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut is_ram, mut kib) = (false, 0);
    for line in smaps.lines() {
        let range = line.split_whitespace().next().and_then(|word| word.split_once('-'));
        let number = |text| usize::from_str_radix(text, 16).ok();
        if let Some((start, end)) = range.and_then(|(start, end)| number(start).zip(number(end))) {
            is_ram = start < first + monocore_virtio::test_driver::RAM_BYTES && end > first;
        } else if let Some(text) = line.strip_prefix("Rss:").filter(|_| is_ram) {
            kib += text.trim().trim_end_matches(" kB").parse::<usize>().unwrap();
        }
    }
    kib
}

#[test]
fn what_is_reported_leaves_the_process_and_reads_as_zeroes() {
    let mut driver = TestDriver::started(Balloon::new());
    let start = driver.alloc(4 * HUGE).next_multiple_of(HUGE as u64);
    driver.overwrite(start, &vec![7; 2 * HUGE]);
    let before = resident_kib(&driver.ram);
    driver.queues[REPORTING]
        .add(&[Part::writable(start, HUGE), Part::writable(start + HUGE as u64, HUGE / 2)]);
    driver.queues[REPORTING].kick();
    driver.wait_used(REPORTING);
    assert_eq!(driver.get(start, HUGE + HUGE / 2), vec![0; HUGE + HUGE / 2]);
    assert_eq!(driver.get(start + 3 * HUGE as u64 / 2, HUGE / 2), vec![7; HUGE / 2]);
    let metrics = driver.device.metrics();
    assert_eq!(metrics.reports.load(Ordering::Relaxed), 1);
    assert_eq!(metrics.bytes.load(Ordering::Relaxed), 3 * HUGE as u64 / 2);
    driver.device.stop();
    // The zeroes that were read are the system's one page of them, not memory of this process.
    let given = before - resident_kib(&driver.ram);
    assert!(given >= HUGE / 1024, "{given} KiB of {before}");
}

#[test]
fn parts_of_pages_stay() {
    let mut driver = TestDriver::started(Balloon::new());
    let start = driver.alloc(4 * 4096).next_multiple_of(4096);
    driver.overwrite(start, &[7; 3 * 4096]);
    driver.queues[REPORTING]
        .add(&[Part::writable(start + 1, 2 * 4096), Part::writable(start + 2 * 4096 + 1, 10)]);
    driver.queues[REPORTING].kick();
    driver.wait_used(REPORTING);
    assert_eq!(driver.get(start, 4096), [7; 4096]);
    assert_eq!(driver.get(start + 4096, 4096), [0; 4096]);
    assert_eq!(driver.get(start + 2 * 4096, 4096), [7; 4096]);
    driver.device.stop();
}

#[test]
fn the_balloon_stays_empty() {
    let mut driver = TestDriver::started(Balloon::new());
    let page = driver.alloc(2 * 4096).next_multiple_of(4096);
    driver.overwrite(page, &[7; 4096]);
    let number = u32::try_from(page >> 12).unwrap();
    for queue in [0, 1] {
        assert_eq!(driver.request(queue, &[&number.to_le_bytes()], &[]), Vec::<u8>::new());
    }
    assert_eq!(driver.get(page, 4096), [7; 4096]);
    let mut config = [1; 8];
    driver.device.read_config(0, &mut config);
    assert_eq!(config, [0; 8]);
    driver.device.stop();
}
