//! Connections into the guest: announced on the channel of the socket that listens, and taken by a stream of their own.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::Instant;

use monocore_spec::Protocol;
use monocore_virtio::ServiceError;
use monocore_vsock::{Channel, Channels, Dialed, Fate, Sent};
use rustix::io::Errno;

use super::datagrams::frame;
use super::{Frame, Op, Tsi, connected};
use crate::engine::Engine;
use crate::inbound::{Arrival, TURN};
use crate::peers::{PeerCall, PeerSocket};
use crate::sockets::{do_not_delay, reset_on_close};

/// No guest's socket has more connections waiting, whatever its backlog.
const MAX_BACKLOG: u32 = 128;

/// Members' connections that wait for room in a guest's backlogs, all together.
const MAX_HELD: usize = 4096;

/// How many connections may wait for a guest that says `asked`.
pub(super) fn backlog(asked: u32) -> usize {
    asked.clamp(1, MAX_BACKLOG) as usize
}

/// A connection that the guest has not taken.
#[derive(Debug)]
struct Connection {
    channel: Channel,
    // Dropped before the socket, whose end has others look at it.
    fate: Option<Fate>,
    socket: OwnedFd,
    announcement: Frame,
}

/// Connections that wait, and ports that nobody is let in by.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    connections: BTreeMap<u32, Connection>,
    /// Those that the guest has not heard of.
    unannounced: VecDeque<u32>,
    /// Published ports, by number, whose guest has enough of them waiting.
    closed_ports: Vec<usize>,
    /// Members' connections that the guest has no room for.
    pub(super) held: Vec<PeerCall>,
    next_id: u32,
}

impl Waiting {
    /// Every published port is watched.
    pub(super) fn begin(&mut self) {
        self.closed_ports.clear();
    }

    /// Resets the connections that wait for `channel`.
    pub(super) fn drop_all_of(&mut self, engine: &mut Engine, channel: Channel) {
        self.connections.retain(|_, connection| {
            if connection.channel == channel {
                reset_on_close(&connection.socket);
                engine.closed();
            }
            connection.channel != channel
        });
    }

    fn insert(&mut self, channel: Channel, (socket, fate): (OwnedFd, Option<Fate>), mut announcement: Frame) {
        // There are far fewer of them than numbers.
        while self.connections.contains_key(&self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        announcement.id = self.next_id;
        self.unannounced.push_back(self.next_id);
        self.connections.insert(self.next_id, Connection { channel, socket, fate, announcement });
        self.next_id = self.next_id.wrapping_add(1);
    }
}

impl Tsi {
    /// The guest takes the connection that was announced as `id`.
    pub(super) fn accept(&mut self, id: u32) -> Result<Dialed, Errno> {
        let Connection { channel, socket, fate, announcement } =
            self.waiting.connections.remove(&id).ok_or(Errno::CONNABORTED)?;
        if let Some(listener) = self.sockets.get_mut(&channel) {
            listener.waiting = listener.waiting.saturating_sub(1);
        }
        self.resume_port(Protocol::Tcp, announcement.local.port());
        Ok(Dialed { fate, ..connected(socket) })
    }

    /// A published port has something.
    pub(super) fn port_ready(
        &mut self,
        bits: u64,
        channels: &mut Channels<'_, '_>,
        now: Instant,
    ) -> Result<(), ServiceError> {
        match self.inbound.port(bits) {
            Some((index, Protocol::Tcp, guest_port)) => {
                self.clients(index, guest_port, now)?;
                self.announce(channels)
            }
            Some((index, Protocol::Udp, _)) => self.client_datagrams(index, channels, now),
            _ => Ok(()),
        }
    }

    /// Lets clients in by the published port `index`, as long as somebody in the guest has room for them. Where nobody listens
    /// they are reset, as a closed port does.
    fn clients(&mut self, index: usize, guest_port: u16, now: Instant) -> Result<(), ServiceError> {
        for _ in 0..TURN {
            let listening = self.bound.get(&(Protocol::Tcp, guest_port));
            if listening.is_some_and(|all| !all.iter().any(|channel| self.has_room(*channel))) {
                self.waiting.closed_ports.push(index);
                return self.inbound.watch(index, false);
            }
            let (guest, client, socket) = match self.inbound.accept(&mut self.engine, index, now)? {
                Arrival::Here { guest, client, what } => (guest, client, what),
                Arrival::Refused => continue,
                Arrival::Nothing => break,
            };
            let channel = self.socket_at(Protocol::Tcp, guest).filter(|channel| self.has_room(*channel));
            let Some((channel, listener)) =
                channel.and_then(|channel| Some((channel, self.sockets.get_mut(&channel)?)))
            else {
                reset_on_close(&socket);
                continue;
            };
            listener.waiting += 1;
            do_not_delay(&socket);
            self.engine.opened();
            self.waiting.insert(channel, (socket, None), frame(Op::Incoming, guest, client));
        }
        Ok(())
    }

    /// Lets a member's connection in, or resets it where nobody listens. One that the guest has no room for waits.
    pub(super) fn let_in(&mut self, call: PeerCall) {
        let Some(channel) = self.socket_at(Protocol::Tcp, call.guest) else { return };
        if !self.has_room(channel) {
            if self.waiting.held.len() < MAX_HELD {
                self.waiting.held.push(call);
            }
            return;
        }
        let Some(listener) = self.sockets.get_mut(&channel).filter(|_| PeerSocket::accept(&call.end.socket))
        else {
            return;
        };
        listener.waiting += 1;
        self.engine.opened();
        let PeerCall { guest, peer, end, .. } = call;
        self.waiting.insert(channel, (end.socket, end.fate), frame(Op::Incoming, guest, peer));
    }

    fn has_room(&self, channel: Channel) -> bool {
        self.sockets.get(&channel).is_some_and(|socket| socket.waiting < socket.backlog)
    }

    /// Tells the guest of connections that wait, as far as it has room for the news.
    pub(super) fn announce(&mut self, channels: &mut Channels<'_, '_>) -> Result<(), ServiceError> {
        while let Some(id) = self.waiting.unannounced.front() {
            if let Some(Connection { channel, announcement, .. }) = self.waiting.connections.get(id)
                && channels.send(*channel, &announcement.to_bytes(), &[])? == Sent::NoRoom
            {
                break;
            }
            self.waiting.unannounced.pop_front();
        }
        Ok(())
    }

    /// Watches published ports that lead to `guest_port` again: somebody there has room, or nobody is there any more.
    pub(super) fn resume_port(&mut self, protocol: Protocol, guest_port: u16) {
        if protocol != Protocol::Tcp {
            return;
        }
        for call in std::mem::take(&mut self.waiting.held) {
            if call.guest.port() == guest_port { self.let_in(call) } else { self.waiting.held.push(call) }
        }
        let inbound = &self.inbound;
        self.waiting.closed_ports.retain(|&index| {
            let here = inbound.port(index as u64).is_some_and(|(_, _, port)| port == guest_port);
            if here && let Err(error) = inbound.watch(index, true) {
                tracing::warn!(device = "tsi", %error, "a published port is shut");
            }
            !here
        });
    }
}
