//! The frames in which guest and host speak of sockets: 48 bytes, little-endian but for the addresses.
//!
//! ```text
//!  0 u8  op     1 u8 family (4, 6)    2 u16 errno    4 u32 id
//!  8 u16 local port    10 u16 remote port    12 u32 zero
//! 16 local address, 32 remote address: 16 bytes each, network order; IPv4 as ::ffff:a.b.c.d
//! ```
//!
//! The guest's kernel writes the same in `include/net/tsi.h` of our patch.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use monocore_vsock::FRAME_BYTES;

/// What a frame is for. The first two begin streams; the others travel over channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// A stream to `remote`.
    Connect = 1,
    /// A stream that takes the connection announced as `id`.
    Accept = 2,
    /// A channel that hears of connections to `local`; `id` says how many may wait.
    Listen = 3,
    /// A channel for the datagrams of a socket at `local`; then, on it, one datagram to or from `remote`, its payload behind
    /// the frame.
    Datagram = 4,
    /// To the guest: `remote` connects to `local`; `id` takes it.
    Incoming = 5,
    /// To the guest: what was sent to `remote` did not arrive.
    Error = 6,
}

impl Op {
    fn from_wire(op: u8) -> Option<Self> {
        [Self::Connect, Self::Accept, Self::Listen, Self::Datagram, Self::Incoming, Self::Error]
            .into_iter()
            .find(|known| *known as u8 == op)
    }
}

/// A frame. Both addresses are of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is for.
    pub op: Op,
    /// In [`Op::Error`], the number of the error as Linux numbers it; else 0.
    pub errno: u16,
    /// A waiting connection, a backlog, or 0.
    pub id: u32,
    /// The guest's end; unspecified with port 0 where it is not bound.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

impl Frame {
    /// Reads a frame; `None` for bytes that are none.
    pub fn parse(bytes: &[u8; FRAME_BYTES]) -> Option<Self> {
        let mut rest = &bytes[..];
        let [op, family] = take(&mut rest)?;
        let errno = u16::from_le_bytes(take(&mut rest)?);
        let id = u32::from_le_bytes(take(&mut rest)?);
        let local_port = u16::from_le_bytes(take(&mut rest)?);
        let remote_port = u16::from_le_bytes(take(&mut rest)?);
        let reserved = u32::from_le_bytes(take(&mut rest)?);
        let local = address(family, take(&mut rest)?)?;
        let remote = address(family, take(&mut rest)?)?;
        let op = Op::from_wire(op)?;
        (reserved == 0 && (errno == 0 || op == Op::Error)).then_some(Self {
            op,
            errno,
            id,
            local: SocketAddr::new(local, local_port),
            remote: SocketAddr::new(remote, remote_port),
        })
    }

    /// The frame as it travels.
    pub fn to_bytes(&self) -> [u8; FRAME_BYTES] {
        let mut bytes = [0; FRAME_BYTES];
        bytes[0] = self.op as u8;
        bytes[1] = if self.remote.is_ipv4() { 4 } else { 6 };
        bytes[2..4].copy_from_slice(&self.errno.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.local.port().to_le_bytes());
        bytes[10..12].copy_from_slice(&self.remote.port().to_le_bytes());
        bytes[16..32].copy_from_slice(&octets(self.local.ip()));
        bytes[32..48].copy_from_slice(&octets(self.remote.ip()));
        bytes
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

/// An address of `family`. An IPv4 address that is not set may be zeroes throughout; an IPv6 one is never IPv4 in disguise.
fn address(family: u8, octets: [u8; 16]) -> Option<IpAddr> {
    let address = Ipv6Addr::from(octets);
    match (family, address.to_ipv4_mapped()) {
        (4, Some(v4)) => Some(v4.into()),
        (4, None) if address.is_unspecified() => Some(Ipv4Addr::UNSPECIFIED.into()),
        (6, None) => Some(address.into()),
        _ => None,
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(op: Op, local: &str, remote: &str) -> Frame {
        Frame { op, errno: 0, id: 0, local: local.parse().unwrap(), remote: remote.parse().unwrap() }
    }

    #[test]
    fn fields_lie_where_the_guest_reads_them() {
        let incoming = Frame { id: 0x0102_0304, ..frame(Op::Incoming, "10.77.0.2:80", "1.2.3.4:515") };
        let bytes = incoming.to_bytes();
        assert_eq!(bytes[..16], [5, 4, 0, 0, 4, 3, 2, 1, 80, 0, 3, 2, 0, 0, 0, 0]);
        assert_eq!(bytes[26..32], [0xff, 0xff, 10, 77, 0, 2]);
        assert_eq!(bytes[42..], [0xff, 0xff, 1, 2, 3, 4]);
        assert_eq!(Frame::parse(&bytes), Some(incoming));
        let error = Frame { errno: 111, ..frame(Op::Error, "[::]:0", "[2001:db8::1]:53") };
        assert_eq!(error.to_bytes()[..4], [6, 6, 111, 0]);
        assert_eq!(Frame::parse(&error.to_bytes()), Some(error));
    }

    #[test]
    fn what_makes_no_sense_is_no_frame() {
        let good = frame(Op::Connect, "0.0.0.0:0", "1.2.3.4:80").to_bytes();
        let with = |at: usize, value: u8| {
            let mut bytes = good;
            bytes[at] = value;
            Frame::parse(&bytes)
        };
        assert!(with(0, 1).is_some());
        // Operation, family, an error where none may be, reserved bytes, an address not of the family.
        for (at, value) in
            [(0, 0), (0, 7), (1, 0), (1, 6), (2, 1), (12, 1), (15, 1), (16, 1), (32, 1), (42, 0)]
        {
            assert_eq!(with(at, value), None, "{value} at {at}");
        }
        let mut unset = good;
        unset[16..32].fill(0);
        assert_eq!(Frame::parse(&unset), Frame::parse(&good));
    }

    proptest! {
        #[test]
        fn bytes_that_are_a_frame_travel_back(bytes in proptest::collection::vec(any::<u8>(), FRAME_BYTES), op in 0..8u8, v4 in any::<bool>()) {
            let mut bytes: [u8; FRAME_BYTES] = bytes.try_into().unwrap();
            (bytes[0], bytes[1]) = (op, if v4 { 4 } else { 6 });
            bytes[12..16].fill(0);
            if op != Op::Error as u8 {
                bytes[2..4].fill(0);
            }
            if v4 {
                for at in [16, 32] {
                    bytes[at..at + 10].fill(0);
                    bytes[at + 10..at + 12].fill(0xff);
                }
            }
            match Frame::parse(&bytes) {
                Some(frame) => prop_assert_eq!(frame.to_bytes(), bytes),
                None => prop_assert!(op == 0 || op == 7 || !v4),
            }
        }
    }
}
