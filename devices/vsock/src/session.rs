//! Every connection of a running device, and what waits to be told to the guest. Outlives a stop, ends with
//! the driver's reset.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use monocore_virtio::{Buffers, Poller};
use rustix::io::Errno;

use crate::connection::{Connection, Flow, Host, Key, Phase};
use crate::device::{Limits, Metrics};
use crate::front::{FRAME_BYTES, MAX_PAYLOAD_BYTES};
use crate::packet::{HOST_CID, Op, TYPE_STREAM};
use crate::throttle::Throttle;

/// The first port given to a connection that the host asks for.
const FIRST_HOST_PORT: u32 = 1 << 30;
/// Tokens of connections follow those of queues and backend.
pub(crate) const FIRST_TOKEN: u64 = 16;
/// The smallest and the largest window granted to the guest for one connection, in bytes.
const WINDOW: (u64, u64) = (32 << 10, 1 << 20);
/// What a channel is granted: messages are taken as they come, so it holds up nothing. Linux sends no message that is
/// longer than the window.
const CHANNEL_WINDOW: u32 = 256 << 10;
/// Bytes of messages without end that all channels together may have sent.
const MAX_KEPT_BYTES: usize = 4 << 20;
/// A new connection is granted this share of what is left of the budget.
const WINDOW_SHARE: u64 = 8;
/// How long the guest may take to answer a request, and to confirm an end.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
const END_PATIENCE: Duration = Duration::from_secs(8);

/// A packet without payload that waits for a guest buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) key: Key,
    pub(crate) op: Op,
    pub(crate) flags: u32,
    /// In whose name: the host's, but for refusals of what the host does not serve.
    pub(crate) src_cid: u64,
    pub(crate) kind: u16,
}

impl Control {
    pub(crate) fn new(key: Key, kind: u16, op: Op, flags: u32) -> Self {
        Self { key, op, flags, src_cid: HOST_CID, kind }
    }
}

/// Number of a connection in its session.
pub(crate) type Id = usize;

/// What the front has to be told.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) streams: usize,
    pub(crate) channels: Vec<Id>,
}

/// Connections and what they wait for.
pub(crate) struct Session {
    limits: Limits,
    slots: Vec<Option<Connection>>,
    free: Vec<Id>,
    by_key: HashMap<Key, Id>,
    deadlines: BTreeSet<(Instant, Id)>,
    /// Sum of all windows granted, in bytes.
    granted: u64,
    /// Sum of what is there of messages without end, in bytes.
    kept_bytes: usize,
    next_host_port: u32,
    /// Streams of the front that ended, and channels, since it was told last; the channels' numbers are not free yet.
    ended: Ended,
    pub(crate) control: VecDeque<Control>,
    /// Connections with bytes for the guest but no buffers, longest wait first.
    pub(crate) starved: VecDeque<Id>,
    /// Connections whose bytes are held, with the end of that, the next to end first.
    pub(crate) held: VecDeque<(Instant, Id)>,
    /// First descriptors of chains that wait for nothing any more.
    pub(crate) spent: Vec<u16>,
    /// Sockets to take out of the poller and to close.
    pub(crate) leaving: Vec<OwnedFd>,
    /// The guest must hear that all its connections are gone (§5.10.6.7).
    pub(crate) announce_loss: bool,
    /// What the front's connections may carry.
    pub(crate) throttle: Throttle,
}

impl Session {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            deadlines: BTreeSet::new(),
            granted: 0,
            kept_bytes: 0,
            next_host_port: FIRST_HOST_PORT,
            ended: Ended::default(),
            control: VecDeque::new(),
            starved: VecDeque::new(),
            held: VecDeque::new(),
            spent: Vec::new(),
            leaving: Vec::new(),
            announce_loss: false,
            throttle: Throttle::default(),
        }
    }

    /// Number of connections, those that only drain included.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> + '_ {
        self.slots.iter().enumerate().filter_map(|(id, slot)| slot.as_ref().map(|_| id))
    }

    pub(crate) fn find(&self, key: Key) -> Option<Id> {
        self.by_key.get(&key).copied()
    }

    pub(crate) fn get(&mut self, id: Id) -> Option<&mut Connection> {
        self.slots.get_mut(id)?.as_mut()
    }

    pub(crate) fn by_token(token: u64) -> Option<Id> {
        Id::try_from(token.checked_sub(FIRST_TOKEN)?).ok()
    }

    /// Whether there may be one connection more.
    pub(crate) fn has_room(&self) -> bool {
        self.len() < self.limits.connections
    }

    /// Takes a connection in; `None`, and its stream is closed, where there are enough already.
    pub(crate) fn insert(&mut self, key: Key, host: Host, phase: Phase) -> Option<Id> {
        if !self.has_room() || self.by_key.contains_key(&key) {
            return None;
        }
        let window = self.grant(&host);
        let connection = Connection::new(key, host, phase, window);
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[id] = Some(connection);
        self.by_key.insert(key, id);
        Some(id)
    }

    fn grant(&mut self, host: &Host) -> u32 {
        if matches!(host, Host::Channel(_)) {
            return CHANNEL_WINDOW;
        }
        let left = self.limits.window_budget_bytes.saturating_sub(self.granted);
        let window = (left / WINDOW_SHARE).clamp(WINDOW.0, WINDOW.1);
        self.granted += window;
        u32::try_from(window).unwrap_or(u32::MAX)
    }

    /// Takes a connection in that the host asks for, at a port of its own.
    pub(crate) fn insert_asked(&mut self, guest_port: u32, stream: OwnedFd, greet: bool) -> Option<Id> {
        let key = self.free_key(guest_port)?;
        let id = self.insert(key, Host::Backend(stream), Phase::Asked { greet })?;
        self.set_deadline(id, Some(Instant::now() + ANSWER_PATIENCE));
        self.tell(key, Op::Request, 0);
        Some(id)
    }

    /// Ends a connection for the host; what the guest has sent and the host has not taken is lost.
    pub(crate) fn remove(&mut self, id: Id, metrics: &Metrics) {
        self.set_deadline(id, None);
        let Some(mut connection) = self.slots.get_mut(id).and_then(Option::take) else { return };
        connection.shut_both();
        if let Some(fate) = connection.fate.take() {
            fate.finish();
        }
        let is_foreign = connection.is_foreign;
        if self.find(connection.key) == Some(id) {
            self.by_key.remove(&connection.key);
        }
        self.leave_queues(id, connection.flow);
        self.leave_limits(id, (connection.flow, connection.limited));
        self.spent.extend(connection.reading);
        Metrics::add(&metrics.closed, 1);
        if let Host::Channel(kept) = &connection.host {
            self.kept_bytes -= kept.len();
            self.ended.channels.push(id);
            return;
        }
        self.granted -= u64::from(connection.window.size_bytes());
        self.ended.streams += usize::from(connection.is_front_stream());
        self.free.push(id);
        if let Host::Front(socket) = connection.host
            && is_foreign
        {
            self.leaving.push(socket);
        }
    }

    /// Ends a connection for both sides, at once; a guest that uses the front's is told why.
    pub(crate) fn reset(&mut self, id: Id, why: Option<Errno>, metrics: &Metrics) {
        self.end_read(id, 0);
        let Some(connection) = self.get(id) else { return };
        connection.reset_on_close();
        let why = why.filter(|_| !matches!(connection.host, Host::Backend(_)));
        let key = connection.key;
        if self.find(key) == Some(id) {
            self.tell(key, Op::Reset, why.map_or(0, errno_on_wire));
        }
        self.remove(id, metrics);
    }

    /// What the front has to be told. The numbers of channels are free when it was.
    pub(crate) fn take_ended(&mut self) -> Ended {
        std::mem::take(&mut self.ended)
    }

    /// The number of a channel that the front was told has ended, or was never told of, may be used again.
    pub(crate) fn free_channel(&mut self, id: Id) {
        if self.slots.get(id).is_some_and(Option::is_none) {
            self.free.push(id);
        }
    }

    /// Takes back a channel that the front did not want.
    pub(crate) fn discard(&mut self, id: Id) {
        if let Some(connection) = self.slots.get_mut(id).and_then(Option::take) {
            self.by_key.remove(&connection.key);
            self.free_channel(id);
        }
    }

    /// Whether there is something of a channel's message.
    pub(crate) fn keeps(&mut self, id: Id) -> bool {
        self.get(id)
            .is_some_and(|connection| matches!(&connection.host, Host::Channel(kept) if !kept.is_empty()))
    }

    /// Appends `payload` to what is there of a channel's message; `None` where that is more than may be.
    pub(crate) fn keep(&mut self, id: Id, payload: &Buffers<'_>) -> Option<()> {
        let budget = MAX_KEPT_BYTES - self.kept_bytes;
        let Host::Channel(kept) = &mut self.slots.get_mut(id)?.as_mut()?.host else { return None };
        let (before, more) = (kept.len(), payload.len_bytes());
        if more > budget || before + more > FRAME_BYTES + MAX_PAYLOAD_BYTES {
            return None;
        }
        kept.resize(before + more, 0);
        payload.copy_to(0, &mut kept[before..]);
        self.kept_bytes += more;
        Some(())
    }

    /// What is there of a channel's message; nothing is kept then.
    pub(crate) fn take_kept(&mut self, id: Id) -> Vec<u8> {
        let Some(Host::Channel(kept)) = self.get(id).map(|connection| &mut connection.host) else {
            return Vec::new();
        };
        let kept = std::mem::take(kept);
        self.kept_bytes -= kept.len();
        kept
    }

    /// The guest is done with a connection: its key is free again, and what it sent still goes to the host.
    pub(crate) fn release(&mut self, id: Id, metrics: &Metrics) {
        let Some(connection) = self.get(id) else { return };
        if !connection.has_backlog() {
            return self.remove(id, metrics);
        }
        connection.phase = Phase::Draining;
        let (key, flow) = (connection.key, std::mem::replace(&mut connection.flow, Flow::Ended));
        self.leave_queues(id, flow);
        self.by_key.remove(&key);
        self.set_deadline(id, None);
    }

    /// The host is done with a connection: the guest is told, and has some seconds to confirm.
    pub(crate) fn close(&mut self, id: Id) {
        let Some(connection) = self.get(id) else { return };
        connection.phase = Phase::Closing;
        connection.shut_both();
        // Both ends of a front's stream have said all there is to say: it is the guest's to keep as any socket is.
        if !connection.is_front_stream() {
            self.set_deadline(id, Some(Instant::now() + END_PATIENCE));
        }
    }

    /// Queues a packet without payload for the guest.
    pub(crate) fn tell(&mut self, key: Key, op: Op, flags: u32) {
        let id = self.find(key);
        let kind = id.and_then(|id| self.get(id)).map_or(TYPE_STREAM, |connection| connection.host.kind());
        self.control.push_back(Control::new(key, kind, op, flags));
    }

    /// Queues the refusal of a packet that has no connection, in the name of whomever it was meant for.
    pub(crate) fn refuse(&mut self, key: Key, src_cid: u64, kind: u16, why: Option<Errno>) {
        let flags = why.map_or(0, errno_on_wire);
        self.control.push_back(Control { src_cid, ..Control::new(key, kind, Op::Reset, flags) });
    }

    pub(crate) fn set_deadline(&mut self, id: Id, deadline: Option<Instant>) {
        let Some(connection) = self.slots.get_mut(id).and_then(Option::as_mut) else { return };
        if let Some(old) = std::mem::replace(&mut connection.deadline, deadline) {
            self.deadlines.remove(&(old, id));
        }
        if let Some(new) = deadline {
            self.deadlines.insert((new, id));
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The next connection whose patience is over at `now`.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<Id> {
        let (at, id) = *self.deadlines.first()?;
        (at <= now).then_some(id)
    }

    /// Makes the poller watch the connection's socket for what it waits for now.
    pub(crate) fn watch(&mut self, id: Id, poller: &Poller, metrics: &Metrics) {
        let Some(connection) = self.get(id) else { return };
        let (watched, wanted) = (connection.watched, connection.wanted());
        if watched == wanted {
            return;
        }
        let Some(stream) = connection.host.stream() else { return };
        let token = FIRST_TOKEN + id as u64;
        let done = match (watched, wanted) {
            (None, Some(interest)) => poller.add(stream, token, interest),
            (Some(_), Some(interest)) => poller.modify(stream, token, interest),
            (_, None) => poller.remove(stream),
        };
        connection.watched = wanted;
        if let Err(error) = done {
            tracing::warn!(device = "vsock", %error, "a connection's socket cannot be watched");
            self.reset(id, Errno::from_io_error(&error), metrics);
        }
    }

    fn free_key(&mut self, guest_port: u32) -> Option<Key> {
        // One more try than there can be connections finds a free port.
        for _ in 0..=self.limits.connections {
            let key = Key { host_port: self.next_host_port, guest_port };
            self.next_host_port = self.next_host_port.checked_add(1).unwrap_or(FIRST_HOST_PORT);
            if !self.by_key.contains_key(&key) {
                return Some(key);
            }
        }
        None
    }
}

/// An error's number, the same on every Linux that has a virtio driver.
fn errno_on_wire(errno: Errno) -> u32 {
    u32::try_from(errno.raw_os_error()).unwrap_or(0)
}
