//! UDP datagrams (RFC 768) and ICMP echoes (RFC 792, RFC 4443 §4.1).

use super::ip::{ICMP, ICMPV6, Ip};
use super::{Head, word};

/// Length of a UDP header.
pub(crate) const UDP_BYTES: usize = 8;
/// Length of an echo's header: type, code, checksum, identifier, sequence number.
pub(crate) const ECHO_BYTES: usize = 8;

const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;

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
