//! Through published ports into the guest: what arrives there, and the answers to those who know no connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use monocore_spec::Protocol;
use monocore_virtio::{Interest, Poller, ServiceError};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, acceptfrom_with, recvfrom, sendto};

use crate::engine::Engine;
use crate::publish::Listener;
use crate::token::{TOKEN_LISTENER, raw_token};

/// Connections or datagrams of one port before others come.
pub(crate) const TURN: usize = 64;
/// How long a client of a UDP port is remembered.
const LIFETIME: Duration = Duration::from_secs(180);
/// Clients of UDP ports at a time.
const MAX_CLIENTS: usize = 4096;
/// The longest datagram.
pub(crate) const MAX_DATAGRAM: usize = 65_507;

/// A client of a UDP port.
#[derive(Debug)]
struct Client {
    listener: usize,
    address: SocketAddr,
    until: Instant,
}

/// What a look at a published port gave.
#[derive(Debug)]
pub(crate) enum Arrival<T> {
    /// `client` as the guest knows it wants to reach the guest at `guest`.
    Here {
        /// The guest's address.
        guest: SocketAddr,
        /// The other end's.
        client: SocketAddr,
        /// The connection, or the length of the datagram.
        what: T,
    },
    /// Somebody who may not; there may be others.
    Refused,
    /// Nobody.
    Nothing,
}

/// All published ports, and the clients of those that know no connections.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    listeners: Vec<Listener>,
    /// By the guest's address and the client's, as the guest knows it.
    clients: HashMap<(SocketAddr, SocketAddr), Client>,
    /// Room for a datagram, made for the first one.
    datagram: Vec<u8>,
}

impl Inbound {
    pub(crate) fn new(listeners: Vec<Listener>) -> Self {
        Self { listeners, clients: HashMap::new(), datagram: Vec::new() }
    }

    /// One more, before it begins.
    pub(crate) fn add(&mut self, listener: Listener) {
        self.listeners.push(listener);
    }

    /// Where ports are bound on this host, and where they lead.
    pub(crate) fn published(&self) -> Vec<(SocketAddr, u16)> {
        self.listeners.iter().map(|listener| (listener.address, listener.guest_port)).collect()
    }

    pub(crate) fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        for (index, listener) in self.listeners.iter().enumerate() {
            poller
                .add(&listener.socket, raw_token(TOKEN_LISTENER, index as u64), Interest::Read)
                .map_err(ServiceError::host("watching a published port"))?;
        }
        Ok(())
    }

    pub(crate) fn reset(&mut self) {
        self.clients.clear();
    }

    /// Watches port number `index` for clients, or leaves it alone.
    pub(crate) fn watch(&self, poller: &Poller, index: usize, watched: bool) -> Result<(), ServiceError> {
        let Some(listener) = self.listeners.get(index) else { return Ok(()) };
        let interest = if watched { Interest::Read } else { Interest::None };
        poller
            .modify(&listener.socket, raw_token(TOKEN_LISTENER, index as u64), interest)
            .map_err(ServiceError::host("watching a published port"))
    }

    /// The port of a poller's token, by number, with its protocol and where it leads.
    pub(crate) fn port(&self, bits: u64) -> Option<(usize, Protocol, u16)> {
        let index = usize::try_from(bits).ok()?;
        self.listeners.get(index).map(|listener| (index, listener.protocol, listener.guest_port))
    }

    /// Where an answer of the guest to a client of a UDP port goes; nothing where it is not one.
    pub(crate) fn answer(&mut self, ends: (SocketAddr, SocketAddr), now: Instant) -> Option<Answer<'_>> {
        let client = self.clients.get_mut(&ends).filter(|client| client.until > now)?;
        client.until = now + LIFETIME;
        let listener = self.listeners.get(client.listener)?;
        Some(Answer { socket: &listener.socket, to: client.address })
    }

    /// The next connection to the TCP port `index`.
    pub(crate) fn accept(&self, engine: &mut Engine, index: usize) -> Arrival<OwnedFd> {
        let Some(listener) = self.listeners.get(index) else { return Arrival::Nothing };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, client) = match acceptfrom_with(&listener.socket, flags) {
            Ok((socket, client)) => (socket, client.and_then(|client| SocketAddr::try_from(client).ok())),
            Err(Errno::INTR | Errno::CONNABORTED) => return Arrival::Refused,
            Err(_) => return Arrival::Nothing,
        };
        let seen = client.and_then(|client| engine.inbound(Protocol::Tcp, client, listener.guest_port));
        let Some(client) = seen else { return Arrival::Refused };
        let guest = SocketAddr::new(engine.guest(client.ip()), listener.guest_port);
        Arrival::Here { guest, client, what: socket }
    }

    /// The next datagram of the UDP port `index`: how many of [`datagram`](Self::datagram)'s bytes it has.
    pub(crate) fn receive(&mut self, engine: &mut Engine, index: usize, now: Instant) -> Arrival<usize> {
        self.datagram.resize(MAX_DATAGRAM, 0);
        let Some(listener) = self.listeners.get(index) else { return Arrival::Nothing };
        let (count, client) = match recvfrom(&listener.socket, &mut *self.datagram, RecvFlags::DONTWAIT) {
            Ok((count, _, client)) => (count, client.and_then(|client| SocketAddr::try_from(client).ok())),
            Err(Errno::INTR) => return Arrival::Refused,
            Err(_) => return Arrival::Nothing,
        };
        let guest_port = listener.guest_port;
        match client.and_then(|client| self.client(engine, (index, client), guest_port, now)) {
            Some((guest, client)) => Arrival::Here { guest, client, what: count },
            None => Arrival::Refused,
        }
    }

    /// The first `count` bytes of the datagram received last.
    pub(crate) fn datagram(&self, count: usize) -> &[u8] {
        self.datagram.get(..count).unwrap_or_default()
    }

    /// The guest's and the client's address as the guest knows them, if the client may reach it.
    fn client(
        &mut self,
        engine: &mut Engine,
        (listener, address): (usize, SocketAddr),
        guest_port: u16,
        now: Instant,
    ) -> Option<(SocketAddr, SocketAddr)> {
        let known = self
            .clients
            .iter_mut()
            .find(|(_, client)| client.listener == listener && client.address == address);
        if let Some((key, client)) = known {
            client.until = now + LIFETIME;
            return Some(*key);
        }
        let seen = engine.inbound(Protocol::Udp, address, guest_port)?;
        if self.clients.len() >= MAX_CLIENTS {
            self.clients.retain(|_, client| client.until > now);
        }
        if self.clients.len() >= MAX_CLIENTS {
            return None;
        }
        let key = (SocketAddr::new(engine.guest(seen.ip()), guest_port), seen);
        self.clients.insert(key, Client { listener, address, until: now + LIFETIME });
        Some(key)
    }
}

/// Where an answer goes.
pub(crate) struct Answer<'a> {
    socket: &'a OwnedFd,
    to: SocketAddr,
}

impl Answer<'_> {
    pub(crate) fn send(self, payload: &[u8]) {
        // Lost, as datagrams are.
        let _ = sendto(self.socket, payload, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &self.to);
    }
}
