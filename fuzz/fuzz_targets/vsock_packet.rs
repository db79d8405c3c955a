//! Packets of a guest in arbitrary order, against a host that answers, a host that does not read, and ports that
//! nobody serves; the guest gives buffers or withholds them.

#![no_main]

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use libfuzzer_sys::fuzz_target;
use monocore_virtio::VirtioDevice;
use monocore_virtio::test_driver::{Part, TestDriver};
use monocore_vsock::{Handlers, Limits, Vsock};

/// Packets of one input.
const MOST_PACKETS: usize = 64;

/// The next `N` bytes of the input; zeroes where it ends.
fn take<const N: usize>(input: &mut &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    let count = N.min(input.len());
    let (head, tail) = input.split_at(count);
    bytes[..count].copy_from_slice(head);
    *input = tail;
    bytes
}

/// A header that mostly reaches a connection, and the length of its payload.
fn header(input: &mut &[u8]) -> ([u8; 44], usize) {
    let [shape, op, ports, flags, credit, len] = take(input);
    let mut header = [0; 44];
    let src_cid = if shape & 0x0f == 0x0f { 9 } else { 3u64 };
    let dst_cid = if shape & 0xf0 == 0xf0 { 5 } else { 2u64 };
    header[..8].copy_from_slice(&src_cid.to_le_bytes());
    header[8..16].copy_from_slice(&dst_cid.to_le_bytes());
    header[16] = ports & 3;
    header[20] = ports >> 4 & 3;
    // All packets of an input together fit into the RAM of a test.
    let payload = usize::from(len) << ((flags >> 4) % 11);
    let said = if shape == 0x77 { payload + 1 } else { payload };
    header[24..28].copy_from_slice(&u32::try_from(said).unwrap_or(0).to_le_bytes());
    header[28] = if shape == 0x33 { 2 } else { 1 };
    header[30] = op % 9;
    header[32] = flags & 7;
    header[36..40].copy_from_slice(&(u32::from(credit) << 8).to_le_bytes());
    header[40] = shape;
    (header, payload)
}

fn device(kept: &Arc<Mutex<Vec<UnixStream>>>) -> Vsock {
    let (handlers, _dialer) = Handlers::new().expect("a free descriptor");
    let (answering, silent) = (Arc::clone(kept), Arc::clone(kept));
    let handlers = handlers
        .listen(0, move |mut stream| {
            // It has room for as much.
            let _ = stream.write_all(&[7; 9000]);
            answering.lock().expect("no panic").push(stream);
        })
        .listen(1, move |stream| silent.lock().expect("no panic").push(stream))
        .listen(2, drop);
    Vsock::new(3, Box::new(handlers), Limits { connections: 4, window_budget_bytes: 1 << 20 })
}

fuzz_target!(|input: &[u8]| {
    let mut input = input;
    let kept = Arc::new(Mutex::new(Vec::new()));
    let mut driver = TestDriver::new(device(&kept));
    let mut states: Vec<_> = driver.queues.iter().map(|queue| queue.fresh_state()).collect();
    let mut packets = 0;
    while !input.is_empty() && packets < MOST_PACKETS {
        let [round] = take(&mut input);
        let rung = round & 8 != 0;
        if rung {
            driver.start_with(&states).expect("the device starts");
        }
        for _ in 0..round & 7 {
            if driver.queues[0].free() > 0 {
                let addr = driver.alloc(1024);
                driver.queues[0].add(&[Part::writable(addr, 1024)]);
            }
        }
        for _ in 0..=round >> 5 {
            let (header, payload) = header(&mut input);
            let addr = driver.alloc(44 + payload);
            driver.overwrite(addr, &header);
            driver.queues[1].add(&[Part::readable(addr, 44), Part::readable(addr + 44, payload)]);
            packets += 1;
        }
        if round & 0x10 != 0 {
            // The host ends one of its connections.
            kept.lock().expect("no panic").pop();
        }
        if rung {
            // Whoever rings serves what a vCPU's thread may, unless the worker is at it.
            driver.queues[1].kick_anyway();
        } else {
            // A start serves all there is before it looks for anything else.
            driver.start_with(&states).expect("the device starts");
        }
        states = driver.device.stop();
        assert_eq!(states.len(), 3, "the worker is lost");
        for queue in &mut driver.queues {
            while queue.take_used().is_some() {}
        }
    }
});
