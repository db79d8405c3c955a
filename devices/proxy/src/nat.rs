//! A user-mode network stack: the other end of a guest's card, and sockets of this host behind it.
//!
//! It answers ARP and neighbour discovery for every address but the guest's, DHCP, echo requests to itself and questions for names; TCP,
//! UDP and other echo requests go on in sockets of the host, if the engine lets them. It runs on the card's worker thread
//! and keeps no payload, but for the beginning of a connection that a name let be.
//!
//! The guest is hostile: a packet from an address that is not the guest's own, a fragment, or a header that does not add up is
//! dropped.
//!
//! System calls of the worker: `socket`, `connect`, `accept4`, `sendmsg`, `sendto`, `recvmsg`, `recvfrom`, `shutdown`,
//! `getsockopt`, `setsockopt`, `ioctl` (TIOCOUTQ), `socketpair`, `getrandom`, `epoll_ctl`, `close`, `write` and `ftruncate` for receipts.

mod dhcp;
mod echo;
mod inbound;
mod io;
mod link;
mod neighbours;
mod peers;
mod tcp;
mod timers;
mod udp;
pub(crate) mod wire;

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Instant;

use monocore_net::{Endpoint, HEADER_BYTES, Header, Offloads, Receiver, Segmentation, Sent};
use monocore_spec::{BoundPort, GroupAddress, NatSpec};
use monocore_virtio::{Buffers, Poller, Ready, ServiceError};

use crate::dns::{self, Forwarder};
use crate::engine::Engine;
use crate::inbound::{Inbound, MAX_DATAGRAM};
use crate::parts::{self, Parts, ProxyError};
use crate::peers::Peers;
use crate::ports::PortsHandle;
use crate::token::{
    TOKEN_DNS_STREAM, TOKEN_DNS_UPSTREAM, TOKEN_ECHO, TOKEN_FLOW, TOKEN_HOST, TOKEN_LISTENER,
    TOKEN_PEER_LINE, TOKEN_PEER_LINK, TOKEN_TCP, split,
};
use echo::Echoes;
use io::Io;
use link::Link;
use tcp::{Incoming, Tcp};
use udp::Udp;
use wire::ip::{self, Ip};
use wire::tcp::Segment;
use wire::udp::{Datagram, Echo, refused_datagram};
use wire::{ETHERNET_BYTES, HEAD_BYTES, Head, TYPE_ARP, TYPE_IPV4, TYPE_IPV6};

/// The most datagrams of one frame: Linux cuts no more (`UDP_MAX_SEGMENTS`).
const MAX_SEGMENTS: usize = 128;

/// The stack.
#[derive(Debug)]
pub struct Nat {
    link: Link,
    engine: Engine,
    dns: Forwarder<DnsClient>,
    tcp: Tcp,
    udp: Udp,
    echoes: Echoes,
    inbound: Inbound,
}

impl Nat {
    /// The stack that `spec` describes, which asks `resolvers` for names and writes receipts to `receipts`. Published ports
    /// are bound here.
    ///
    /// # Errors
    /// [`ProxyError`].
    pub fn new(spec: &NatSpec, resolvers: &[IpAddr], receipts: Option<File>) -> Result<Self, ProxyError> {
        let Parts { engine, dns, inbound } = Parts::new(&spec.proxy, resolvers, receipts)?;
        Ok(Self {
            link: Link::new(spec.proxy.link.clone(), spec.mac),
            engine,
            dns,
            tcp: Tcp::new(),
            udp: Udp::default(),
            echoes: Echoes::default(),
            inbound,
        })
    }

    /// Publishes `port` through `socket`, which is it. Before the device starts.
    ///
    /// # Errors
    /// [`ProxyError::Bound`].
    pub fn publish(&mut self, port: BoundPort, socket: OwnedFd) -> Result<(), ProxyError> {
        self.inbound.add(parts::bound(port, socket)?);
        Ok(())
    }

    /// Makes the guest a member of `groups`; `line` leads to the supervisor. Before the device starts.
    pub fn join(&mut self, groups: &[GroupAddress], line: OwnedFd) {
        self.engine.peers = Peers::new(groups.to_vec(), line);
        self.link.group_addresses = self.engine.peers.own().collect();
    }

    /// The way to add and remove published ports while the device runs.
    pub fn ports(&self) -> PortsHandle {
        self.inbound.handle()
    }

    /// Where published ports are bound: this host's address and the guest's port.
    pub fn published(&self) -> Vec<(SocketAddr, u16)> {
        self.inbound.published()
    }

    /// A packet of the guest. `payload` is the frame; it is cut down to what the packet carries.
    fn packet(
        io: &mut Io<'_, '_>,
        parts: &mut Targets<'_>,
        head: &Head<'_>,
        ip: &Ip,
        frame: &mut Buffers<'_>,
    ) -> Result<(), ServiceError> {
        let packet = head.bytes.get(ETHERNET_BYTES..).unwrap_or_default();
        if ip.protocol == ip::ICMPV6 && neighbours::discovery(io.link, io.receiver, head, ip)? {
            return Ok(());
        }
        // Nobody but the guest is behind this card, and groups of hosts are not reached through it.
        let broadcast = matches!(ip.target, IpAddr::V4(v4) if v4.is_broadcast());
        if !io.link.is_guest(ip.source)
            || io.link.is_guest(ip.target)
            || ip.target.is_multicast()
            || broadcast
        {
            // Only one that asks for its own address may speak to everybody, and without having it.
            let Some(datagram) = dhcp::to_everybody(io.link, head, ip) else { return Ok(()) };
            cut(frame, datagram.payload_at, datagram.payload_bytes);
            return dhcp::serve(io.link, io.receiver, frame);
        }
        match ip.protocol {
            ip::TCP => {
                let Some(segment) = Segment::parse(head, ip) else { return Ok(()) };
                cut(frame, segment.payload_at, segment.payload_bytes);
                let incoming = Incoming {
                    guest: SocketAddr::new(ip.source, segment.source_port),
                    remote: SocketAddr::new(ip.target, segment.target_port),
                    segment,
                    packet,
                };
                parts.tcp.segment(io, &incoming, frame)
            }
            ip::UDP => {
                let Some(datagram) = Datagram::parse(head, ip) else { return Ok(()) };
                let each = segment_bytes(frame);
                cut(frame, datagram.payload_at, datagram.payload_bytes);
                let ends = (
                    SocketAddr::new(ip.source, datagram.source_port),
                    SocketAddr::new(ip.target, datagram.target_port),
                );
                match each.filter(|each| frame.len_bytes() > usize::from(*each)) {
                    Some(each) => Self::datagrams(io, parts, ends, frame, each, packet),
                    None => Self::datagram(io, parts, ends, frame, packet),
                }
            }
            ip::ICMP | ip::ICMPV6 => {
                if let Some(ends) = refused_datagram(head, ip) {
                    parts.udp.refused(io.engine, ends);
                    return Ok(());
                }
                let Some(echo) = Echo::parse(head, ip) else { return Ok(()) };
                cut(frame, echo.payload_at, echo.payload_bytes);
                parts.echoes.request(io, (ip.source, ip.target), &echo, frame, packet)
            }
            _ => Ok(()),
        }
    }

    /// Datagrams of `each` bytes, but for the last. Where they go on in a socket already, the host cuts them, if it can.
    fn datagrams(
        io: &mut Io<'_, '_>,
        parts: &mut Targets<'_>,
        ends: (SocketAddr, SocketAddr),
        payload: &mut Buffers<'_>,
        each: u16,
        packet: &[u8],
    ) -> Result<(), ServiceError> {
        if payload.len_bytes().div_ceil(each.into()) > MAX_SEGMENTS {
            return Ok(());
        }
        if parts.inbound.answer(ends, io.now).is_none() && parts.udp.datagrams(io, ends, payload, each) {
            return Ok(());
        }
        let mut one = Buffers::new();
        while !payload.is_empty() {
            one.clear();
            one.append_range(payload, 0, each.into());
            payload.advance(each.into());
            Self::datagram(io, parts, ends, &mut one, packet)?;
        }
        Ok(())
    }

    fn datagram(
        io: &mut Io<'_, '_>,
        parts: &mut Targets<'_>,
        (guest, remote): (SocketAddr, SocketAddr),
        payload: &mut Buffers<'_>,
        packet: &[u8],
    ) -> Result<(), ServiceError> {
        if io.engine.is_gateway(remote.ip()) && remote.port() == dns::PORT {
            let mut query = vec![0; payload.len_bytes()];
            payload.copy_to(0, &mut query);
            io.dns.datagram(io.engine, io.poller, DnsClient { guest, server: remote }, query, io.now);
            return Ok(());
        }
        if io.engine.is_gateway(remote.ip()) && remote.port() == dhcp::PORT {
            return dhcp::serve(io.link, io.receiver, payload);
        }
        if let Some(answer) = parts.inbound.answer((guest, remote), io.now) {
            let mut bytes = vec![0; payload.len_bytes().min(MAX_DATAGRAM)];
            payload.copy_to(0, &mut bytes);
            answer.send(&bytes);
            return Ok(());
        }
        parts.udp.datagram(io, (guest, remote), payload, packet)
    }
}

/// Who asks for a name, by datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DnsClient {
    guest: SocketAddr,
    server: SocketAddr,
}

/// What packets go to.
struct Targets<'a> {
    tcp: &'a mut Tcp,
    udp: &'a mut Udp,
    echoes: &'a mut Echoes,
    inbound: &'a mut Inbound,
}

/// Splits a stack into what a turn works with and what packets go to.
macro_rules! parts {
    ($nat:ident, $receiver:expr, $poller:expr) => {{
        let Nat { link, engine, dns, tcp, udp, echoes, inbound } = $nat;
        let io = Io { link, receiver: $receiver, poller: $poller, engine, dns, now: Instant::now() };
        (io, Targets { tcp, udp, echoes, inbound })
    }};
}

/// How long each of several datagrams in a frame is, by its header.
fn segment_bytes(frame: &Buffers<'_>) -> Option<u16> {
    let mut bytes = [0; HEADER_BYTES];
    frame.copy_to(0, &mut bytes);
    match Header::parse(&bytes)?.segments? {
        (Segmentation::Udp, each) if each > 0 => Some(each),
        _ => None,
    }
}

/// Cuts a frame down to `bytes` from `at` on, counted from its Ethernet header.
fn cut(frame: &mut Buffers<'_>, at: usize, bytes: usize) {
    frame.advance(HEADER_BYTES + at);
    frame.truncate(bytes);
}

impl Endpoint for Nat {
    fn offloads(&self) -> Offloads {
        Offloads {
            checksum_from_guest: true,
            checksum_to_guest: true,
            tcp_from_guest: true,
            tcp_to_guest: (true, true),
            udp_from_guest: true,
            udp_to_guest: true,
        }
    }

    fn mtu(&self) -> Option<u16> {
        Some(self.link.spec.mtu)
    }

    fn begin(&mut self, offloads: Offloads, poller: &Poller) -> Result<(), ServiceError> {
        self.link.offloads = offloads;
        self.tcp.begin(poller)?;
        self.udp.begin(offloads.udp_to_guest, poller)?;
        self.echoes.begin(&mut self.engine);
        self.inbound.begin(poller)?;
        self.engine.begin(poller)?;
        self.dns.reset();
        self.dns.look_for_translators(&mut self.engine, poller, Instant::now());
        Ok(())
    }

    fn send(
        &mut self,
        frame: &mut Buffers<'_>,
        receiver: &mut Receiver<'_>,
        poller: &Poller,
    ) -> Result<Sent, ServiceError> {
        let mut bytes = [0; HEAD_BYTES];
        let count = frame.copy_to(HEADER_BYTES, &mut bytes);
        let head =
            Head { bytes: &bytes[..count], frame_bytes: frame.len_bytes().saturating_sub(HEADER_BYTES) };
        let Some((ethernet_type, source)) = head.ethernet() else { return Ok(Sent::Done) };
        let nat = self;
        let (mut io, mut parts) = parts!(nat, receiver, poller);
        match ethernet_type {
            TYPE_ARP => {
                io.link.ends.guest = source;
                neighbours::arp(io.link, io.receiver, &head)?;
            }
            TYPE_IPV4 | TYPE_IPV6 => {
                if let Some(ip) = Ip::parse(&head, ethernet_type) {
                    io.link.ends.guest = source;
                    Self::packet(&mut io, &mut parts, &head, &ip, frame)?;
                }
            }
            _ => {}
        }
        Ok(Sent::Done)
    }

    fn ready(
        &mut self,
        ready: Ready,
        receiver: &mut Receiver<'_>,
        poller: &Poller,
    ) -> Result<(), ServiceError> {
        let nat = self;
        let (mut io, parts) = parts!(nat, receiver, poller);
        let (kind, bits) = split(ready.token);
        match kind {
            TOKEN_TCP => parts.tcp.ready(&mut io, bits, ready),
            TOKEN_FLOW => parts.udp.ready(&mut io, bits),
            TOKEN_ECHO => parts.echoes.ready(&mut io, bits),
            TOKEN_LISTENER => inbound::ready(parts.inbound, &mut io, bits, parts.tcp),
            TOKEN_HOST => {
                io.engine.host_changed();
                parts.udp.host_changed(io.engine);
                Ok(())
            }
            TOKEN_PEER_LINE | TOKEN_PEER_LINK => peers::ready(&mut io, parts, kind, bits),
            TOKEN_DNS_STREAM => {
                io.dns.stream_ready(io.engine, io.poller, bits, ready, io.now);
                Ok(())
            }
            TOKEN_DNS_UPSTREAM => {
                io.dns.upstream_ready(io.engine, io.poller, bits, io.now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn turn(&mut self, receiver: &mut Receiver<'_>, poller: &Poller) -> Result<(), ServiceError> {
        let nat = self;
        let (mut io, parts) = parts!(nat, receiver, poller);
        parts.tcp.turn(&mut io)?;
        parts.udp.turn(&mut io)?;
        parts.inbound.turn(io.now)?;
        io.dns.turn(io.engine, io.poller, io.now);
        for reply in std::mem::take(&mut io.dns.replies) {
            io.link.datagram(io.receiver, reply.to.server, reply.to.guest, &reply.bytes)?;
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        [self.tcp.deadline(), self.udp.deadline(), self.dns.deadline(), self.inbound.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Connections belong to the guest that is gone; published ports stay.
    fn reset(&mut self) {
        self.tcp.reset();
        self.udp = Udp::default();
        self.echoes = Echoes::default();
        self.inbound.reset();
        self.dns.reset();
        self.engine.reset();
    }
}

#[cfg(test)]
mod tests;
