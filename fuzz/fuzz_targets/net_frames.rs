//! Frames of a guest to the user-mode stack: arbitrary ones, and ones whose Ethernet and IP headers are right so that
//! what follows is looked at, to be cut into datagrams or not. The policy lets nothing out.

#![no_main]

use libfuzzer_sys::fuzz_target;
use monocore_net::{HEADER_BYTES, Header, Net, NetConfig, Segmentation};
use monocore_proxy::Nat;
use monocore_spec::{Action, Direction, LinkSpec, NatSpec, NetRule, NetTarget, PolicySpec, ProxySpec, Reach};
use monocore_virtio::VirtioDevice;
use monocore_virtio::test_driver::{Part, TestDriver};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
/// Frames of one input.
const MOST_FRAMES: usize = 32;

fn card() -> Net {
    let nothing = NetRule {
        action: Action::Deny,
        direction: Direction::Out,
        target: NetTarget::Any,
        ports: None,
        protocol: None,
    };
    let policy = PolicySpec { reach: Reach::None, rules: vec![nothing] };
    let spec = NatSpec { mac: MAC, proxy: ProxySpec { policy, ..ProxySpec::default() } };
    Net::new(NetConfig { mac: MAC }, Box::new(Nat::new(&spec, &[], None).expect("a stack")))
}

/// A frame from the input: as it is, or behind headers that are right.
fn frame(shape: u8, bytes: &[u8]) -> Vec<u8> {
    let link = LinkSpec::default();
    let ethernet = [&[0xff; 6][..], &MAC].concat();
    let length = u16::try_from(bytes.len()).unwrap_or(0);
    let protocol = [6, 17, 1, 58][usize::from(shape >> 2 & 3)];
    match shape & 3 {
        0 => bytes.to_vec(),
        1 => [&ethernet[..], &[8, 6], bytes].concat(),
        2 => {
            let mut ip =
                [&[0x45, 0][..], &(20 + length).to_be_bytes(), &[0, 0, 0x40, 0, 64, protocol, 0, 0]].concat();
            ip.extend(link.guest_v4.octets());
            let target = if shape & 0x10 == 0 { link.gateway_v4.octets() } else { [1, 1, 1, 1] };
            ip.extend(target);
            let mut sum: u32 =
                ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            sum = (sum >> 16) + (sum & 0xffff);
            let sum = !u16::try_from((sum >> 16) + (sum & 0xffff)).unwrap_or(0);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            [&ethernet[..], &[8, 0], &ip, bytes].concat()
        }
        _ => {
            let hops = if shape & 0x20 == 0 { 255 } else { 64 };
            let mut ip = [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[protocol, hops]].concat();
            ip.extend(link.guest_v6.octets());
            ip.extend(link.gateway_v6.octets());
            [&ethernet[..], &[0x86, 0xdd], &ip, bytes].concat()
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let mut driver = TestDriver::new(card());
    for _ in 0..64 {
        let addr = driver.alloc(2048);
        driver.queues[0].add(&[Part::writable(addr, 2048)]);
    }
    let mut input = input;
    for _ in 0..MOST_FRAMES {
        let [shape, length, rest @ ..] = input else { break };
        let length = usize::from(*length).min(rest.len());
        let (bytes, rest) = rest.split_at(length);
        input = rest;
        let frame = frame(*shape, bytes);
        let segments = [None, Some(1), Some(7), Some(1000)][usize::from(*shape >> 6)];
        let header = Header { segments: segments.map(|each| (Segmentation::Udp, each)), ..Header::default() };
        let addr = driver.put(&[&header.to_bytes(0)[..], &frame].concat());
        driver.queues[1].add(&[Part::readable(addr, HEADER_BYTES + frame.len())]);
    }
    assert!(driver.start().is_ok());
    assert_eq!(driver.device.stop().len(), 2, "the worker is lost");
    assert!(!driver.interrupt.needs_reset(), "frames alone break no rule");
});
