//! Through published ports into the guest.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use monocore_spec::Protocol;
use monocore_virtio::{Buffers, Interest, Poller, ServiceError};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, acceptfrom_with, recvfrom, sendto};

use super::io::Io;
use super::tcp::Tcp;
use super::{TOKEN_LISTENER, raw_token};
use crate::publish::Listener;

/// Connections or datagrams of one port before others come.
const TURN: usize = 64;
/// How long a client of a UDP port is remembered.
const LIFETIME: Duration = Duration::from_secs(180);
/// Clients of UDP ports at a time.
const MAX_CLIENTS: usize = 4096;
/// The longest datagram.
const MAX_DATAGRAM: usize = 65_507;

/// A client of a UDP port.
#[derive(Debug)]
struct Client {
    listener: usize,
    address: SocketAddr,
    until: Instant,
}

/// All published ports, and the clients of those that know no connections.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    listeners: Vec<Listener>,
    /// By the guest's address and the client's, as the guest knows it.
    clients: HashMap<(SocketAddr, SocketAddr), Client>,
}

impl Inbound {
    pub(crate) fn new(listeners: Vec<Listener>) -> Self {
        Self { listeners, clients: HashMap::new() }
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

    /// A published port has something.
    pub(crate) fn ready(
        &mut self,
        io: &mut Io<'_, '_>,
        index: u64,
        tcp: &mut Tcp,
    ) -> Result<(), ServiceError> {
        let Ok(index) = usize::try_from(index) else { return Ok(()) };
        match self.listeners.get(index).map(|listener| listener.protocol) {
            Some(Protocol::Tcp) => self.accept(io, index, tcp),
            Some(Protocol::Udp) => self.receive(io, index),
            _ => Ok(()),
        }
    }

    /// Answers of the guest: says whether `payload` was one to a client of a UDP port.
    pub(crate) fn answer(
        &mut self,
        (guest, remote): (SocketAddr, SocketAddr),
        payload: &Buffers<'_>,
        now: Instant,
    ) -> bool {
        let Some(client) = self.clients.get_mut(&(guest, remote)).filter(|client| client.until > now) else {
            return false;
        };
        client.until = now + LIFETIME;
        let Some(listener) = self.listeners.get(client.listener) else { return false };
        let mut bytes = vec![0; payload.len_bytes().min(MAX_DATAGRAM)];
        payload.copy_to(0, &mut bytes);
        // Lost, as datagrams are.
        let _ = sendto(&listener.socket, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &client.address);
        true
    }

    fn accept(&mut self, io: &mut Io<'_, '_>, index: usize, tcp: &mut Tcp) -> Result<(), ServiceError> {
        for _ in 0..TURN {
            let Some(listener) = self.listeners.get(index) else { return Ok(()) };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let (socket, client) = match acceptfrom_with(&listener.socket, flags) {
                Ok((socket, client)) => (socket, client.and_then(|client| SocketAddr::try_from(client).ok())),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(_) => return Ok(()),
            };
            let Some(client) = client else { continue };
            let guest_port = listener.guest_port;
            if let Some(seen) = io.engine.inbound(Protocol::Tcp, client, guest_port) {
                let guest = SocketAddr::new(io.link.guest(seen.ip()), guest_port);
                tcp.accepted(io, guest, seen, socket)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, io: &mut Io<'_, '_>, index: usize) -> Result<(), ServiceError> {
        let mut bytes = vec![0; MAX_DATAGRAM];
        for _ in 0..TURN {
            let Some(listener) = self.listeners.get(index) else { return Ok(()) };
            let received = recvfrom(&listener.socket, &mut bytes[..], RecvFlags::DONTWAIT);
            let (count, client) = match received {
                Ok((count, _, client)) => {
                    (count, client.and_then(|client| SocketAddr::try_from(client).ok()))
                }
                Err(Errno::INTR) => continue,
                Err(_) => return Ok(()),
            };
            let Some(client) = client else { continue };
            let guest_port = listener.guest_port;
            if let Some((guest, seen)) = self.client(io, index, client, guest_port) {
                io.link.datagram(io.receiver, seen, guest, &bytes[..count])?;
            }
        }
        Ok(())
    }

    /// The guest's and the client's address as the guest knows them, if the client may reach it.
    fn client(
        &mut self,
        io: &mut Io<'_, '_>,
        listener: usize,
        address: SocketAddr,
        guest_port: u16,
    ) -> Option<(SocketAddr, SocketAddr)> {
        let known = self
            .clients
            .iter_mut()
            .find(|(_, client)| client.listener == listener && client.address == address);
        if let Some((key, client)) = known {
            client.until = io.now + LIFETIME;
            return Some(*key);
        }
        let seen = io.engine.inbound(Protocol::Udp, address, guest_port)?;
        if self.clients.len() >= MAX_CLIENTS {
            self.clients.retain(|_, client| client.until > io.now);
        }
        if self.clients.len() >= MAX_CLIENTS {
            return None;
        }
        let key = (SocketAddr::new(io.link.guest(seen.ip()), guest_port), seen);
        self.clients.insert(key, Client { listener, address, until: io.now + LIFETIME });
        Some(key)
    }
}
