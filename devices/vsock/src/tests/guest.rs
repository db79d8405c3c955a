//! A guest that speaks vsock by hand.

use std::collections::HashMap;
use std::time::Duration;

use monocore_virtio::test_driver::{Part, TestDriver};

use crate::packet::HEADER_BYTES;
use crate::{Header, Op, Vsock};

pub(super) const GUEST_CID: u32 = 3;
/// The guest's port, unless a test says otherwise.
pub(super) const PORT: u32 = 5000;
/// Room of a receive buffer, header included, as Linux makes them.
const BUFFER_BYTES: usize = 4096;

pub(super) struct Guest {
    pub(super) driver: TestDriver<Vsock>,
    pub(super) port: u32,
    /// Room granted to the host, in bytes.
    pub(super) grant: u32,
    /// A buffer goes back to the device as soon as it was read.
    pub(super) reposts: bool,
    /// Packets received.
    pub(super) packets: u64,
    taken: u32,
    /// What the host knows of `taken`.
    told: u32,
    sent: u32,
    window: (u32, u32),
    buffers: HashMap<u16, u64>,
    /// Payloads are sent from one place after the other, and the places are used again.
    outgoing: Vec<u64>,
}

pub(super) fn packet(op: Op, src_port: u32, dst_port: u32, len: usize, buf_alloc: u32) -> Header {
    Header {
        src_cid: GUEST_CID.into(),
        dst_cid: 2,
        src_port,
        dst_port,
        len: len.try_into().unwrap(),
        kind: 1,
        op: Some(op),
        flags: 0,
        buf_alloc,
        fwd_cnt: 0,
    }
}

impl Guest {
    pub(super) fn new(device: Vsock) -> Self {
        let mut guest = Self::stopped(device);
        guest.driver.start().unwrap();
        guest
    }

    pub(super) fn stopped(device: Vsock) -> Self {
        Self {
            driver: TestDriver::new(device),
            port: PORT,
            grant: 256 << 10,
            reposts: true,
            packets: 0,
            taken: 0,
            told: 0,
            sent: 0,
            window: (0, 0),
            buffers: HashMap::new(),
            outgoing: Vec::new(),
        }
    }

    /// Gives the device `count` receive buffers.
    pub(super) fn post(&mut self, count: usize) {
        for _ in 0..count {
            let addr = self.driver.alloc(BUFFER_BYTES);
            self.repost(addr);
        }
        self.driver.queues[0].kick();
    }

    fn repost(&mut self, addr: u64) {
        let head = self.driver.queues[0].add(&[Part::writable(addr, BUFFER_BYTES)]);
        self.buffers.insert(head, addr);
    }

    /// Connects to `port` of the host and returns the window granted.
    pub(super) fn connect(&mut self, port: u32) -> u32 {
        self.send(Op::Request, port, 0, &[]);
        let answer = self.receive().0;
        assert_eq!((answer.op, answer.src_port), (Some(Op::Response), port));
        answer.buf_alloc
    }

    pub(super) fn send_bytes(&mut self, port: u32, bytes: &[u8]) {
        self.send(Op::ReadWrite, port, 0, bytes);
        self.sent = self.sent.wrapping_add(bytes.len().try_into().unwrap());
    }

    /// Says that so many received bytes were taken out of the guest's room.
    pub(super) fn taken(&mut self, bytes: usize) {
        self.taken = self.taken.wrapping_add(bytes.try_into().unwrap());
    }

    /// Bytes taken that the host does not know of.
    pub(super) fn untold_bytes(&self) -> u32 {
        self.taken.wrapping_sub(self.told)
    }

    /// Bytes the host still grants.
    pub(super) fn free_bytes(&self) -> u32 {
        self.window.0 - self.sent.wrapping_sub(self.window.1)
    }

    pub(super) fn send(&mut self, op: Op, port: u32, flags: u32, bytes: &[u8]) {
        let header = packet(op, self.port, port, bytes.len(), self.grant);
        self.send_packet(Header { flags, fwd_cnt: self.taken, ..header }, bytes);
        self.told = self.taken;
    }

    pub(super) fn send_packet(&mut self, header: Header, bytes: &[u8]) {
        self.reclaim();
        while self.driver.queues[1].free() == 0 {
            self.driver.wait_used(1);
        }
        // As many places as there are descriptors: packets come back in order, so the oldest place is free.
        if self.outgoing.len() < usize::from(self.driver.queues[1].size()) {
            let addr = self.driver.alloc(HEADER_BYTES + 32768);
            self.outgoing.push(addr);
        } else {
            self.outgoing.rotate_left(1);
        }
        let addr = self.outgoing[self.outgoing.len() - 1];
        self.driver.overwrite(addr, &[&header.to_bytes()[..], bytes].concat());
        self.driver.queues[1].add(&[Part::readable(addr, HEADER_BYTES + bytes.len())]);
        self.driver.queues[1].kick();
    }

    /// Sends a header without looking for used packets first.
    pub(super) fn send_later(&mut self, header: Header) {
        let addr = self.driver.put(&header.to_bytes());
        self.driver.queues[1].add(&[Part::readable(addr, HEADER_BYTES)]);
        self.driver.queues[1].kick();
    }

    /// Takes back the descriptors of packets sent, and says how many.
    pub(super) fn reclaim(&mut self) -> usize {
        std::iter::from_fn(|| self.driver.queues[1].take_used()).count()
    }

    /// The next packet, but for credit updates: one may come at any time, where an answer was faster than its question's count.
    pub(super) fn receive(&mut self) -> (Header, Vec<u8>) {
        loop {
            let packet = self.receive_any();
            if packet.0.op != Some(Op::CreditUpdate) {
                return packet;
            }
        }
    }

    pub(super) fn receive_any(&mut self) -> (Header, Vec<u8>) {
        let used = self.driver.wait_used(0);
        self.take(used)
    }

    pub(super) fn try_receive(&mut self, patience: Duration) -> Option<(Header, Vec<u8>)> {
        let seen = self.driver.interrupt.queue_count(0);
        if let Some(used) = self.driver.queues[0].take_used() {
            return Some(self.take(used));
        }
        self.driver.interrupt.wait_for(patience, |told| told.queues[0] > seen);
        let used = self.driver.queues[0].take_used()?;
        Some(self.take(used))
    }

    fn take(&mut self, (head, written): (u16, u32)) -> (Header, Vec<u8>) {
        let addr = self.buffers.remove(&head).unwrap();
        let mut bytes = self.driver.get(addr, written as usize);
        let payload = bytes.split_off(HEADER_BYTES);
        let header = Header::parse(bytes.as_slice().try_into().unwrap());
        assert_eq!(header.len as usize, payload.len());
        if header.dst_port == self.port && header.op != Some(Op::Reset) {
            self.window = (header.buf_alloc, header.fwd_cnt);
        }
        self.packets += 1;
        if self.reposts {
            self.repost(addr);
            self.driver.queues[0].kick();
        }
        (header, payload)
    }

    /// The next `count` bytes, in however many packets.
    pub(super) fn receive_bytes(&mut self, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            let (header, bytes) = self.receive();
            assert_eq!(header.op, Some(Op::ReadWrite));
            all.extend(bytes);
        }
        assert_eq!(all.len(), count);
        all
    }
}
