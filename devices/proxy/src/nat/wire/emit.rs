//! Our own frames: headers put together in front of payload that lies, or will lie, in the guest's buffers.

use std::net::{IpAddr, SocketAddr};

use super::checksum::Sum;
use super::ip::{ICMP, ICMPV6, TCP, UDP};
use super::udp::{ECHO_BYTES, UDP_BYTES};
use super::{ETHERNET_BYTES, TYPE_IPV4, TYPE_IPV6};

const HOP_LIMIT: u8 = 64;
/// "Don't fragment": the link takes what we send.
const DONT_FRAGMENT: u16 = 0x4000;

/// Both ends of the link, as Ethernet has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) ours: [u8; 6],
    pub(crate) guest: [u8; 6],
}

/// What a segment says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fields {
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// Options of a SYN: the longest segment, and the window's shift.
    pub(crate) max_segment: Option<u16>,
    pub(crate) scale: Option<u8>,
}

/// Where the checksum of a transport header is, in the frame: where it begins to count, and where it stands behind that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChecksumPlace {
    pub(crate) start: u16,
    pub(crate) offset: u16,
}

/// Ethernet and IP headers of a packet of `payload_bytes` from `from` to `to`, in place of what `out` holds.
pub(crate) fn ip(
    out: &mut Vec<u8>,
    ends: Ends,
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    payload_bytes: usize,
    hops: u8,
) {
    out.clear();
    out.extend(ends.guest);
    out.extend(ends.ours);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend(TYPE_IPV4.to_be_bytes());
            out.extend([0x45, 0]);
            out.extend(length(20 + payload_bytes));
            out.extend([0, 0]);
            out.extend(DONT_FRAGMENT.to_be_bytes());
            out.extend([hops, protocol, 0, 0]);
            out.extend(from.octets());
            out.extend(to.octets());
            let sum = Sum::default().add(&out[ETHERNET_BYTES..]).checksum();
            out[ETHERNET_BYTES + 10..ETHERNET_BYTES + 12].copy_from_slice(&sum.to_be_bytes());
        }
        (from, to) => {
            out.extend(TYPE_IPV6.to_be_bytes());
            out.extend([0x60, 0, 0, 0]);
            out.extend(length(payload_bytes));
            out.extend([protocol, hops]);
            out.extend(v6(from));
            out.extend(v6(to));
        }
    }
}

/// A segment's headers in front of `payload_bytes`; its checksum is that of the pseudo-header.
pub(crate) fn tcp(
    out: &mut Vec<u8>,
    ends: Ends,
    from: SocketAddr,
    to: SocketAddr,
    fields: Fields,
    payload_bytes: usize,
) -> ChecksumPlace {
    let mut options = [1; 8];
    let mut used = 0;
    if let Some(max_segment) = fields.max_segment {
        options[..2].copy_from_slice(&[2, 4]);
        options[2..4].copy_from_slice(&max_segment.to_be_bytes());
        used = 4;
        if let Some(scale) = fields.scale {
            options[5..8].copy_from_slice(&[3, 3, scale]);
            used = 8;
        }
    }
    let header = 20 + used;
    ip(out, ends, from.ip(), to.ip(), TCP, header + payload_bytes, HOP_LIMIT);
    let start = out.len();
    out.extend(from.port().to_be_bytes());
    out.extend(to.port().to_be_bytes());
    out.extend(fields.sequence.to_be_bytes());
    out.extend(fields.acknowledged.to_be_bytes());
    // 20 to 28 bytes, counted in fours.
    out.extend([if used == 0 { 0x50 } else { 0x50 + (if used == 4 { 0x10 } else { 0x20 }) }, fields.flags]);
    out.extend(fields.window.to_be_bytes());
    let sum = Sum::default().add_pseudo_header(from.ip(), to.ip(), TCP, header + payload_bytes).folded();
    out.extend(sum.to_be_bytes());
    out.extend([0, 0]);
    out.extend(&options[..used]);
    place(start, 16)
}

/// A datagram's headers in front of `payload_bytes`; its checksum is that of the pseudo-header.
pub(crate) fn udp(
    out: &mut Vec<u8>,
    ends: Ends,
    from: SocketAddr,
    to: SocketAddr,
    payload_bytes: usize,
) -> ChecksumPlace {
    ip(out, ends, from.ip(), to.ip(), UDP, UDP_BYTES + payload_bytes, HOP_LIMIT);
    let start = out.len();
    out.extend(from.port().to_be_bytes());
    out.extend(to.port().to_be_bytes());
    out.extend(length(UDP_BYTES + payload_bytes));
    let sum = Sum::default().add_pseudo_header(from.ip(), to.ip(), UDP, UDP_BYTES + payload_bytes).folded();
    out.extend(sum.to_be_bytes());
    place(start, 6)
}

/// An ICMP or ICMPv6 message, whole, with its checksum.
pub(crate) fn icmp(out: &mut Vec<u8>, ends: Ends, from: IpAddr, to: IpAddr, message: &[u8], hops: u8) {
    let protocol = if from.is_ipv4() { ICMP } else { ICMPV6 };
    ip(out, ends, from, to, protocol, message.len(), hops);
    let start = out.len();
    out.extend(message);
    let mut sum = Sum::default().add(&out[start..]);
    if protocol == ICMPV6 {
        sum = sum.add_pseudo_header(from, to, ICMPV6, message.len());
    }
    if let Some(place) = out.get_mut(start + 2..start + 4) {
        place.copy_from_slice(&sum.checksum().to_be_bytes());
    }
}

/// An echo's answer, its payload to be found behind.
pub(crate) fn echo_reply(v4: bool, identifier: u16, sequence: u16) -> [u8; ECHO_BYTES] {
    let mut bytes = [0; ECHO_BYTES];
    bytes[0] = if v4 { 0 } else { 129 };
    bytes[4..6].copy_from_slice(&identifier.to_be_bytes());
    bytes[6..].copy_from_slice(&sequence.to_be_bytes());
    bytes
}

/// Why something cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// Nobody listens at the port.
    Port,
    /// No way leads there.
    Host,
    /// It is not allowed.
    Prohibited,
}

/// The message that says that `packet` (IP header and what follows, as much as is known) did not arrive.
pub(crate) fn unreachable(v4: bool, why: Unreachable, packet: &[u8]) -> Vec<u8> {
    let (kind, code) = match (v4, why) {
        (true, Unreachable::Port) => (3, 3),
        (true, Unreachable::Host) => (3, 1),
        (true, Unreachable::Prohibited) => (3, 13),
        (false, Unreachable::Port) => (1, 4),
        (false, Unreachable::Host) => (1, 3),
        (false, Unreachable::Prohibited) => (1, 1),
    };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(packet.iter().take(if v4 { 28 } else { 128 }));
    message
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// A length field; what is longer than any packet never gets here.
fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

fn place(start: usize, offset: u16) -> ChecksumPlace {
    // Behind Ethernet and IP headers.
    ChecksumPlace { start: u16::try_from(start).unwrap_or(0), offset }
}
