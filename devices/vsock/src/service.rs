//! The worker's loop: queues, backend and sockets, each when it is ready.

use std::time::Instant;

use monocore_virtio::{Chain, Interest, Poller, Ready, Service, ServiceError};
use rustix::io::Errno;

use crate::backend::{Accepted, Backend};
use crate::connection::{Flow, Phase};
use crate::device::{FrontPort, Metrics};
use crate::front::{Channel, Channels, FIRST_FRONT_TOKEN};
use crate::inbound::Pumped;
use crate::outbound::{Change, Outbound};
use crate::packet::{Op, SHUT_BOTH, SHUT_SEND};
use crate::run::Run;
use crate::session::{Id, Session};

const KICK_RX: u64 = 0;
const KICK_TX: u64 = 1;
const KICK_EVENT: u64 = 2;
const INCOMING: u64 = 3;

/// Packets taken from the guest before others come.
const TURN_PACKETS: usize = 256;
/// Reads of one connection before others come.
const TURN_READS: usize = 4;
/// Connections taken from the backend before others come.
const TURN_REQUESTS: usize = 64;
/// Packets without payload that may wait for guest buffers; beyond, the guest is not listened to (a driver
/// that gives no buffers cannot make the worker keep answers without end, §5.10.6.1).
const MAX_CONTROL: usize = 1024;
/// VIRTIO_VSOCK_EVENT_TRANSPORT_RESET (§5.10.6.7).
const EVENT_TRANSPORT_RESET: u32 = 0;

/// A device at work.
pub(crate) struct VsockService<'m, 's> {
    pub(crate) run: Run<'m>,
    pub(crate) session: &'s mut Session,
    pub(crate) backend: &'s mut dyn Backend,
    pub(crate) front: Option<&'s mut FrontPort>,
    pub(crate) metrics: &'s Metrics,
}

impl<'m> VsockService<'m, '_> {
    pub(crate) fn outbound<'a>(&'a mut self, poller: &'a Poller) -> Outbound<'a> {
        Outbound {
            session: self.session,
            backend: self.backend,
            front: self.front.as_deref_mut(),
            channels: self.run.channels,
            poller,
            metrics: self.metrics,
            guest_cid: self.run.inbound.guest_cid,
        }
    }

    /// The front, and what it works on.
    fn front<'a>(&'a mut self) -> Option<(&'a mut FrontPort, Channels<'a, 'm>)> {
        let channels =
            Channels { session: self.session, inbound: &mut self.run.inbound, metrics: self.metrics };
        Some((self.front.as_deref_mut()?, channels))
    }

    fn serve_tx(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        let mut packet = std::mem::take(&mut self.run.packet);
        for _ in 0..TURN_PACKETS {
            if !self.take_next(poller, &mut packet)? {
                self.run.packet = packet;
                return Ok(());
            }
        }
        self.run.packet = packet;
        self.run.tx.again()
    }

    /// Takes the guest's next packet, with `packet` for its chain. Returns false if there is none, or none is listened to: the
    /// guest kicks when that changes.
    fn take_next(&mut self, poller: &Poller, packet: &mut Chain<'m>) -> Result<bool, ServiceError> {
        if self.session.control.len() >= MAX_CONTROL && !self.flush_control()? {
            self.run.tx_held = true;
            return Ok(false);
        }
        if !self.run.tx.pop(packet)? {
            return Ok(self.run.tx.rearm()?);
        }
        match self.outbound(poller).packet(&mut packet.readable)? {
            Change::Connection(id) => {
                self.run.tx.push(packet.head(), 0)?;
                self.changed(poller, id)?;
            }
            Change::Read(id, came) => self.begin_read(poller, id, came, packet)?,
            Change::Message(id, last) => {
                if let Some((front, mut channels)) = self.front() {
                    channels.take(front.front.as_mut(), id, &mut packet.readable, last, poller)?;
                }
                self.run.tx.push(packet.head(), 0)?;
            }
            Change::Nothing => self.run.tx.push(packet.head(), 0)?,
        }
        Ok(true)
    }

    /// Goes on with a connection after a packet of the guest.
    pub(crate) fn changed(&mut self, poller: &Poller, id: Id) -> Result<(), ServiceError> {
        let Some(connection) = self.session.get(id) else { return Ok(()) };
        if let Some(errno) = connection.broken {
            return self.break_off(id, errno);
        }
        if connection.flow == Flow::NoCredit && connection.credit.free_bytes() > 0 {
            return self.resume(poller, id);
        }
        self.session.watch(id, poller, self.metrics);
        Ok(())
    }

    /// Ends a connection whose socket takes no more, after what the guest has room for of what it still has.
    fn break_off(&mut self, id: Id, errno: Errno) -> Result<(), ServiceError> {
        self.session.end_read(id, 0);
        for _ in 0..TURN_READS {
            let pumped = if self.flush_control()? {
                self.run.inbound.pump(self.session, id, self.metrics)?
            } else {
                Pumped::NoBuffers
            };
            if !matches!(pumped, Pumped::More) {
                break;
            }
        }
        self.session.reset(id, Some(errno), self.metrics);
        Ok(())
    }

    fn flush_control(&mut self) -> Result<bool, ServiceError> {
        self.run.inbound.flush_control(self.session, self.metrics)
    }

    /// The guest has new receive buffers.
    fn serve_rx(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        if !self.flush_control()? {
            return Ok(());
        }
        for _ in 0..self.session.starved.len() {
            let Some(id) = self.session.starved.pop_front() else { break };
            if self.session.get(id).is_some_and(|connection| connection.flow == Flow::NoBuffers) {
                self.resume(poller, id)?;
                if self.session.starved.back() == Some(&id) {
                    // The buffers are used up; whoever waits next is first when there are more.
                    break;
                }
            }
        }
        if std::mem::take(&mut self.run.tx_held) { self.serve_tx(poller) } else { Ok(()) }
    }

    /// Reads a connection whose obstacle is gone, without a detour by the poller.
    pub(crate) fn resume(&mut self, poller: &Poller, id: Id) -> Result<(), ServiceError> {
        if let Some(connection) = self.session.get(id) {
            connection.flow = Flow::Free;
        }
        self.read(poller, id)
    }

    /// Reads a connection's socket, as often as is fair.
    fn read(&mut self, poller: &Poller, id: Id) -> Result<(), ServiceError> {
        for _ in 0..TURN_READS {
            if !self.session.get(id).is_some_and(|connection| connection.may_receive())
                || self.session.holds_back(id)
            {
                break;
            }
            if let Some(head) = self.session.get(id).and_then(|connection| connection.reading) {
                return self.fill_waiting(poller, id, head);
            }
            // What was told to the guest before comes first.
            let pumped = if self.flush_control()? {
                self.run.inbound.pump(self.session, id, self.metrics)?
            } else {
                Pumped::NoBuffers
            };
            let Some(connection) = self.session.get(id) else { break };
            match pumped {
                Pumped::More => continue,
                Pumped::Drained => connection.flow = Flow::Free,
                Pumped::NoCredit => connection.flow = Flow::NoCredit,
                Pumped::NoBuffers => {
                    connection.flow = Flow::NoBuffers;
                    self.session.starved.push_back(id);
                }
                Pumped::End if connection.is_reset() => {
                    self.session.reset(id, Some(Errno::CONNRESET), self.metrics);
                }
                Pumped::End => {
                    connection.flow = Flow::Ended;
                    let flags = if connection.hung_up { SHUT_BOTH } else { SHUT_SEND };
                    self.outbound(poller).shut_by_host(id, flags);
                }
                Pumped::Broken(error) => {
                    tracing::debug!(device = "vsock", %error, "a connection's socket is broken");
                    self.session.reset(id, Errno::from_io_error(&error), self.metrics);
                }
            }
            break;
        }
        self.session.watch(id, poller, self.metrics);
        Ok(())
    }

    fn serve_connection(&mut self, poller: &Poller, id: Id, ready: Ready) -> Result<(), ServiceError> {
        let Some(connection) = self.session.get(id) else { return Ok(()) };
        // A report of what is not watched is of a connection before this one.
        if connection.watched.is_none() {
            return Ok(());
        }
        if connection.phase == Phase::Dialing {
            self.dialed(poller, id);
            return Ok(());
        }
        connection.hung_up |= ready.hang_up;
        if ready.writable && connection.has_backlog() {
            let delivery = self.session.drain(id);
            self.outbound(poller).delivered(id, delivery);
        }
        let Some(connection) = self.session.get(id) else { return Ok(()) };
        if let Some(errno) = connection.broken {
            return self.break_off(id, errno);
        }
        if connection.flow == Flow::Ended && connection.hung_up && connection.phase == Phase::Open {
            // When all is read, only this tells of a reset.
            match connection.error().filter(|_| connection.is_front_stream()) {
                Some(errno) => self.session.reset(id, Some(errno), self.metrics),
                None => self.outbound(poller).shut_by_host(id, SHUT_BOTH),
            }
        } else if ready.readable && connection.flow == Flow::Free {
            return self.read(poller, id);
        } else if connection.flow == Flow::Held && connection.hung_up {
            return self.resume_held(poller, id);
        }
        self.session.watch(id, poller, self.metrics);
        Ok(())
    }

    /// The front's socket is connected, or will not be.
    fn dialed(&mut self, poller: &Poller, id: Id) {
        let Some(connection) = self.session.get(id) else { return };
        match connection.dialed() {
            Some(Ok(())) => {}
            Some(Err(errno)) => {
                Metrics::add(&self.metrics.refused, 1);
                return self.session.reset(id, Some(errno), self.metrics);
            }
            None => return,
        }
        connection.phase = Phase::Open;
        let key = connection.key;
        self.session.tell(key, Op::Response, 0);
        Metrics::add(&self.metrics.opened, 1);
        self.session.watch(id, poller, self.metrics);
    }

    /// Takes connections that the host asks for.
    fn serve_incoming(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        for _ in 0..TURN_REQUESTS {
            let request = match self.backend.accept() {
                Accepted::Request(request) => request,
                Accepted::Nothing => break,
                Accepted::Closed => {
                    if std::mem::take(&mut self.run.listening) {
                        let incoming = self.backend.incoming();
                        poller.remove(incoming).map_err(ServiceError::host("leaving the backend"))?;
                    }
                    break;
                }
            };
            if self.session.insert_asked(request.port, request.stream, request.greet).is_none() {
                tracing::debug!(device = "vsock", port = request.port, "too many connections");
                Metrics::add(&self.metrics.refused, 1);
            }
        }
        Ok(())
    }

    /// Tells a guest that woke up from a snapshot that its connections are gone.
    fn announce_loss(&mut self) -> Result<(), ServiceError> {
        let Some(events) = &mut self.run.events else { return Ok(()) };
        if !self.session.announce_loss {
            return Ok(());
        }
        while !events.pop(&mut self.run.packet)? {
            if !events.rearm()? {
                return Ok(());
            }
        }
        let written = self.run.packet.writable.copy_from(0, &EVENT_TRANSPORT_RESET.to_le_bytes());
        events.push(self.run.packet.head(), u32::try_from(written).unwrap_or(0))?;
        self.session.announce_loss = false;
        Ok(events.notify()?)
    }

    /// Tells the front what has ended, and lets it go on with what waited.
    fn turn_front(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        let Some((FrontPort { front, .. }, mut channels)) = self.front() else { return Ok(()) };
        channels.session.throttle.begin_turn();
        let ended = channels.session.take_ended();
        for _ in 0..ended.streams {
            front.disconnected();
        }
        for id in ended.channels {
            front.closed(Channel(id), poller);
            channels.session.free_channel(id);
        }
        front.turn(&mut channels, poller)
    }

    /// Gives the guest what there is for it.
    fn finish_turn(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        self.turn_front(poller)?;
        for socket in self.session.leaving.drain(..) {
            // One that was not watched is not there.
            let _ = poller.remove(&socket);
        }
        self.return_spent()?;
        self.flush_control()?;
        self.run.inbound.ring.notify()?;
        Ok(self.run.tx.notify()?)
    }
}

impl Service for VsockService<'_, '_> {
    fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        let watching = ServiceError::host;
        poller.add_kick(self.run.inbound.ring.kick(), KICK_RX).map_err(watching("watching a queue"))?;
        poller.add_kick(self.run.tx.kick(), KICK_TX).map_err(watching("watching a queue"))?;
        if let Some(events) = &self.run.events {
            poller.add_kick(events.kick(), KICK_EVENT).map_err(watching("watching a queue"))?;
        }
        self.announce_loss()?;
        for id in self.session.ids().collect::<Vec<_>>() {
            if let Some(connection) = self.session.get(id) {
                connection.watched = None;
            }
            self.session.watch(id, poller, self.metrics);
        }
        let incoming = self.backend.incoming();
        poller.add(incoming, INCOMING, Interest::Read).map_err(watching("watching the backend"))?;
        self.run.listening = true;
        if let Some(FrontPort { front, .. }) = self.front.as_deref_mut() {
            front.begin(poller)?;
        }
        self.serve_tx(poller)?;
        self.serve_rx(poller)?;
        self.finish_turn(poller)
    }

    fn turn(&mut self, poller: &Poller, ready: &[Ready]) -> Result<(), ServiceError> {
        for ready in ready {
            match ready.token {
                KICK_RX => self.serve_rx(poller)?,
                KICK_TX => self.serve_tx(poller)?,
                KICK_EVENT => self.announce_loss()?,
                INCOMING => self.serve_incoming(poller)?,
                token if token >= FIRST_FRONT_TOKEN => {
                    if let Some((FrontPort { front, .. }, mut channels)) = self.front() {
                        front.ready(*ready, &mut channels, poller)?;
                    }
                }
                token => {
                    if let Some(id) = Session::by_token(token) {
                        self.serve_connection(poller, id, *ready)?;
                    }
                }
            }
        }
        self.resume_limited(poller)?;
        let now = Instant::now();
        self.end_holds(poller, now)?;
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            while let Some(id) = self.session.overdue(now) {
                self.session.reset(id, None, self.metrics);
            }
            self.serve_incoming(poller)?;
        }
        self.finish_turn(poller)
    }

    fn deadline(&self) -> Option<Instant> {
        let front = self.front.as_ref().and_then(|front| front.front.deadline());
        let limited = self.session.throttle.deadline();
        let held = self.session.held.front().map(|(until, _)| *until);
        [self.session.next_deadline(), self.backend.deadline(), front, limited, held]
            .into_iter()
            .flatten()
            .min()
    }
}
