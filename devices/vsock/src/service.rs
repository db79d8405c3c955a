//! The worker's loop: queues, backend and sockets, each when it is ready.

use std::time::Instant;

use monocore_virtio::{Chain, Interest, Poller, Ready, Ring, Service, ServiceError};

use crate::backend::{Accepted, Backend};
use crate::connection::{Flow, Phase};
use crate::device::Metrics;
use crate::inbound::{Inbound, Pumped};
use crate::outbound::Outbound;
use crate::packet::{SHUT_BOTH, SHUT_SEND};
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
    pub(crate) inbound: Inbound<'m>,
    pub(crate) tx: Ring<'m>,
    /// There is none where the front end of a vhost-user device keeps it.
    pub(crate) events: Option<Ring<'m>>,
    pub(crate) packet: Chain<'m>,
    pub(crate) session: &'s mut Session,
    pub(crate) backend: &'s mut dyn Backend,
    pub(crate) metrics: &'s Metrics,
    /// The backend's descriptor is watched.
    pub(crate) listening: bool,
    /// The guest's packets wait until it has taken ours.
    pub(crate) tx_held: bool,
}

impl VsockService<'_, '_> {
    fn outbound(&mut self) -> Outbound<'_> {
        Outbound {
            session: self.session,
            backend: self.backend,
            metrics: self.metrics,
            guest_cid: self.inbound.guest_cid,
        }
    }

    fn serve_tx(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        for _ in 0..TURN_PACKETS {
            if self.session.control.len() >= MAX_CONTROL && !self.flush_control()? {
                self.tx_held = true;
                return Ok(());
            }
            let mut packet = std::mem::take(&mut self.packet);
            if self.tx.pop(&mut packet)? {
                let changed = self.outbound().packet(&mut packet.readable)?;
                self.tx.push(packet.head(), 0)?;
                self.packet = packet;
                if let Some(id) = changed {
                    self.changed(poller, id)?;
                }
            } else {
                self.packet = packet;
                if !self.tx.rearm()? {
                    return Ok(());
                }
            }
        }
        self.tx.again()
    }

    /// Goes on with a connection after a packet of the guest.
    fn changed(&mut self, poller: &Poller, id: Id) -> Result<(), ServiceError> {
        let Some(connection) = self.session.get(id) else { return Ok(()) };
        if connection.flow == Flow::NoCredit && connection.credit.free_bytes() > 0 {
            return self.resume(poller, id);
        }
        self.session.watch(id, poller, self.metrics);
        Ok(())
    }

    fn flush_control(&mut self) -> Result<bool, ServiceError> {
        self.inbound.flush_control(self.session, self.metrics)
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
        if std::mem::take(&mut self.tx_held) { self.serve_tx(poller) } else { Ok(()) }
    }

    /// Reads a connection whose obstacle is gone, without a detour by the poller.
    fn resume(&mut self, poller: &Poller, id: Id) -> Result<(), ServiceError> {
        if let Some(connection) = self.session.get(id) {
            connection.flow = Flow::Free;
        }
        self.read(poller, id)
    }

    /// Reads a connection's socket, as often as is fair.
    fn read(&mut self, poller: &Poller, id: Id) -> Result<(), ServiceError> {
        for _ in 0..TURN_READS {
            if !self.session.get(id).is_some_and(|connection| connection.may_receive()) {
                break;
            }
            // What was told to the guest before comes first.
            let pumped = if self.flush_control()? {
                self.inbound.pump(self.session, id, self.metrics)?
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
                Pumped::End => {
                    connection.flow = Flow::Ended;
                    let flags = if connection.hung_up { SHUT_BOTH } else { SHUT_SEND };
                    self.outbound().shut_by_host(id, flags);
                }
                Pumped::Broken(error) => {
                    tracing::debug!(device = "vsock", %error, "a connection's socket is broken");
                    self.session.reset(id, self.metrics);
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
        connection.hung_up |= ready.hang_up;
        if ready.writable && connection.has_backlog() {
            let delivery = connection.drain();
            self.outbound().delivered(id, delivery);
        }
        let Some(connection) = self.session.get(id) else { return Ok(()) };
        if connection.flow == Flow::Ended && connection.hung_up && connection.phase == Phase::Open {
            self.outbound().shut_by_host(id, SHUT_BOTH);
        } else if ready.readable && connection.flow == Flow::Free {
            return self.read(poller, id);
        }
        self.session.watch(id, poller, self.metrics);
        Ok(())
    }

    /// Takes connections that the host asks for.
    fn serve_incoming(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        for _ in 0..TURN_REQUESTS {
            let request = match self.backend.accept() {
                Accepted::Request(request) => request,
                Accepted::Nothing => break,
                Accepted::Closed => {
                    if std::mem::take(&mut self.listening) {
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
        let Some(events) = &mut self.events else { return Ok(()) };
        if !self.session.announce_loss {
            return Ok(());
        }
        while !events.pop(&mut self.packet)? {
            if !events.rearm()? {
                return Ok(());
            }
        }
        let written = self.packet.writable.copy_from(0, &EVENT_TRANSPORT_RESET.to_le_bytes());
        events.push(self.packet.head(), u32::try_from(written).unwrap_or(0))?;
        self.session.announce_loss = false;
        Ok(events.notify()?)
    }

    fn finish_turn(&mut self) -> Result<(), ServiceError> {
        self.flush_control()?;
        self.inbound.ring.notify()?;
        Ok(self.tx.notify()?)
    }
}

impl Service for VsockService<'_, '_> {
    fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        let watching = ServiceError::host;
        poller.add_kick(self.inbound.ring.kick(), KICK_RX).map_err(watching("watching a queue"))?;
        poller.add_kick(self.tx.kick(), KICK_TX).map_err(watching("watching a queue"))?;
        if let Some(events) = &self.events {
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
        self.listening = true;
        self.serve_tx(poller)?;
        self.serve_rx(poller)?;
        self.finish_turn()
    }

    fn turn(&mut self, poller: &Poller, ready: &[Ready]) -> Result<(), ServiceError> {
        for ready in ready {
            match ready.token {
                KICK_RX => self.serve_rx(poller)?,
                KICK_TX => self.serve_tx(poller)?,
                KICK_EVENT => self.announce_loss()?,
                INCOMING => self.serve_incoming(poller)?,
                token => {
                    if let Some(id) = Session::by_token(token) {
                        self.serve_connection(poller, id, *ready)?;
                    }
                }
            }
        }
        let now = Instant::now();
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            while let Some(id) = self.session.overdue(now) {
                self.session.reset(id, self.metrics);
            }
            self.serve_incoming(poller)?;
        }
        self.finish_turn()
    }

    fn deadline(&self) -> Option<Instant> {
        [self.session.next_deadline(), self.backend.deadline()].into_iter().flatten().min()
    }
}
