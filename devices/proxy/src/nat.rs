//! A user-mode network stack: the other end of a guest's card, and sockets of this host behind it.
//!
//! It answers ARP and neighbour discovery for every address but the guest's, echo requests to itself and questions for names; TCP,
//! UDP and other echo requests go on in sockets of the host, if the engine lets them. It runs on the card's worker thread
//! and keeps no payload.
//!
//! The guest is hostile: a packet from an address that is not the guest's own, a fragment, or a header that does not add up is
//! dropped.
//!
//! System calls of the worker: `socket`, `connect`, `accept4`, `sendmsg`, `sendto`, `recvmsg`, `recvfrom`, `shutdown`,
//! `getsockopt`, `setsockopt`, `ioctl` (TIOCOUTQ), `socketpair`, `getrandom`, `epoll_ctl`, `close`, and `write` for receipts.

mod echo;
mod inbound;
mod io;
mod link;
mod neighbours;
pub(crate) mod slab;
mod tcp;
mod timers;
mod udp;
pub(crate) mod wire;

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use monocore_net::{Endpoint, FIRST_TOKEN, HEADER_BYTES, Offloads, Receiver, Sent};
use monocore_spec::{NatSpec, PolicySpec};
use monocore_virtio::{Buffers, Poller, Ready, ServiceError};

use crate::dns::{self, Forwarder};
use crate::engine::Engine;
use crate::policy::Policy;
use crate::publish::{Listener, PublishError};
use crate::receipt::Receipts;
use crate::sys;
use echo::Echoes;
use inbound::Inbound;
use io::Io;
use link::Link;
use slab::Id;
use tcp::{Incoming, Tcp};
use udp::Udp;
use wire::ip::{self, Ip};
use wire::tcp::Segment;
use wire::udp::{Datagram, Echo};
use wire::{ETHERNET_BYTES, HEAD_BYTES, Head, TYPE_ARP, TYPE_IPV4, TYPE_IPV6};

pub(crate) const TOKEN_TCP: u64 = 1;
pub(crate) const TOKEN_UDP: u64 = 2;
pub(crate) const TOKEN_ECHO: u64 = 3;
pub(crate) const TOKEN_LISTENER: u64 = 4;
pub(crate) const TOKEN_DNS_STREAM: u64 = 5;
pub(crate) const TOKEN_DNS_UPSTREAM: u64 = 6;
/// A token is a kind in its highest byte, and what [`Id::to_bits`] gives below.
const KIND_SHIFT: u32 = 56;
const BITS: u64 = (1 << KIND_SHIFT) - 1;

/// The poller's token of a thing.
pub(crate) fn token(kind: u64, id: Id) -> u64 {
    raw_token(kind, id.to_bits())
}

fn raw_token(kind: u64, bits: u64) -> u64 {
    kind << KIND_SHIFT | bits
}

const _: () = assert!(1 << KIND_SHIFT >= FIRST_TOKEN);

/// Why a stack cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum NatError {
    /// A port cannot be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// This host's addresses cannot be learned, so they could not be guarded.
    #[error("list this host's addresses: {0}")]
    HostAddresses(#[source] std::io::Error),
}

/// The stack.
#[derive(Debug)]
pub struct Nat {
    link: Link,
    engine: Engine,
    dns: Forwarder,
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
    /// [`NatError`].
    pub fn new(spec: &NatSpec, resolvers: &[IpAddr], receipts: Option<File>) -> Result<Self, NatError> {
        let own = sys::interface_addresses().map_err(NatError::HostAddresses)?;
        let listeners = spec.publish.iter().map(Listener::open).collect::<Result<_, _>>()?;
        let policy = Policy::new(&PolicySpec::clone(&spec.policy), own);
        let engine = Engine::new(policy, Receipts::new(receipts), &spec.link, spec.limits.connections);
        Ok(Self {
            link: Link::new(spec.link.clone(), spec.mac),
            engine,
            dns: Forwarder::new(resolvers),
            tcp: Tcp::new(),
            udp: Udp::default(),
            echoes: Echoes::default(),
            inbound: Inbound::new(listeners),
        })
    }

    /// Where published ports are bound: this host's address and the guest's port.
    pub fn published(&self) -> Vec<(SocketAddr, u16)> {
        self.inbound.published()
    }

    /// A packet of the guest. `payload` is the frame; it is cut down to what the packet carries.
    fn packet(
        io: &mut Io<'_, '_>,
        parts: Parts<'_>,
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
            return Ok(());
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
                cut(frame, datagram.payload_at, datagram.payload_bytes);
                let ends = (
                    SocketAddr::new(ip.source, datagram.source_port),
                    SocketAddr::new(ip.target, datagram.target_port),
                );
                Self::datagram(io, parts, ends, frame, packet)
            }
            ip::ICMP | ip::ICMPV6 => {
                let Some(echo) = Echo::parse(head, ip) else { return Ok(()) };
                cut(frame, echo.payload_at, echo.payload_bytes);
                parts.echoes.request(io, ip.target, &echo, frame, packet)
            }
            _ => Ok(()),
        }
    }

    fn datagram(
        io: &mut Io<'_, '_>,
        parts: Parts<'_>,
        (guest, remote): (SocketAddr, SocketAddr),
        payload: &mut Buffers<'_>,
        packet: &[u8],
    ) -> Result<(), ServiceError> {
        if io.engine.is_gateway(remote.ip()) && remote.port() == dns::PORT {
            let mut query = vec![0; payload.len_bytes()];
            payload.copy_to(0, &mut query);
            io.dns.datagram(io.engine, io.poller, (guest, remote), query, io.now);
            return Ok(());
        }
        if parts.inbound.answer((guest, remote), payload, io.now) {
            return Ok(());
        }
        parts.udp.datagram(io, (guest, remote), payload, packet)
    }
}

/// What packets go to.
struct Parts<'a> {
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
        (io, Parts { tcp, udp, echoes, inbound })
    }};
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
            udp_from_guest: false,
            udp_to_guest: false,
        }
    }

    fn mtu(&self) -> Option<u16> {
        Some(self.link.spec.mtu)
    }

    fn begin(&mut self, offloads: Offloads, poller: &Poller) -> Result<(), ServiceError> {
        self.link.offloads = offloads;
        self.tcp.begin(poller)?;
        self.udp.begin(poller)?;
        self.echoes.begin(&mut self.engine);
        self.inbound.begin(poller)?;
        self.dns.reset();
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
        let (mut io, parts) = parts!(nat, receiver, poller);
        match ethernet_type {
            TYPE_ARP => {
                io.link.ends.guest = source;
                neighbours::arp(io.link, io.receiver, &head)?;
            }
            TYPE_IPV4 | TYPE_IPV6 => {
                if let Some(ip) = Ip::parse(&head, ethernet_type) {
                    io.link.ends.guest = source;
                    Self::packet(&mut io, parts, &head, &ip, frame)?;
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
        let bits = ready.token & BITS;
        match ready.token >> KIND_SHIFT {
            TOKEN_TCP => parts.tcp.ready(&mut io, bits, ready),
            TOKEN_UDP => parts.udp.ready(&mut io, bits),
            TOKEN_ECHO => parts.echoes.ready(&mut io, bits),
            TOKEN_LISTENER => parts.inbound.ready(&mut io, bits, parts.tcp),
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
        io.dns.turn(io.poller, io.now);
        for reply in std::mem::take(&mut io.dns.replies) {
            io.link.datagram(io.receiver, reply.from, reply.to, &reply.bytes)?;
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        [self.tcp.deadline(), self.udp.deadline(), self.dns.deadline()].into_iter().flatten().min()
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
