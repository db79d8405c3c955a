//! Through published ports into the guest: what arrives there, and the answers to those who know no connections.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use monocore_spec::Protocol;
use monocore_virtio::{Poller, ServiceError};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use crate::engine::Engine;
use crate::ports::{Ports, PortsHandle};
use crate::publish::Listener;
use crate::sys::pktinfo::{self, Local};

/// Connections or datagrams of one port before others come.
pub(crate) const TURN: usize = 64;
/// How long a client of a UDP port is remembered.
const LIFETIME: Duration = Duration::from_secs(180);
/// Clients of UDP ports at a time.
const MAX_CLIENTS: usize = 4096;
/// How long a port is left alone after a connection could not be accepted, most likely for want of a descriptor. Nothing reports
/// that there is one again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// The longest datagram.
pub(crate) const MAX_DATAGRAM: usize = 65_507;

/// A client of a UDP port.
#[derive(Debug)]
struct Client {
    listener: usize,
    address: SocketAddr,
    /// The address of this host that it sent its last datagram to, which answers come from.
    local: Option<Local>,
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

/// The two ends of a datagram as the guest knows them: its own address and the client's.
type Ends = (SocketAddr, SocketAddr);

/// All published ports, and the clients of those that know no connections.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    ports: Ports,
    /// Ports that could not accept, and when they are watched again.
    resting: Vec<usize>,
    accept_again: Option<Instant>,
    clients: HashMap<Ends, Client>,
    /// The same clients by port and address.
    by_address: HashMap<(usize, SocketAddr), Ends>,
    /// No client is forgotten before this time.
    full_until: Option<Instant>,
    /// Room for a datagram, made for the first one.
    datagram: Vec<u8>,
}

impl Inbound {
    pub(crate) fn new(listeners: Vec<Listener>) -> Self {
        Self { ports: Ports::new(listeners), ..Self::default() }
    }

    /// One more, before it begins.
    pub(crate) fn add(&mut self, listener: Listener) {
        self.ports.push(listener);
    }

    /// The way to add and remove ports later.
    pub(crate) fn handle(&self) -> PortsHandle {
        self.ports.handle()
    }

    /// Where ports are bound on this host, and where they lead.
    pub(crate) fn published(&self) -> Vec<(SocketAddr, u16)> {
        self.ports.published()
    }

    /// Watches every port in a new poller.
    pub(crate) fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        self.resting.clear();
        self.accept_again = None;
        self.ports.begin(poller).map_err(ServiceError::host("watching the published ports"))
    }

    pub(crate) fn reset(&mut self) {
        self.clients.clear();
        self.by_address.clear();
        self.full_until = None;
    }

    /// Watches port number `index` for clients, or leaves it alone.
    pub(crate) fn watch(&self, index: usize, watched: bool) -> Result<(), ServiceError> {
        self.ports.watch(index, watched).map_err(ServiceError::host("watching a published port"))
    }

    /// Watches ports again that could not accept a moment ago.
    pub(crate) fn turn(&mut self, now: Instant) -> Result<(), ServiceError> {
        if self.accept_again.is_none_or(|at| at > now) {
            return Ok(());
        }
        self.accept_again = None;
        std::mem::take(&mut self.resting).into_iter().try_for_each(|index| self.watch(index, true))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.accept_again
    }

    /// The port of a poller's token, by number, with its protocol and where it leads.
    pub(crate) fn port(&self, bits: u64) -> Option<(usize, Protocol, u16)> {
        let index = usize::try_from(bits).ok()?;
        self.ports.get(index).map(|listener| (index, listener.protocol, listener.guest_port))
    }

    /// Where an answer of the guest to a client of a UDP port goes; nothing where it is not one.
    pub(crate) fn answer(&mut self, ends: (SocketAddr, SocketAddr), now: Instant) -> Option<Answer> {
        let client = self.clients.get_mut(&ends).filter(|client| client.until > now)?;
        client.until = now + LIFETIME;
        let listener = self.ports.get(client.listener)?;
        Some(Answer { listener, to: client.address, from: client.local })
    }

    /// The next connection to the TCP port `index`. A connection that cannot be accepted stays in the kernel's queue and keeps the
    /// port ready, so the port is left alone for a moment.
    ///
    /// # Errors
    /// The port cannot be taken out of the poller.
    pub(crate) fn accept(
        &mut self,
        engine: &mut Engine,
        index: usize,
        now: Instant,
    ) -> Result<Arrival<OwnedFd>, ServiceError> {
        let Some(listener) = self.ports.get(index) else { return Ok(Arrival::Nothing) };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, client) = match acceptfrom_with(&listener.socket, flags) {
            Ok((socket, client)) => (socket, client.and_then(|client| SocketAddr::try_from(client).ok())),
            Err(Errno::AGAIN) => return Ok(Arrival::Nothing),
            Err(error) if is_of_a_connection(error) => return Ok(Arrival::Refused),
            Err(error) => {
                tracing::warn!(%error, port = %listener.address, "a published port cannot accept now");
                self.watch(index, false)?;
                self.resting.push(index);
                self.accept_again.get_or_insert(now + ACCEPT_AGAIN);
                return Ok(Arrival::Nothing);
            }
        };
        let seen = client.and_then(|client| engine.inbound(Protocol::Tcp, client, listener.guest_port));
        let Some(client) = seen else { return Ok(Arrival::Refused) };
        let guest = SocketAddr::new(engine.guest(client.ip()), listener.guest_port);
        Ok(Arrival::Here { guest, client, what: socket })
    }

    /// The next datagram of the UDP port `index`: how many of [`datagram`](Self::datagram)'s bytes it has.
    pub(crate) fn receive(&mut self, engine: &mut Engine, index: usize, now: Instant) -> Arrival<usize> {
        self.datagram.resize(MAX_DATAGRAM, 0);
        let Some(listener) = self.ports.get(index) else { return Arrival::Nothing };
        let received = match pktinfo::receive(&listener.socket, &mut self.datagram) {
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Arrival::Refused,
            Err(_) => return Arrival::Nothing,
        };
        let guest_port = listener.guest_port;
        let from = received.from.and_then(|from| {
            let ends = self.client(engine, (index, from), guest_port, now)?;
            self.clients.get_mut(&ends)?.local = received.to;
            Some(ends)
        });
        match from {
            Some((guest, client)) => Arrival::Here { guest, client, what: received.bytes },
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
    ) -> Option<Ends> {
        if let Some(ends) = self.by_address.get(&(listener, address)) {
            self.clients.get_mut(ends)?.until = now + LIFETIME;
            return Some(*ends);
        }
        let seen = engine.inbound(Protocol::Udp, address, guest_port)?;
        if self.clients.len() >= MAX_CLIENTS {
            self.forget_old(now);
        }
        let ends = (SocketAddr::new(engine.guest(seen.ip()), guest_port), seen);
        match self.clients.get(&ends) {
            // Two clients that the guest cannot tell apart: the second one is refused.
            Some(other) if other.until > now => return None,
            Some(other) => drop(self.by_address.remove(&(other.listener, other.address))),
            None if self.clients.len() >= MAX_CLIENTS => return None,
            None => {}
        }
        self.clients.insert(ends, Client { listener, address, local: None, until: now + LIFETIME });
        self.by_address.insert((listener, address), ends);
        Some(ends)
    }

    /// Forgets clients whose time is over. All of them are looked at only when one may be.
    fn forget_old(&mut self, now: Instant) {
        if self.full_until.is_some_and(|until| until > now) {
            return;
        }
        let by_address = &mut self.by_address;
        self.clients.retain(|_, client| {
            let stays = client.until > now;
            if !stays {
                by_address.remove(&(client.listener, client.address));
            }
            stays
        });
        self.full_until = self.clients.values().map(|client| client.until).min();
    }
}

/// Whether an error of `accept` is that of the connection it took (accept(2)), not of the port or this process.
fn is_of_a_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::INTR
            | Errno::CONNABORTED
            | Errno::PROTO
            | Errno::PERM
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
    )
}

/// Where an answer goes, and the address of this host that it comes from.
pub(crate) struct Answer {
    listener: Arc<Listener>,
    to: SocketAddr,
    from: Option<Local>,
}

impl Answer {
    pub(crate) fn send(self, payload: &[u8]) {
        // Lost, as datagrams are.
        let _ = pktinfo::send(&self.listener.socket, payload, self.to, self.from);
    }
}
