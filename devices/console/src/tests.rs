//! A guest's console, against pipes and files.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use monocore_virtio::conformance::Subject;
use monocore_virtio::test_driver::{Part, TestDriver};
use monocore_virtio::{VirtioDevice, virtio_conformance};

use crate::{Console, Size};

const SIZE: Size = Size { columns: 80, rows: 25 };

fn console(output: Option<OwnedFd>, input: Option<OwnedFd>) -> Console {
    Console::new(output, input, SIZE).unwrap()
}

struct Silent;

impl Subject for Silent {
    type Device = Console;
    const REQUEST_QUEUES: &'static [usize] = &[1];
    fn device() -> Console {
        console(None, None)
    }
    fn add_request(driver: &mut TestDriver<Console>) -> usize {
        let addr = driver.put(b"text");
        driver.queues[1].add(&[Part::readable(addr, 4)]);
        1
    }
}

virtio_conformance!(Silent);

#[test]
fn text_reaches_a_pipe_and_a_file() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut driver = TestDriver::started(console(Some(writer.into()), None));
    driver.request(1, &[b"hello, ", b"world\n"], &[]);
    driver.device.stop();
    drop(driver);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello, world\n");

    let file = tempfile::NamedTempFile::new().unwrap();
    let mut driver = TestDriver::started(console(Some(file.reopen().unwrap().into()), None));
    driver.request(1, &[&[b'x'; 10_000]], &[]);
    assert_eq!(std::fs::read(file.path()).unwrap(), [b'x'; 10_000]);
}

#[test]
fn a_full_pipe_is_waited_for_and_a_stop_neither_loses_nor_repeats_text() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut driver = TestDriver::started(console(Some(writer.into()), None));
    let text: Vec<u8> = (0..300_000).map(|at| u8::try_from(at % 253).unwrap()).collect();
    let addr = driver.put(&text);
    driver.queues[1].add(&[Part::readable(addr, text.len())]);
    driver.queues[1].kick();
    let mut seen = vec![0; 1000];
    reader.read_exact(&mut seen).unwrap();
    let states = driver.device.stop();
    assert_eq!(states[1].next_used, 0);
    let saved = driver.device.save().unwrap();
    driver.device.restore(&saved).unwrap();
    driver.start_with(&states).unwrap();
    seen.resize(text.len(), 0);
    reader.read_exact(&mut seen[1000..]).unwrap();
    assert!(seen == text);
    driver.wait_used(1);
    driver.device.stop();
}

#[test]
fn text_that_nobody_takes_is_counted_and_the_guest_goes_on() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut driver = TestDriver::started(console(Some(writer.into()), None));
    driver.request(1, &[b"lost"], &[]);
    driver.request(1, &[b"too"], &[]);
    assert_eq!(driver.device.metrics().lost_bytes.load(Ordering::Relaxed), 7);
}

#[test]
fn input_waits_for_room_and_ends() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut driver = TestDriver::started(console(None, Some(reader.into())));
    writer.write_all(b"early").unwrap();
    let addr = driver.alloc(64);
    driver.queues[0].add(&[Part::writable(addr, 3)]);
    driver.queues[0].kick();
    assert_eq!(driver.wait_used(0).1, 3);
    driver.queues[0].add(&[Part::writable(addr + 3, 61)]);
    driver.queues[0].kick();
    assert_eq!(driver.wait_used(0).1, 2);
    assert_eq!(driver.get(addr, 5), b"early");
    driver.queues[0].add(&[Part::writable(addr, 64)]);
    driver.queues[0].kick();
    writer.write_all(b"late").unwrap();
    assert_eq!(driver.wait_used(0).1, 4);
    drop(writer);
    assert_eq!(driver.device.stop().len(), 2);
}

#[test]
fn a_new_size_is_told() {
    let device = console(None, None);
    let resizer = device.resizer();
    let mut driver = TestDriver::started(device);
    resizer.resize(Size { columns: 132, rows: 50 }).unwrap();
    assert!(driver.interrupt.wait(|told| told.config == 1));
    let mut config = [0; 8];
    driver.device.read_config(0, &mut config);
    assert_eq!(config, [132, 0, 50, 0, 1, 0, 0, 0]);
    driver.device.stop();
}
