//! UDP datagrams (RFC 768) and ICMP echoes (RFC 792, RFC 4443 §4.1).

use std::net::{Ipv4Addr, SocketAddr};

use super::ip::{ICMP, ICMPV6, Ip, UDP};
use super::{Head, long, word};

/// Length of a UDP header.
pub(crate) const UDP_BYTES: usize = 8;
/// Length of an echo's header: type, code, checksum, identifier, sequence number.
pub(crate) const ECHO_BYTES: usize = 8;

const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;
/// Type and code: destination unreachable, nobody at the port.
const UNREACHABLE_PORT: [u8; 2] = [3, 3];

/// A datagram's header, and where its payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) source_port: u16,
    pub(crate) target_port: u16,
    /// Where its payload begins in the frame, and how long it is, bytes.
    pub(crate) payload_at: usize,
    pub(crate) payload_bytes: usize,
}

impl Datagram {
    pub(crate) fn parse(head: &Head<'_>, ip: &Ip) -> Option<Self> {
        let udp = head.bytes.get(ip.payload_at..)?;
        let length = usize::from(word(udp, 4)?);
        if length < UDP_BYTES || length > ip.payload_bytes {
            return None;
        }
        Some(Self {
            source_port: word(udp, 0)?,
            target_port: word(udp, 2)?,
            payload_at: ip.payload_at + UDP_BYTES,
            payload_bytes: length - UDP_BYTES,
        })
    }
}

/// What the guest says of a datagram that nobody takes: its own address, and whose datagram it was (RFC 792). IPv4 only.
pub(crate) fn refused_datagram(head: &Head<'_>, ip: &Ip) -> Option<(SocketAddr, SocketAddr)> {
    let icmp = head.bytes.get(ip.payload_at..)?;
    let quoted = icmp.get(ECHO_BYTES..)?;
    let is_v4_header = quoted.first()? >> 4 == 4;
    if ip.protocol != ICMP || icmp[..2] != UNREACHABLE_PORT || !is_v4_header || *quoted.get(9)? != UDP {
        return None;
    }
    let at = usize::from(quoted[0] & 0xf) * 4;
    let address = |at| Some(Ipv4Addr::from_bits(long(quoted, at)?));
    let remote = SocketAddr::from((address(12)?, word(quoted, at)?));
    Some((SocketAddr::from((address(16)?, word(quoted, at + 2)?)), remote))
}

/// An echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Echo {
    pub(crate) identifier: u16,
    pub(crate) sequence: u16,
    /// Where its payload begins in the frame, and how long it is, bytes.
    pub(crate) payload_at: usize,
    pub(crate) payload_bytes: usize,
}

impl Echo {
    pub(crate) fn parse(head: &Head<'_>, ip: &Ip) -> Option<Self> {
        let icmp = head.bytes.get(ip.payload_at..)?;
        let request = match ip.protocol {
            ICMP => ECHO_REQUEST_V4,
            ICMPV6 => ECHO_REQUEST_V6,
            _ => return None,
        };
        if *icmp.first()? != request || *icmp.get(1)? != 0 {
            return None;
        }
        Some(Self {
            identifier: word(icmp, 4)?,
            sequence: word(icmp, 6)?,
            payload_at: ip.payload_at + ECHO_BYTES,
            payload_bytes: ip.payload_bytes.checked_sub(ECHO_BYTES)?,
        })
    }
}
