//! DHCP (RFC 2131, RFC 2132) for the one guest there is: it is told the address it has, and what goes with it, however often it
//! asks. So a guest whose init is not ours finds its way, too. There is nothing to keep: no lease ends, and no other is given.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use monocore_net::Receiver;
use monocore_spec::LinkSpec;
use monocore_virtio::{Buffers, ServiceError};

use super::link::Link;
use super::wire::ip::{self, Ip};
use super::wire::udp::Datagram;
use super::wire::{Head, long};

/// Where servers listen; the gateway does.
pub(crate) const PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// Everything before the options (RFC 2131 §2), and where in it what is.
const FIXED_BYTES: usize = 240;
const CLIENT_ADDRESS: usize = 12;
const YOUR_ADDRESS: usize = 16;
const HARDWARE_ADDRESS: usize = 28;
const COOKIE: usize = 236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// No client sends more, and none takes less than the second (RFC 951 §3, RFC 2131 §2).
const MOST_BYTES: usize = 1500;
const LEAST_BYTES: usize = 300;

const ASKS: u8 = 1;
const ANSWERS: u8 = 2;
const ETHERNET: [u8; 2] = [1, 6];

/// Options (RFC 2132).
const PAD: u8 = 0;
const MASK: u8 = 1;
const ROUTER: u8 = 3;
const NAME_SERVER: u8 = 6;
const MTU: u8 = 26;
const WANTED_ADDRESS: u8 = 50;
const LEASE_S: u8 = 51;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const END: u8 = 255;

/// Kinds of messages.
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACKNOWLEDGE: u8 = 5;
const REFUSE: u8 = 6;
const INFORM: u8 = 8;

/// A day; it is asked for again after half of it.
const LEASE: u32 = 86_400;

/// The datagram of a client that asks whoever serves, whether or not it knows its address.
pub(crate) fn to_everybody(link: &Link, head: &Head<'_>, ip: &Ip) -> Option<Datagram> {
    let from_guest = ip.source == IpAddr::V4(Ipv4Addr::UNSPECIFIED) || link.is_guest(ip.source);
    if ip.protocol != ip::UDP || !from_guest || ip.target != IpAddr::V4(Ipv4Addr::BROADCAST) {
        return None;
    }
    let datagram = Datagram::parse(head, ip)?;
    ((datagram.source_port, datagram.target_port) == (CLIENT_PORT, PORT)).then_some(datagram)
}

/// Answers a client.
pub(crate) fn serve(
    link: &mut Link,
    receiver: &mut Receiver<'_>,
    payload: &Buffers<'_>,
) -> Result<(), ServiceError> {
    let mut message = vec![0; payload.len_bytes().min(MOST_BYTES)];
    payload.copy_to(0, &mut message);
    let Some(reply) = answer(&message, &link.spec) else { return Ok(()) };
    // One that has its address hears what is for it; any other only what is for everybody.
    let knows = long(&message, CLIENT_ADDRESS) == Some(link.spec.guest_v4.to_bits());
    let to = if knows { link.spec.guest_v4 } else { Ipv4Addr::BROADCAST };
    let from = SocketAddr::from((link.spec.gateway_v4, PORT));
    link.datagram(receiver, from, SocketAddr::from((to, CLIENT_PORT)), &reply)
}

/// What a client that says `message` is told, if anything.
fn answer(message: &[u8], link: &LinkSpec) -> Option<Vec<u8>> {
    let fixed = message.get(..FIXED_BYTES)?;
    if fixed[0] != ASKS || fixed[1..3] != ETHERNET || fixed[COOKIE..] != MAGIC {
        return None;
    }
    let options = &message[FIXED_BYTES..];
    let address = |code| option(options, code).and_then(|bytes| long(bytes, 0)).map(Ipv4Addr::from_bits);
    if address(SERVER).is_some_and(|server| server != link.gateway_v4) {
        return None;
    }
    let known = Some(Ipv4Addr::from_bits(long(fixed, CLIENT_ADDRESS)?));
    let asked = *option(options, KIND)?.first()?;
    let kind = match asked {
        DISCOVER => OFFER,
        REQUEST if address(WANTED_ADDRESS).or(known) == Some(link.guest_v4) => ACKNOWLEDGE,
        REQUEST => REFUSE,
        INFORM => ACKNOWLEDGE,
        _ => return None,
    };
    let mut reply = fixed.to_vec();
    reply[0] = ANSWERS;
    // What is not the client's to say: hops, time, its new address, servers, names.
    for range in [3..4, 8..10, YOUR_ADDRESS..HARDWARE_ADDRESS, HARDWARE_ADDRESS + 16..COOKIE] {
        reply[range].fill(0);
    }
    if asked != INFORM && kind != REFUSE {
        reply[YOUR_ADDRESS..YOUR_ADDRESS + 4].copy_from_slice(&link.guest_v4.octets());
    }
    let mut put = |code: u8, bytes: &[u8]| {
        reply.extend([code, u8::try_from(bytes.len()).unwrap_or(0)]);
        reply.extend(bytes);
    };
    put(KIND, &[kind]);
    put(SERVER, &link.gateway_v4.octets());
    if kind != REFUSE {
        let mask = u32::MAX.checked_shl(32 - u32::from(link.prefix_v4.min(32))).unwrap_or(0);
        put(MASK, &mask.to_be_bytes());
        put(ROUTER, &link.gateway_v4.octets());
        put(NAME_SERVER, &link.gateway_v4.octets());
        put(MTU, &link.mtu.to_be_bytes());
        if asked != INFORM {
            put(LEASE_S, &LEASE.to_be_bytes());
        }
    }
    reply.push(END);
    reply.resize(reply.len().max(LEAST_BYTES), PAD);
    Some(reply)
}

/// The option `code`, where it is first.
fn option(mut options: &[u8], code: u8) -> Option<&[u8]> {
    loop {
        let (&found, rest) = options.split_first()?;
        options = rest;
        if found == PAD {
            continue;
        }
        let (&length, rest) = options.split_first().filter(|_| found != END)?;
        let (bytes, rest) = rest.split_at_checked(length.into())?;
        if found == code {
            return Some(bytes);
        }
        options = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(kind: u8, known: [u8; 4], options: &[&[u8]]) -> Vec<u8> {
        let mut message = vec![0; FIXED_BYTES];
        message[..8].copy_from_slice(&[ASKS, 1, 6, 9, 1, 2, 3, 4]);
        message[CLIENT_ADDRESS..CLIENT_ADDRESS + 4].copy_from_slice(&known);
        message[HARDWARE_ADDRESS..HARDWARE_ADDRESS + 6].copy_from_slice(&[2, 0, 0, 0, 0, 7]);
        message[COOKIE..].copy_from_slice(&MAGIC);
        message.extend([PAD, KIND, 1, kind]);
        message.extend(options.concat());
        message.push(END);
        message
    }

    fn told(message: &[u8]) -> Option<(u8, Ipv4Addr)> {
        let reply = answer(message, &LinkSpec::default())?;
        assert_eq!((reply.len(), reply[0], &reply[4..8]), (LEAST_BYTES, ANSWERS, &message[4..8]));
        assert_eq!(
            reply[HARDWARE_ADDRESS..HARDWARE_ADDRESS + 16],
            message[HARDWARE_ADDRESS..HARDWARE_ADDRESS + 16]
        );
        let options = &reply[FIXED_BYTES..];
        assert_eq!(option(options, SERVER), Some(&[10, 77, 0, 1][..]));
        let yours = Ipv4Addr::from_bits(long(&reply, YOUR_ADDRESS).unwrap());
        Some((option(options, KIND).unwrap()[0], yours))
    }

    const NONE: [u8; 4] = [0; 4];
    const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

    #[test]
    fn the_guest_is_given_its_address_and_no_other() {
        assert_eq!(told(&ask(DISCOVER, NONE, &[])), Some((OFFER, GUEST)));
        let wanted = [WANTED_ADDRESS, 4, 10, 77, 0, 2];
        let other = [WANTED_ADDRESS, 4, 10, 77, 0, 3];
        let (ours, theirs) = ([SERVER, 4, 10, 77, 0, 1], [SERVER, 4, 10, 77, 0, 9]);
        assert_eq!(told(&ask(REQUEST, NONE, &[&wanted, &ours])), Some((ACKNOWLEDGE, GUEST)));
        assert_eq!(told(&ask(REQUEST, NONE, &[&wanted])), Some((ACKNOWLEDGE, GUEST)));
        // It is asked for again, by the address itself.
        assert_eq!(told(&ask(REQUEST, GUEST.octets(), &[])), Some((ACKNOWLEDGE, GUEST)));
        assert_eq!(told(&ask(REQUEST, NONE, &[&other, &ours])), Some((REFUSE, Ipv4Addr::UNSPECIFIED)));
        assert_eq!(told(&ask(REQUEST, NONE, &[])), Some((REFUSE, Ipv4Addr::UNSPECIFIED)));
        assert_eq!(told(&ask(INFORM, GUEST.octets(), &[])), Some((ACKNOWLEDGE, Ipv4Addr::UNSPECIFIED)));
        // Another server is meant; the address is given back; an answer.
        assert_eq!(told(&ask(REQUEST, NONE, &[&wanted, &theirs])), None);
        assert_eq!(told(&ask(7, GUEST.octets(), &[])), None);
        let mut reply = ask(DISCOVER, NONE, &[]);
        reply[0] = ANSWERS;
        assert_eq!(told(&reply), None);
    }

    #[test]
    fn what_goes_with_the_address_is_told() {
        let reply = answer(&ask(DISCOVER, NONE, &[]), &LinkSpec::default()).unwrap();
        let told = |code| option(&reply[FIXED_BYTES..], code);
        assert_eq!(told(MASK), Some(&[255, 255, 255, 0][..]));
        assert_eq!((told(ROUTER), told(NAME_SERVER)), (Some(&[10, 77, 0, 1][..]), Some(&[10, 77, 0, 1][..])));
        assert_eq!((told(MTU), told(LEASE_S)), (Some(&[255, 255][..]), Some(&LEASE.to_be_bytes()[..])));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_none(bytes in prop::collection::vec(any::<u8>(), 0..80), cut in 0..400usize) {
            let mut message = ask(DISCOVER, NONE, &[&bytes]);
            message.truncate(cut);
            let _ = answer(&message, &LinkSpec::default());
            let _ = option(&bytes, KIND);
        }
    }
}
