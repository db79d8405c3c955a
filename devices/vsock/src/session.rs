//! Every connection of a running device, and what waits to be told to the guest. Outlives a stop, ends with
//! the driver's reset.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use monocore_virtio::Poller;

use crate::connection::{Connection, Flow, Key, Phase};
use crate::device::{Limits, Metrics};
use crate::packet::{HOST_CID, Op, TYPE_STREAM};

/// The first port given to a connection that the host asks for.
const FIRST_HOST_PORT: u32 = 1 << 30;
/// Tokens of connections follow those of queues and backend.
pub(crate) const FIRST_TOKEN: u64 = 16;
/// The smallest and the largest window granted to the guest for one connection, in bytes.
const WINDOW: (u64, u64) = (32 << 10, 1 << 20);
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
    pub(crate) fn new(key: Key, op: Op, flags: u32) -> Self {
        Self { key, op, flags, src_cid: HOST_CID, kind: TYPE_STREAM }
    }
}

/// Number of a connection in its session.
pub(crate) type Id = usize;

/// Connections and what they wait for.
pub(crate) struct Session {
    limits: Limits,
    slots: Vec<Option<Connection>>,
    free: Vec<Id>,
    by_key: HashMap<Key, Id>,
    deadlines: BTreeSet<(Instant, Id)>,
    /// Sum of all windows granted, in bytes.
    granted: u64,
    next_host_port: u32,
    pub(crate) control: VecDeque<Control>,
    /// Connections with bytes for the guest but no buffers, longest wait first.
    pub(crate) starved: VecDeque<Id>,
    /// The guest must hear that all its connections are gone (§5.10.6.7).
    pub(crate) announce_loss: bool,
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
            next_host_port: FIRST_HOST_PORT,
            control: VecDeque::new(),
            starved: VecDeque::new(),
            announce_loss: false,
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

    /// Takes a connection in; `None`, and the stream is closed, where there are enough already.
    pub(crate) fn insert(&mut self, key: Key, stream: OwnedFd, phase: Phase) -> Option<Id> {
        if self.len() >= self.limits.connections || self.by_key.contains_key(&key) {
            return None;
        }
        let left = self.limits.window_budget_bytes.saturating_sub(self.granted);
        let window = (left / WINDOW_SHARE).clamp(WINDOW.0, WINDOW.1);
        self.granted += window;
        let connection = Connection::new(key, stream, phase, u32::try_from(window).unwrap_or(u32::MAX));
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[id] = Some(connection);
        self.by_key.insert(key, id);
        Some(id)
    }

    /// Takes a connection in that the host asks for, at a port of its own.
    pub(crate) fn insert_asked(&mut self, guest_port: u32, stream: OwnedFd, greet: bool) -> Option<Id> {
        let key = self.free_key(guest_port)?;
        let id = self.insert(key, stream, Phase::Asked { greet })?;
        self.set_deadline(id, Some(Instant::now() + ANSWER_PATIENCE));
        self.tell(key, Op::Request, 0);
        Some(id)
    }

    /// Ends a connection for the host; what the guest has sent and the host has not taken is lost.
    pub(crate) fn remove(&mut self, id: Id, metrics: &Metrics) {
        self.set_deadline(id, None);
        let Some(mut connection) = self.slots.get_mut(id).and_then(Option::take) else { return };
        connection.shut_both();
        self.free.push(id);
        self.granted -= u64::from(connection.window.size_bytes());
        if self.find(connection.key) == Some(id) {
            self.by_key.remove(&connection.key);
        }
        if connection.flow == Flow::NoBuffers {
            self.starved.retain(|waiting| *waiting != id);
        }
        Metrics::add(&metrics.closed, 1);
    }

    /// Ends a connection for both sides, at once.
    pub(crate) fn reset(&mut self, id: Id, metrics: &Metrics) {
        if let Some(key) = self.get(id).map(|connection| connection.key) {
            if self.find(key) == Some(id) {
                self.tell(key, Op::Reset, 0);
            }
            self.remove(id, metrics);
        }
    }

    /// The guest is done with a connection: its key is free again, and what it sent still goes to the host.
    pub(crate) fn release(&mut self, id: Id, metrics: &Metrics) {
        let Some(connection) = self.get(id) else { return };
        if !connection.has_backlog() {
            return self.remove(id, metrics);
        }
        connection.phase = Phase::Draining;
        let (key, starved) = (connection.key, connection.flow == Flow::NoBuffers);
        connection.flow = Flow::Ended;
        if starved {
            self.starved.retain(|waiting| *waiting != id);
        }
        self.by_key.remove(&key);
        self.set_deadline(id, None);
    }

    /// The host is done with a connection: the guest is told, and has some seconds to confirm.
    pub(crate) fn close(&mut self, id: Id) {
        let Some(connection) = self.get(id) else { return };
        connection.phase = Phase::Closing;
        connection.shut_both();
        self.set_deadline(id, Some(Instant::now() + END_PATIENCE));
    }

    /// Queues a packet without payload for the guest.
    pub(crate) fn tell(&mut self, key: Key, op: Op, flags: u32) {
        self.control.push_back(Control::new(key, op, flags));
    }

    /// Queues the refusal of a packet meant for another host or another kind of socket.
    pub(crate) fn refuse(&mut self, key: Key, src_cid: u64, kind: u16) {
        self.control.push_back(Control { src_cid, kind, ..Control::new(key, Op::Reset, 0) });
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
        let (stream, token) = (&connection.stream, FIRST_TOKEN + id as u64);
        let done = match (watched, wanted) {
            (None, Some(interest)) => poller.add(stream, token, interest),
            (Some(_), Some(interest)) => poller.modify(stream, token, interest),
            (_, None) => poller.remove(stream),
        };
        connection.watched = wanted;
        if let Err(error) = done {
            tracing::warn!(device = "vsock", %error, "a connection's socket cannot be watched");
            self.reset(id, metrics);
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
