//! IPv4 (RFC 791 §3.1) and IPv6 (RFC 8200 §3) as the guest sends them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::Sum;
use super::{ETHERNET_BYTES, Head, TYPE_IPV4, TYPE_IPV6, word};

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

const V4_BYTES: usize = 20;
const V6_BYTES: usize = 40;
/// "More fragments" and the fragment's offset.
const FRAGMENT: u16 = 0x3fff;

/// An IP packet that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ip {
    pub(crate) source: IpAddr,
    pub(crate) target: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) hop_limit: u8,
    /// Where its payload begins in the frame, and how long it is, bytes.
    pub(crate) payload_at: usize,
    pub(crate) payload_bytes: usize,
}

impl Ip {
    /// Fragments and IPv6 extension headers are not carried: the link is wide enough for any datagram.
    pub(crate) fn parse(head: &Head<'_>, ethernet_type: u16) -> Option<Self> {
        let ip = head.bytes.get(ETHERNET_BYTES..)?;
        let most = head.frame_bytes.checked_sub(ETHERNET_BYTES)?;
        match ethernet_type {
            TYPE_IPV4 => parse_v4(ip, most),
            TYPE_IPV6 => parse_v6(ip, most),
            _ => None,
        }
    }
}

fn parse_v4(ip: &[u8], most: usize) -> Option<Ip> {
    let first = *ip.first()?;
    let header = usize::from(first & 0xf) * 4;
    let total = usize::from(word(ip, 2)?);
    if first >> 4 != 4 || header < V4_BYTES || total < header || total > most || word(ip, 6)? & FRAGMENT != 0
    {
        return None;
    }
    if Sum::default().add(ip.get(..header)?).folded() != 0xffff {
        return None;
    }
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?).into());
    Some(Ip {
        source: address(12)?,
        target: address(16)?,
        protocol: *ip.get(9)?,
        hop_limit: *ip.get(8)?,
        payload_at: ETHERNET_BYTES + header,
        payload_bytes: total - header,
    })
}

fn parse_v6(ip: &[u8], most: usize) -> Option<Ip> {
    let payload_bytes = usize::from(word(ip, 4)?);
    if *ip.first()? >> 4 != 6 || V6_BYTES + payload_bytes > most {
        return None;
    }
    let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(at..at + 16)?).ok()?).into());
    Some(Ip {
        source: address(8)?,
        target: address(24)?,
        protocol: *ip.get(6)?,
        hop_limit: *ip.get(7)?,
        payload_at: ETHERNET_BYTES + V6_BYTES,
        payload_bytes,
    })
}
