//! A front end drives a device through a real socket.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use monocore_hypervisor::GuestRam;
use monocore_rng::Rng;
use monocore_virtio::test_driver::{DriverQueue, Part};
use monocore_virtio::{VirtioDevice, features};
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{Bytes, FileOffset, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::Server;

const RAM_BYTES: usize = 1 << 20;
const RINGS: u64 = 0x8000;
const BUFFER: u64 = 0x4_0000;
/// Where the front end says it sees guest address 0.
const USER: u64 = 0x7f00_0000_0000;

/// A front end with one queue, and the memory it shares.
struct Client {
    frontend: Frontend,
    ram: GuestRam,
    queue: DriverQueue,
    kick: EventFd,
    call: EventFd,
}

impl Client {
    fn connect(path: &std::path::Path) -> Self {
        Self::over(Frontend::connect(path, 1).unwrap())
    }

    fn over(mut frontend: Frontend) -> Self {
        let file = tempfile::tempfile().unwrap();
        file.set_len(RAM_BYTES as u64).unwrap();
        let fd = file.as_raw_fd();
        let offset = Some(FileOffset::new(file, 0));
        let ram = GuestRam::from_ranges_with_files([(GuestAddress(0), RAM_BYTES, offset)]).unwrap();
        frontend.set_owner().unwrap();
        let offered = frontend.get_features().unwrap();
        assert_ne!(offered & features::VERSION_1, 0);
        let protocol = frontend.get_protocol_features().unwrap();
        assert!(protocol.contains(VhostUserProtocolFeatures::CONFIG));
        frontend.set_protocol_features(protocol).unwrap();
        assert_eq!(frontend.get_queue_num().unwrap(), 1);
        frontend.set_features(offered).unwrap();
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: RAM_BYTES as u64,
            userspace_addr: USER,
            mmap_offset: 0,
            mmap_handle: fd,
        };
        frontend.set_mem_table(&[region]).unwrap();
        let queue = DriverQueue::new(ram.clone(), RINGS, 16, offered);
        let event = || EventFd::new(EFD_NONBLOCK).unwrap();
        Self { frontend, ram, queue, kick: event(), call: event() }
    }

    fn set_up(&mut self, base: u16) {
        self.set_rings(base);
        self.frontend.set_vring_enable(0, true).unwrap();
    }

    fn set_rings(&mut self, base: u16) {
        let state = self.queue.fresh_state();
        let rings = VringConfigData {
            queue_max_size: 16,
            queue_size: 16,
            flags: 0,
            desc_table_addr: USER + state.desc_table,
            used_ring_addr: USER + state.used_ring,
            avail_ring_addr: USER + state.avail_ring,
            log_addr: None,
        };
        self.frontend.set_vring_num(0, 16).unwrap();
        self.frontend.set_vring_base(0, base).unwrap();
        self.frontend.set_vring_addr(0, &rings).unwrap();
        self.frontend.set_vring_kick(0, &self.kick).unwrap();
        self.frontend.set_vring_call(0, &self.call).unwrap();
    }

    fn ask(&mut self) {
        self.queue.add(&[Part::writable(BUFFER, 32)]);
        self.kick.write(1).unwrap();
    }

    fn await_answer(&mut self) -> Vec<u8> {
        for _ in 0..10_000 {
            if let Some((_, written)) = self.queue.take_used() {
                let mut bytes = vec![0; written as usize];
                self.ram.read_slice(&mut bytes, GuestAddress(BUFFER)).unwrap();
                return bytes;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("no answer");
    }
}

/// A device that serves `clients` front ends, and its socket.
fn served(clients: usize) -> (tempfile::TempDir, std::path::PathBuf, JoinHandle<()>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rng.sock");
    let server = Server::bind(&path, Box::new(Rng::new()), Arc::new(|| Ok(()))).unwrap();
    let thread = std::thread::spawn(move || {
        for _ in 0..clients {
            server.serve_one().unwrap();
        }
    });
    (dir, path, thread)
}

#[test]
fn a_queue_runs_stops_where_it_stood_and_goes_on() {
    let (_dir, path, thread) = served(1);
    let mut client = Client::connect(&path);
    client.set_up(0);
    client.ask();
    assert_eq!(client.await_answer().len(), 32);
    assert_eq!(client.frontend.get_vring_base(0).unwrap(), 1);
    // Stopped: what comes now waits.
    client.ask();
    std::thread::sleep(Duration::from_millis(50));
    assert!(client.queue.take_used().is_none());
    client.set_up(1);
    assert_eq!(client.await_answer().len(), 32);
    client.frontend.set_vring_enable(0, false).unwrap();
    // An answer to any question says that what came before is done.
    client.frontend.get_features().unwrap();
    client.ask();
    std::thread::sleep(Duration::from_millis(50));
    assert!(client.queue.take_used().is_none());
    client.frontend.set_vring_enable(0, true).unwrap();
    assert_eq!(client.await_answer().len(), 32);
    assert!(client.call.read().is_ok());
    drop(client);
    thread.join().unwrap();
}

/// QEMU does so with network cards.
#[test]
fn queues_may_be_enabled_before_features_are_set() {
    let (_dir, path, thread) = served(2);
    let enable = |index: u32, enabled: u32| {
        let words = [18, 1, 8, index, enabled];
        words.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect::<Vec<u8>>()
    };
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(&[enable(0, 1), enable(0, 0), enable(0, 1)].concat()).unwrap();
    let mut client = Client::over(Frontend::from_stream(stream, 1));
    client.set_rings(0);
    client.ask();
    assert_eq!(client.await_answer().len(), 32);
    drop(client);
    // One that is not there.
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(&enable(1, 1)).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
    thread.join().unwrap();
}

#[test]
fn the_next_front_end_finds_the_device_as_new() {
    let (_dir, path, thread) = served(3);
    for _ in 0..2 {
        let mut client = Client::connect(&path);
        client.set_up(0);
        client.ask();
        assert_eq!(client.await_answer().len(), 32);
    }
    // One that breaks the rules is sent away.
    let client = Client::connect(&path);
    let _ = client.frontend.set_vring_num(7, 16);
    drop(client);
    thread.join().unwrap();
}

#[test]
fn the_configuration_is_as_long_as_asked_for() {
    let (_dir, path, thread) = served(1);
    let mut client = Client::connect(&path);
    let flags = VhostUserConfigFlags::empty();
    let (_, bytes) = client.frontend.get_config(0, 16, flags, &[0; 16]).unwrap();
    assert_eq!(bytes, [0; 16]);
    drop(client);
    thread.join().unwrap();
    assert_eq!(Rng::new().queue_max_sizes().len(), 1);
}
