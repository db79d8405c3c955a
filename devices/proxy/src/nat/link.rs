//! The link to the guest, our end: frames that are put together here and given to the guest's buffers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use monocore_net::{Header, Offloads, Receiver, Segmentation};
use monocore_spec::LinkSpec;
use monocore_virtio::{Buffers, ServiceError};

use super::wire::checksum::Sum;
use super::wire::emit::{self, ChecksumPlace, Ends, Fields, Unreachable};
use super::wire::{ETHERNET_BYTES, HEAD_BYTES};

/// Our Ethernet address, the same on every link: there are only two ends.
const OURS: [u8; 6] = [0x02, 0x6d, 0x6f, 0x6e, 0x6f, 0x01];
/// What an ICMP error quotes may have, bytes.
const QUOTE_BYTES: usize = 128;

/// The link, and what both ends agreed to.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) spec: LinkSpec,
    pub(crate) ends: Ends,
    pub(crate) offloads: Offloads,
    /// The guest's addresses in its groups.
    pub(crate) group_addresses: Vec<Ipv4Addr>,
    /// The headers in the making.
    headers: Vec<u8>,
}

/// The payload of a segment or datagram, in the room the receiver has taken: behind the headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload {
    pub(crate) bytes: usize,
    /// What is longer than this is for the guest to cut.
    pub(crate) segment: u16,
}

impl Link {
    pub(crate) fn new(spec: LinkSpec, guest: [u8; 6]) -> Self {
        let ends = Ends { ours: OURS, guest };
        let group_addresses = Vec::new();
        Self {
            spec,
            ends,
            offloads: Offloads::NONE,
            group_addresses,
            headers: Vec::with_capacity(HEAD_BYTES),
        }
    }

    /// Whether `address` is the guest's.
    pub(crate) fn is_guest(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address == self.spec.guest_v4 || self.group_addresses.contains(&address),
            IpAddr::V6(address) => address == self.spec.guest_v6,
        }
    }

    /// The guest's address of the same family as `like`.
    pub(crate) fn guest(&self, like: IpAddr) -> IpAddr {
        self.spec.guest(like)
    }

    /// The longest segment that fits the link, without options.
    pub(crate) fn max_segment(&self, v4: bool) -> u16 {
        self.spec.mtu.saturating_sub(if v4 { 40 } else { 60 })
    }

    /// Sends a segment without payload, and says whether the guest had a buffer for it.
    pub(crate) fn segment(
        &mut self,
        receiver: &mut Receiver<'_>,
        from: SocketAddr,
        to: SocketAddr,
        fields: Fields,
    ) -> Result<bool, ServiceError> {
        let place = emit::tcp(&mut self.headers, self.ends, from, to, fields, 0);
        let header = self.finish(place, None, 0);
        receiver.frame(header, &self.headers)
    }

    /// Sends a segment whose payload lies in the receiver's room already.
    pub(crate) fn segment_around(
        &mut self,
        receiver: &mut Receiver<'_>,
        from: SocketAddr,
        to: SocketAddr,
        fields: Fields,
        payload: Payload,
    ) -> Result<(), ServiceError> {
        let place = emit::tcp(&mut self.headers, self.ends, from, to, fields, payload.bytes);
        let kind = if from.is_ipv4() { Segmentation::TcpV4 } else { Segmentation::TcpV6 };
        self.give(receiver, place, kind, payload)
    }

    /// Sends a datagram, or several, whose payload lies in the receiver's room already.
    pub(crate) fn datagram_around(
        &mut self,
        receiver: &mut Receiver<'_>,
        from: SocketAddr,
        to: SocketAddr,
        payload: Payload,
    ) -> Result<(), ServiceError> {
        let place = emit::udp(&mut self.headers, self.ends, from, to, payload.bytes);
        self.give(receiver, place, Segmentation::Udp, payload)
    }

    /// Sends a datagram; it is lost where the guest has no buffers.
    pub(crate) fn datagram(
        &mut self,
        receiver: &mut Receiver<'_>,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    ) -> Result<(), ServiceError> {
        let whole = datagram_headers_bytes(from.is_ipv4()) + payload.len();
        if whole > ETHERNET_BYTES + usize::from(self.spec.mtu) || !receiver.take(whole, whole)? {
            return Ok(());
        }
        receiver.payload_room(datagram_headers_bytes(from.is_ipv4())).copy_from(0, payload);
        self.datagram_around(receiver, from, to, Payload { bytes: payload.len(), segment: u16::MAX })
    }

    /// Sends an ICMP or ICMPv6 message; it is lost where the guest has no buffers.
    pub(crate) fn icmp(
        &mut self,
        receiver: &mut Receiver<'_>,
        from: IpAddr,
        to: IpAddr,
        message: &[u8],
        hops: u8,
    ) -> Result<(), ServiceError> {
        emit::icmp(&mut self.headers, self.ends, from, to, message, hops);
        receiver.frame(Header::default(), &self.headers).map(drop)
    }

    /// Tells the guest that its packet, of which `packet` is the beginning from the IP header on, did not arrive.
    pub(crate) fn unreachable(
        &mut self,
        receiver: &mut Receiver<'_>,
        v4: bool,
        why: Unreachable,
        packet: &[u8],
    ) -> Result<(), ServiceError> {
        let quote = packet.get(..packet.len().min(QUOTE_BYTES)).unwrap_or_default();
        let message = emit::unreachable(v4, why, quote);
        let (from, to): (IpAddr, IpAddr) = if v4 {
            (self.spec.gateway_v4.into(), self.spec.guest_v4.into())
        } else {
            (self.spec.gateway_v6.into(), self.spec.guest_v6.into())
        };
        self.icmp(receiver, from, to, &message, 64)
    }

    /// Tells the guest that nobody takes its datagrams to `to`, of which none is at hand any more.
    pub(crate) fn port_unreachable(
        &mut self,
        receiver: &mut Receiver<'_>,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Result<(), ServiceError> {
        let mut packet = Vec::new();
        emit::udp(&mut packet, self.ends, from, to, 0);
        let quote = packet.get(ETHERNET_BYTES..).unwrap_or_default();
        self.unreachable(receiver, from.is_ipv4(), Unreachable::Port, quote)
    }

    /// Sends a frame that is put together already, without its Ethernet addresses.
    pub(crate) fn ethernet(
        &mut self,
        receiver: &mut Receiver<'_>,
        ethernet_type: u16,
        payload: &[u8],
    ) -> Result<(), ServiceError> {
        self.headers.clear();
        self.headers.extend(self.ends.guest);
        self.headers.extend(self.ends.ours);
        self.headers.extend(ethernet_type.to_be_bytes());
        self.headers.extend(payload);
        receiver.frame(Header::default(), &self.headers).map(drop)
    }

    /// Puts the headers in front of `payload`.
    fn give(
        &mut self,
        receiver: &mut Receiver<'_>,
        place: ChecksumPlace,
        kind: Segmentation,
        payload: Payload,
    ) -> Result<(), ServiceError> {
        let mut header = self.finish(place, Some(receiver), payload.bytes);
        if payload.bytes > usize::from(payload.segment) {
            header.segments = Some((kind, payload.segment));
            header.headers_bytes = u16::try_from(self.headers.len()).unwrap_or(0);
        }
        receiver.room().copy_from(monocore_net::HEADER_BYTES, &self.headers);
        receiver.give(header, self.headers.len() + payload.bytes)
    }

    /// Leaves the checksum to the guest, or makes it where the guest takes none unfinished.
    fn finish(
        &mut self,
        place: ChecksumPlace,
        payload: Option<&mut Receiver<'_>>,
        payload_bytes: usize,
    ) -> Header {
        if self.offloads.checksum_to_guest {
            return Header { checksum: Some((place.start, place.offset)), ..Header::default() };
        }
        let start = usize::from(place.start);
        // The sum of the pseudo-header stands in the checksum's place and is summed with it.
        let mut sum = Sum::default().add(self.headers.get(start..).unwrap_or_default());
        if let Some(receiver) = payload {
            let room: &Buffers<'_> = receiver.payload_room(self.headers.len());
            sum = sum.add_buffers(room, 0, payload_bytes);
        }
        let at = start + usize::from(place.offset);
        if let Some(field) = self.headers.get_mut(at..at + 2) {
            let sum = match sum.checksum() {
                0 => 0xffff,
                sum => sum,
            };
            field.copy_from_slice(&sum.to_be_bytes());
        }
        Header::default()
    }
}

/// Length of the headers before a datagram's payload.
pub(crate) fn datagram_headers_bytes(v4: bool) -> usize {
    ETHERNET_BYTES + if v4 { 28 } else { 48 }
}

/// Length of the headers before a segment's payload, without options.
pub(crate) fn segment_headers_bytes(v4: bool) -> usize {
    ETHERNET_BYTES + if v4 { 40 } else { 60 }
}
