//! Messages: a frame with bytes behind it, to the guest in one go, from the guest in one packet or several.

use std::os::fd::AsFd;

use monocore_virtio::{Buffers, Poller, ServiceError};
use rustix::io::Errno;

use crate::connection::{Connection, Phase};
use crate::device::Metrics;
use crate::front::{
    Channel, Channels, FRAME_BYTES, Front, MAX_PAYLOAD_BYTES, Message, Payload, Received, Sent,
};
use crate::inbound::Inbound;
use crate::packet::{Op, SHUT_RECEIVE, TYPE_SEQPACKET};
use crate::session::{Control, Id, Session};

/// Bytes of the longest message.
const MAX_BYTES: usize = FRAME_BYTES + MAX_PAYLOAD_BYTES;

impl Channels<'_, '_> {
    /// Hands `front` what `payload`, a packet of channel `id`, completes; `last` says whether the message ends with it.
    pub(crate) fn take(
        &mut self,
        front: &mut dyn Front,
        id: Id,
        payload: &mut Buffers<'_>,
        last: bool,
        poller: &Poller,
    ) -> Result<(), ServiceError> {
        let kept;
        let message = if last && !self.session.keeps(id) {
            let mut frame = [0; FRAME_BYTES];
            let whole = payload.copy_to(0, &mut frame) == FRAME_BYTES && payload.len_bytes() <= MAX_BYTES;
            payload.advance(FRAME_BYTES);
            whole.then_some(Message { frame, payload: Payload::Guest(payload) })
        } else if self.session.keep(id, payload).is_some() {
            if !last {
                return Ok(());
            }
            kept = self.session.take_kept(id);
            kept.split_first_chunk()
                .map(|(frame, rest)| Message { frame: *frame, payload: Payload::Kept(rest) })
        } else {
            None
        };
        match message {
            Some(message) if self.session.throttle.may_send_message(message.payload.len_bytes()) => {
                front.message(Channel(id), &message, self, poller)
            }
            Some(_) => Ok(()),
            None => {
                self.session.reset(id, Some(Errno::PROTO), self.metrics);
                Ok(())
            }
        }
    }
}

impl Inbound<'_> {
    /// Gives the guest a message of `frame` and `payload`.
    pub(crate) fn message(
        &mut self,
        session: &mut Session,
        id: Id,
        frame: &[u8; FRAME_BYTES],
        payload: &[u8],
        metrics: &Metrics,
    ) -> Result<Sent, ServiceError> {
        if !self.flush_control(session, metrics)? {
            return Ok(Sent::NoRoom);
        }
        let Some(connection) = listening(session, id) else { return Ok(Sent::Done) };
        let bytes = FRAME_BYTES + payload.len();
        if (connection.credit.free_bytes() as usize) < bytes {
            return Ok(Sent::NoRoom);
        }
        self.room.clear();
        let taken = self.take_chains(0, bytes, bytes, true)?;
        if self.room.len_bytes() < bytes {
            self.return_chains(taken);
            return Ok(Sent::NoRoom);
        }
        self.room.copy_from(0, frame);
        self.room.copy_from(FRAME_BYTES, payload);
        self.give_message(session, id, bytes, taken, metrics)?;
        Ok(Sent::Done)
    }

    /// Gives the guest a message of `frame` and the next datagram of `socket`.
    pub(crate) fn message_from(
        &mut self,
        session: &mut Session,
        id: Id,
        frame: &[u8; FRAME_BYTES],
        socket: impl AsFd,
        metrics: &Metrics,
    ) -> Result<Received, ServiceError> {
        if !session.throttle.may_receive_message() || !self.flush_control(session, metrics)? {
            return Ok(Received::NoRoom);
        }
        let Some(connection) = listening(session, id) else {
            return Ok(Received::Nothing(std::io::ErrorKind::NotConnected.into()));
        };
        let (burst, credit) = (connection.burst, connection.credit.free_bytes() as usize);
        if credit <= FRAME_BYTES {
            return Ok(Received::NoRoom);
        }
        let most = credit.min(MAX_BYTES);
        self.room.clear();
        let taken = self.take_chains(0, burst, most, false)?;
        let mut taken = self.take_chains(taken, FRAME_BYTES, most, true)?;
        if self.room.len_bytes() < FRAME_BYTES {
            self.return_chains(taken);
            return Ok(Received::NoRoom);
        }
        self.room.copy_from(0, frame);
        self.room.advance(FRAME_BYTES);
        self.beyond.resize(MAX_PAYLOAD_BYTES, 0);
        let count = match self.room.receive_datagram_and(&mut self.beyond, socket) {
            Ok(count) => count,
            Err(error) => {
                self.return_chains(taken);
                return Ok(Received::Nothing(error));
            }
        };
        if let Some(over) = count.checked_sub(self.room.len_bytes()).filter(|over| *over > 0) {
            self.room.clear();
            if FRAME_BYTES + count <= credit {
                taken = self.take_chains(taken, over, over, true)?;
            }
            if self.room.len_bytes() < over {
                self.return_chains(taken);
                return Ok(Received::Lost);
            }
            self.room.copy_from(0, &self.beyond[..over]);
        }
        self.give_message(session, id, FRAME_BYTES + count, taken, metrics)?;
        Ok(Received::Message(count))
    }

    /// Gives the guest a message of `bytes` that lies in the `taken` chains.
    fn give_message(
        &mut self,
        session: &mut Session,
        id: Id,
        bytes: usize,
        taken: usize,
        metrics: &Metrics,
    ) -> Result<(), ServiceError> {
        let Some(connection) = session.get(id) else { return Ok(()) };
        connection.credit.spend(u32::try_from(bytes).unwrap_or(u32::MAX));
        session.throttle.received(bytes - FRAME_BYTES);
        let Some(connection) = session.get(id) else { return Ok(()) };
        let control = Control::new(connection.key, TYPE_SEQPACKET, Op::ReadWrite, 0);
        // The next one is about as long, most likely.
        connection.burst = bytes;
        let used = self.give_bytes(session, control, bytes, metrics)?;
        self.return_chains(taken - used);
        Ok(())
    }
}

/// The connection of a channel, if the guest still receives.
fn listening(session: &mut Session, id: Id) -> Option<&mut Connection> {
    session
        .get(id)
        .filter(|connection| connection.phase == Phase::Open && connection.guest_shut & SHUT_RECEIVE == 0)
}
