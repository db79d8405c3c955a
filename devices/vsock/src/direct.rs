//! Bytes of the front's streams that go straight into memory of a guest's program: a READ brings the chain for them, and is
//! answered with how many there are.
//!
//! A chain waits where its queue has it: only the number of its first descriptor is kept, one for each connection, and the chain
//! is walked again, and checked, when there are bytes. While one waits nothing goes to the guest in packets. After it, what comes
//! is held for a moment, since a program that reads much at a time comes again soon.

use std::time::{Duration, Instant};

use monocore_virtio::{Buffers, Chain, Poller, ServiceError};
use rustix::io::Errno;

use crate::connection::{Flow, Key, Phase};
use crate::device::Metrics;
use crate::packet::{Op, SHUT_BOTH, SHUT_SEND};
use crate::service::VsockService;
use crate::session::{Id, Session};

/// How long bytes wait for the next READ before they go in packets.
const HOLD_TIME: Duration = Duration::from_millis(1);

impl<'m> VsockService<'m, '_> {
    /// Takes a READ of connection `id`; `came` is how many bytes the guest has got in packets.
    pub(crate) fn begin_read(
        &mut self,
        poller: &Poller,
        id: Id,
        came: u32,
        chain: &Chain<'m>,
    ) -> Result<(), ServiceError> {
        let Some(connection) = self.session.get(id).filter(|connection| connection.phase == Phase::Open)
        else {
            // It ended meanwhile, as the guest will hear.
            return Ok(self.run.tx.push(chain.head(), 0)?);
        };
        if connection.reading.is_some() || chain.writable.is_empty() {
            self.run.tx.push(chain.head(), 0)?;
            self.session.reset(id, Some(Errno::PROTO), self.metrics);
            return Ok(());
        }
        connection.reading = Some(chain.head());
        // Bytes that are under way come first, and after the end there are none.
        if came != connection.credit.sent() || connection.flow == Flow::Ended {
            self.session.end_read(id, 0);
            return self.changed(poller, id);
        }
        let flow = std::mem::replace(&mut connection.flow, Flow::Free);
        self.session.leave_queues(id, flow);
        if self.session.holds_back(id) {
            self.session.watch(id, poller, self.metrics);
            return Ok(());
        }
        if let Some(bytes) = self.fill(poller, id, &chain.writable) {
            // The guest sees them in the ring, and most likely looks there by now.
            self.session.take_read(id);
            self.run.tx.push(chain.head(), bytes)?;
        }
        Ok(())
    }

    /// Reads a connection's socket into the chain that begins at `head`.
    pub(crate) fn fill_waiting(&mut self, poller: &Poller, id: Id, head: u16) -> Result<(), ServiceError> {
        let mut chain = std::mem::take(&mut self.run.packet);
        self.run.tx.walk(head, &mut chain)?;
        if chain.writable.is_empty() {
            // It had room when it came: without this, nothing read would look like the stream's end.
            self.session.reset(id, Some(Errno::PROTO), self.metrics);
        } else if let Some(bytes) = self.fill(poller, id, &chain.writable) {
            self.session.end_read(id, bytes);
        }
        self.run.packet = chain;
        Ok(())
    }

    /// Reads a connection's socket into `room`, where a chain waits for that, and returns how many bytes there are, if any.
    fn fill(&mut self, poller: &Poller, id: Id, room: &Buffers<'m>) -> Option<u32> {
        let connection = self.session.get(id)?;
        let stream = connection.host.stream()?;
        let mut filled = None;
        match room.receive(stream) {
            Ok(0) if connection.is_reset() => {
                self.session.reset(id, Some(Errno::CONNRESET), self.metrics);
            }
            Ok(0) => {
                connection.flow = Flow::Ended;
                let flags = if connection.hung_up { SHUT_BOTH } else { SHUT_SEND };
                self.outbound(poller).shut_by_host(id, flags);
            }
            Ok(count) => {
                filled = u32::try_from(count).ok();
                Metrics::add(&self.metrics.bytes_to_guest, count as u64);
                self.session.throttle.received(count);
                self.session.hold(id);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => self.session.reset(id, Errno::from_io_error(&error), self.metrics),
        }
        self.session.watch(id, poller, self.metrics);
        filled
    }

    /// Lets bytes go in packets that were held until `now`.
    pub(crate) fn end_holds(&mut self, poller: &Poller, now: Instant) -> Result<(), ServiceError> {
        while let Some((_, id)) = self.session.held.pop_front_if(|(until, _)| *until <= now) {
            self.resume_held(poller, id)?;
        }
        Ok(())
    }

    pub(crate) fn resume_held(&mut self, poller: &Poller, id: Id) -> Result<(), ServiceError> {
        if self.session.get(id).is_some_and(|connection| connection.flow == Flow::Held) {
            self.session.leave_queues(id, Flow::Held);
            return self.resume(poller, id);
        }
        Ok(())
    }

    /// Gives back the chains that nothing waits for.
    pub(crate) fn return_spent(&mut self) -> Result<(), ServiceError> {
        for head in self.session.spent.drain(..) {
            self.run.tx.push(head, 0)?;
        }
        Ok(())
    }

    /// Gives back all chains: the queue's state is about to be taken.
    pub(crate) fn settle(&mut self) -> Result<(), ServiceError> {
        for id in self.session.ids().collect::<Vec<_>>() {
            self.session.end_read(id, 0);
        }
        self.return_spent()
    }
}

impl Session {
    /// A connection waits in the queue of its flow no more.
    pub(crate) fn leave_queues(&mut self, id: Id, flow: Flow) {
        match flow {
            Flow::NoBuffers => self.starved.retain(|waiting| *waiting != id),
            Flow::Held => self.held.retain(|(_, held)| *held != id),
            Flow::Limited => self.leave_limits(id, (flow, false)),
            Flow::Free | Flow::NoCredit | Flow::Ended => {}
        }
    }

    /// Keeps what comes for the next READ, for a moment.
    pub(crate) fn hold(&mut self, id: Id) {
        let Some(connection) = self.get(id) else { return };
        let flow = connection.flow;
        if flow == Flow::Ended || flow == Flow::Held {
            return;
        }
        connection.flow = Flow::Held;
        self.leave_queues(id, flow);
        self.held.push_back((Instant::now() + HOLD_TIME, id));
    }

    /// Gives the chain that waits for bytes back, if there is one, and tells the guest how many there are in it.
    pub(crate) fn end_read(&mut self, id: Id, bytes: u32) {
        if let Some((key, head)) = self.take_read(id) {
            self.spent.push(head);
            self.tell(key, Op::Read, bytes);
        }
    }

    /// The chain that waits for bytes, which waits no more.
    fn take_read(&mut self, id: Id) -> Option<(Key, u16)> {
        let connection = self.get(id)?;
        Some((connection.key, connection.reading.take()?))
    }
}
