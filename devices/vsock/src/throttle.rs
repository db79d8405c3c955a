//! How much a front's streams and messages may carry, all of them together; other connections carry what they like.
//!
//! What goes to the guest waits in its socket. What comes from it on a stream is kept, within the stream's window, which is
//! granted anew only as it goes on. A message of the guest's has nowhere to wait: it goes on at once as long as not too much is
//! owed already, and is lost then, as datagrams are where a link is full.

use std::collections::VecDeque;
use std::time::Instant;

use monocore_virtio::{Bucket, Poller, Rates, ServiceError};

use crate::connection::{Connection, Delivery, Flow};
use crate::service::VsockService;
use crate::session::{Id, Session};

/// The most that goes on of what was kept before the limit is asked again, bytes.
const LARGEST_DRAIN: usize = 64 << 10;

/// Limits, and who waits because of them.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    from_guest: Option<Bucket>,
    to_guest: Option<Bucket>,
    /// Streams whose sockets are not read, longest wait first.
    unread: VecDeque<Id>,
    /// Streams that keep what the guest sent, longest wait first.
    keeping: VecDeque<Id>,
    /// A message for the guest waits.
    message_waits: bool,
}

impl Throttle {
    pub(crate) fn new(rates: Rates) -> Self {
        let (from_guest, to_guest) = (rates.from_guest.map(Bucket::new), rates.to_guest.map(Bucket::new));
        Self { from_guest, to_guest, ..Self::default() }
    }

    /// The same limits, as far as they are used up, for connections that come after these.
    #[must_use]
    pub(crate) fn without_waiting(&self) -> Self {
        Self { from_guest: self.from_guest, to_guest: self.to_guest, ..Self::default() }
    }

    /// Notes that the guest got `bytes` by the front.
    pub(crate) fn received(&mut self, bytes: usize) {
        if let Some(bucket) = &mut self.to_guest {
            bucket.spend(bytes, Instant::now());
        }
    }

    /// Whether a message may go to the guest now; where not, [`deadline`](Self::deadline) says when.
    pub(crate) fn may_receive_message(&mut self) -> bool {
        self.message_waits = waits(self.to_guest.as_ref());
        !self.message_waits
    }

    /// Whether a message of the guest's, of `bytes`, may go on; it is spent then.
    pub(crate) fn may_send_message(&mut self, bytes: usize) -> bool {
        let Some(bucket) = &mut self.from_guest else { return true };
        let now = Instant::now();
        let may = !bucket.is_deep_in_debt(now);
        if may {
            bucket.spend(bytes, now);
        }
        may
    }

    /// When somebody who waits may go on.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let to_guest = self.to_guest.as_ref().filter(|_| self.message_waits || !self.unread.is_empty());
        let from_guest = self.from_guest.as_ref().filter(|_| !self.keeping.is_empty());
        let at = |bucket: &Bucket| {
            let now = Instant::now();
            // Whose time has come meanwhile goes on now.
            bucket.wait(now).unwrap_or(now)
        };
        [to_guest, from_guest].into_iter().flatten().map(at).min()
    }

    /// Whoever waits with a message tries again in this turn, and is told anew if it is too early.
    pub(crate) fn begin_turn(&mut self) {
        self.message_waits = false;
    }

    /// Whether even a message that cannot wait must not go to the guest.
    pub(crate) fn is_full(&self) -> bool {
        self.to_guest.as_ref().is_some_and(|bucket| bucket.is_deep_in_debt(Instant::now()))
    }
}

fn waits(bucket: Option<&Bucket>) -> bool {
    bucket.is_some_and(|bucket| bucket.wait(Instant::now()).is_some())
}

impl Session {
    /// Whether connection `id` must not be read for now; it waits then.
    pub(crate) fn holds_back(&mut self, id: Id) -> bool {
        if !waits(self.throttle.to_guest.as_ref()) {
            return false;
        }
        let Some(connection) = self.get(id).filter(|connection| connection.is_front_stream()) else {
            return false;
        };
        if std::mem::replace(&mut connection.flow, Flow::Limited) != Flow::Limited {
            self.throttle.unread.push_back(id);
        }
        true
    }

    /// Connection `id` waits for no limit any more, because it ended.
    pub(crate) fn leave_limits(&mut self, id: Id, (flow, limited): (Flow, bool)) {
        if flow == Flow::Limited {
            self.throttle.unread.retain(|waiting| *waiting != id);
        }
        if limited {
            self.throttle.keeping.retain(|waiting| *waiting != id);
        }
    }

    /// Whether what the guest sends on connection `id` is kept for now; it waits then.
    pub(crate) fn keeps_back(&mut self, id: Id) -> bool {
        if !waits(self.throttle.from_guest.as_ref()) {
            return false;
        }
        let Some(connection) = self.get(id).filter(|connection| connection.is_front_stream()) else {
            return false;
        };
        if !std::mem::replace(&mut connection.limited, true) {
            self.throttle.keeping.push_back(id);
        }
        true
    }

    /// Notes that `bytes` of the guest's went on over connection `id`.
    pub(crate) fn went_on(&mut self, id: Id, bytes: usize) {
        let is_ours = |connection: &mut Connection| connection.is_front_stream();
        if self.throttle.from_guest.is_some()
            && self.get(id).is_some_and(is_ours)
            && let Some(bucket) = &mut self.throttle.from_guest
        {
            bucket.spend(bytes, Instant::now());
        }
    }

    /// Sends what was kept of connection `id`, as far as it goes and may go.
    pub(crate) fn drain(&mut self, id: Id) -> Delivery {
        if self.keeps_back(id) {
            return Delivery::Fine;
        }
        let most = if self.throttle.from_guest.is_some() { LARGEST_DRAIN } else { usize::MAX };
        let Some(connection) = self.get(id) else { return Delivery::Fine };
        let (sent, delivery) = connection.drain(most);
        self.went_on(id, sent);
        if sent >= most {
            self.keeps_back(id);
        }
        delivery
    }
}

impl VsockService<'_, '_> {
    /// Lets those go on who waited for a limit, in the order in which they came.
    pub(crate) fn resume_limited(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        for _ in 0..self.session.throttle.unread.len() {
            if waits(self.session.throttle.to_guest.as_ref()) {
                break;
            }
            let Some(id) = self.session.throttle.unread.pop_front() else { break };
            // It may have ended, or be somebody else by now.
            if self.session.get(id).is_some_and(|connection| connection.flow == Flow::Limited) {
                self.resume(poller, id)?;
            }
        }
        for _ in 0..self.session.throttle.keeping.len() {
            if waits(self.session.throttle.from_guest.as_ref()) {
                break;
            }
            let Some(id) = self.session.throttle.keeping.pop_front() else { break };
            let Some(connection) = self.session.get(id) else { continue };
            if std::mem::take(&mut connection.limited) && connection.has_backlog() {
                let delivery = self.session.drain(id);
                self.outbound(poller).delivered(id, delivery);
                self.session.watch(id, poller, self.metrics);
            }
        }
        Ok(())
    }
}
