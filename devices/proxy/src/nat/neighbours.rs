//! Who is where on the link: ARP (RFC 826) and neighbour discovery (RFC 4861). We are every address but the guest's own,
//! so that a guest may think it is on any network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use monocore_net::Receiver;
use monocore_virtio::ServiceError;

use super::link::Link;
use super::wire::ip::Ip;
use super::wire::{ETHERNET_BYTES, Head, TYPE_ARP, TYPE_IPV4, long, word};

const ARP_BYTES: usize = 28;
const ETHERNET: u16 = 1;
const REQUEST: u16 = 1;
const REPLY: u8 = 2;

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Of a neighbour advertisement: from a router, solicited, overrides what was known.
const ROUTER_SOLICITED_OVERRIDE: u8 = 0xe0;
const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;
const OPTION_MTU: u8 = 5;
/// Neighbour discovery is believed only when it cannot have come through a router.
const HOPS: u8 = 255;
const ROUTER_LIFETIME_S: u16 = 9000;
/// Our own link-local address.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Answers an ARP request.
pub(crate) fn arp(link: &mut Link, receiver: &mut Receiver<'_>, head: &Head<'_>) -> Result<(), ServiceError> {
    let Some(reply) = arp_reply(link, head.bytes.get(ETHERNET_BYTES..).unwrap_or_default()) else {
        return Ok(());
    };
    link.ethernet(receiver, TYPE_ARP, &reply)
}

fn arp_reply(link: &Link, arp: &[u8]) -> Option<[u8; ARP_BYTES]> {
    let request: [u8; ARP_BYTES] = arp.get(..ARP_BYTES)?.try_into().ok()?;
    let wanted = Ipv4Addr::from_bits(long(arp, 24)?);
    let sender = Ipv4Addr::from_bits(long(arp, 14)?);
    // A guest that asks for its own address looks whether somebody else has it.
    let ours = !link.is_guest(wanted.into()) && !sender.is_unspecified();
    if word(arp, 0)? != ETHERNET || word(arp, 2)? != TYPE_IPV4 || word(arp, 6)? != REQUEST || !ours {
        return None;
    }
    let mut reply = request;
    reply[7] = REPLY;
    reply[8..14].copy_from_slice(&link.ends.ours);
    reply[14..18].copy_from_slice(&wanted.octets());
    reply[18..28].copy_from_slice(&request[8..18]);
    Some(reply)
}

/// Answers neighbour and router solicitations; says whether the packet was one.
pub(crate) fn discovery(
    link: &mut Link,
    receiver: &mut Receiver<'_>,
    head: &Head<'_>,
    ip: &Ip,
) -> Result<bool, ServiceError> {
    let message = head.bytes.get(ip.payload_at..).unwrap_or_default();
    let (kind, IpAddr::V6(source)) = (message.first().copied(), ip.source) else { return Ok(false) };
    if ip.hop_limit != HOPS {
        return Ok(false);
    }
    let answer = match kind {
        Some(ROUTER_SOLICITATION) => Some(router_advertisement(link)),
        Some(NEIGHBOUR_SOLICITATION) => neighbour_advertisement(link, message, source),
        _ => return Ok(false),
    };
    if let Some(answer) = answer {
        let to = if source.is_unspecified() { Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1) } else { source };
        link.icmp(receiver, LINK_LOCAL.into(), to.into(), &answer, HOPS)?;
    }
    Ok(true)
}

fn neighbour_advertisement(link: &Link, message: &[u8], source: Ipv6Addr) -> Option<Vec<u8>> {
    let wanted = Ipv6Addr::from(<[u8; 16]>::try_from(message.get(8..24)?).ok()?);
    // Unspecified: the guest looks whether somebody else has its address.
    let ours = wanted == LINK_LOCAL || !wanted.is_unicast_link_local() && wanted != link.spec.guest_v6;
    if !ours || source.is_unspecified() {
        return None;
    }
    let mut answer = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, ROUTER_SOLICITED_OVERRIDE, 0, 0, 0];
    answer.extend(wanted.octets());
    answer.extend([OPTION_TARGET, 1]);
    answer.extend(link.ends.ours);
    Some(answer)
}

/// A router, but no prefix to make addresses from: the guest's address is given to it.
fn router_advertisement(link: &Link) -> Vec<u8> {
    let mut answer = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, 64, 0];
    answer.extend(ROUTER_LIFETIME_S.to_be_bytes());
    answer.extend([0; 8]);
    answer.extend([OPTION_SOURCE, 1]);
    answer.extend(link.ends.ours);
    answer.extend([OPTION_MTU, 1, 0, 0]);
    answer.extend(u32::from(link.spec.mtu).to_be_bytes());
    answer
}
