//! Datagrams: the guest's into flows' sockets, and what comes back.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Instant;

use monocore_spec::Protocol;
use monocore_virtio::{Poller, ServiceError};
use monocore_vsock::{Channel, Channels, Payload, Received};
use rustix::io::Errno;

use super::{DnsClient, Frame, Op, Tsi};
use crate::flows::NoFlow;
use crate::inbound::{Arrival, TURN};
use crate::slab::Id;

impl Tsi {
    /// Sends a datagram of the guest to `remote`.
    pub(super) fn send(
        &mut self,
        channel: Channel,
        remote: SocketAddr,
        payload: &Payload<'_, '_>,
        channels: &mut Channels<'_, '_>,
        poller: &Poller,
    ) -> Result<(), ServiceError> {
        let Some(socket) = self.sockets.get(&channel) else { return Ok(()) };
        let now = Instant::now();
        if self.is_name_server(remote) {
            let from = DnsClient { channel, serial: socket.serial, server: remote };
            self.dns.datagram(&mut self.engine, poller, from, payload.to_vec(), now);
            return Ok(());
        }
        let guest = SocketAddr::new(self.engine.guest(remote.ip()), socket.local.port());
        if let Some(answer) = self.inbound.answer((guest, remote), now) {
            answer.send(&payload.to_vec());
            return Ok(());
        }
        let ends = (channel, socket.local.port(), remote);
        let errno = match self.flows.between(&mut self.engine, poller, ends, now)? {
            Ok(flow) => match payload.send(&flow.socket) {
                Ok(()) => return Ok(()),
                Err(error) => error_for_guest(&error),
            },
            Err(NoFlow::Denied) => Some(Errno::ACCESS),
            Err(NoFlow::Unreachable(errno)) => Some(errno),
            Err(NoFlow::Exhausted) => None,
        };
        self.tell_error(channel, remote, errno, channels)
    }

    /// A flow's socket has something.
    pub(super) fn flow_ready(
        &mut self,
        bits: u64,
        channels: &mut Channels<'_, '_>,
        poller: &Poller,
        now: Instant,
    ) -> Result<(), ServiceError> {
        let Some(id) = self.flows.by_bits(bits) else { return Ok(()) };
        if self.receive(id, channels, now)? { Ok(()) } else { self.flows.pause(poller, id) }
    }

    /// Flows that waited for room, and flows that are over.
    pub(super) fn turn_flows(
        &mut self,
        channels: &mut Channels<'_, '_>,
        poller: &Poller,
        now: Instant,
    ) -> Result<(), ServiceError> {
        for id in self.flows.take_paused() {
            if self.receive(id, channels, now)? {
                self.flows.resume(poller, id)?;
            } else {
                self.flows.pause(poller, id)?;
            }
        }
        self.flows.turn(&mut self.engine, poller, now);
        Ok(())
    }

    /// Gives the guest what has arrived, and says whether it had room for it.
    fn receive(
        &mut self,
        id: Id,
        channels: &mut Channels<'_, '_>,
        now: Instant,
    ) -> Result<bool, ServiceError> {
        let turn = self.flows.get(id).map_or(0, |flow| flow.turn);
        for _ in 0..turn {
            let Some(flow) = self.flows.get(id) else { return Ok(true) };
            let (channel, remote) = (flow.owner, flow.remote);
            let Some(socket) = self.sockets.get(&channel) else { return Ok(true) };
            if flow.is_over() {
                let refused = flow.is_unanswered().then_some(Errno::CONNREFUSED);
                self.flows.remove(&mut self.engine, id);
                self.tell_error(channel, remote, refused, channels)?;
                return Ok(true);
            }
            let frame = frame(Op::Datagram, socket.local, remote);
            match channels.receive(channel, &frame.to_bytes(), &flow.socket)? {
                Received::Message(_) => flow.answered(now),
                Received::Lost => {}
                Received::NoRoom => return Ok(false),
                Received::Nothing(error) if error.kind() == ErrorKind::NotConnected => return Ok(true),
                Received::Nothing(error) => match error_for_guest(&error) {
                    Some(errno) => self.tell_error(channel, remote, Some(errno), channels)?,
                    None => {
                        flow.end_turn(true);
                        return Ok(true);
                    }
                },
            }
        }
        if let Some(flow) = self.flows.get(id) {
            flow.end_turn(false);
        }
        Ok(true)
    }

    /// Tells the guest why a datagram to `remote` did not arrive. That is lost itself where the guest has no room.
    fn tell_error(
        &mut self,
        channel: Channel,
        remote: SocketAddr,
        errno: Option<Errno>,
        channels: &mut Channels<'_, '_>,
    ) -> Result<(), ServiceError> {
        let (Some(errno), Some(socket)) = (errno, self.sockets.get(&channel)) else { return Ok(()) };
        let errno = u16::try_from(errno.raw_os_error()).unwrap_or(0);
        let frame = Frame { errno, ..frame(Op::Error, socket.local, remote) };
        channels.send(channel, &frame.to_bytes(), &[]).map(drop)
    }

    /// The published UDP port `index` has something.
    pub(super) fn client_datagrams(
        &mut self,
        index: usize,
        channels: &mut Channels<'_, '_>,
        now: Instant,
    ) -> Result<(), ServiceError> {
        for _ in 0..TURN {
            match self.inbound.receive(&mut self.engine, index, now) {
                Arrival::Here { guest, client, what } => {
                    // Lost where nobody is there to read it, or has room.
                    let channel = self.socket_at(Protocol::Udp, guest).filter(|_| !channels.is_full());
                    if let Some(channel) = channel {
                        let frame = frame(Op::Datagram, guest, client);
                        channels.send(channel, &frame.to_bytes(), self.inbound.datagram(what))?;
                    }
                }
                Arrival::Refused => {}
                Arrival::Nothing => break,
            }
        }
        Ok(())
    }

    /// Answers to questions for names.
    pub(super) fn send_answers(&mut self, channels: &mut Channels<'_, '_>) -> Result<(), ServiceError> {
        for reply in std::mem::take(&mut self.dns.replies) {
            let DnsClient { channel, serial, server } = reply.to;
            if let Some(socket) = self.sockets.get(&channel).filter(|socket| socket.serial == serial) {
                let frame = frame(Op::Datagram, socket.local, server);
                channels.send(channel, &frame.to_bytes(), &reply.bytes)?;
            }
        }
        Ok(())
    }
}

/// A frame between `local` and `remote`, in the family of `remote`.
pub(super) fn frame(op: Op, local: SocketAddr, remote: SocketAddr) -> Frame {
    let local = match (local.ip(), remote.is_ipv4()) {
        (address, v4) if address.is_ipv4() == v4 => local,
        (_, true) => SocketAddr::from(([0; 4], local.port())),
        (_, false) => SocketAddr::from(([0; 16], local.port())),
    };
    Frame { op, errno: 0, id: 0, local, remote }
}

/// What a socket's error means for the guest; nothing where the datagram is merely lost.
fn error_for_guest(error: &Error) -> Option<Errno> {
    match Errno::from_io_error(error)? {
        Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::NOMEM => None,
        errno => Some(errno),
    }
}
