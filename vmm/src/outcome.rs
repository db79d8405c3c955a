//! How the machine ends, written once by whoever is first, and when it came to which point before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use monocore_hypervisor::Event;
use monocore_legacy::{GuestEnd, GuestRequests};
use monocore_spec::{TimelineEntry, VmExit};
use rustix::time::{ClockId, clock_gettime};

/// The most points of a machine's life that are kept; a guest may write any number of boot marks.
const TIMELINE_MAX: usize = 64;

/// The machine's end, and who waits for it.
#[derive(Debug)]
pub(crate) struct Outcome {
    exit: OnceLock<VmExit>,
    ended: AtomicBool,
    event: Event,
    timeline: Mutex<Vec<TimelineEntry>>,
}

impl Outcome {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            exit: OnceLock::new(),
            ended: AtomicBool::new(false),
            event: Event::new()?,
            timeline: Mutex::default(),
        })
    }

    /// Ends the machine as `exit` says, unless it ended already.
    pub(crate) fn end_as(&self, exit: VmExit) {
        let _ = self.exit.set(exit);
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.record("end".into());
        }
        if let Err(error) = self.event.raise() {
            tracing::error!(%error, "the machine's end cannot be told");
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Readable once the machine has ended.
    pub(crate) fn event(&self) -> &Event {
        &self.event
    }

    /// How it ended; a machine that has not counts as killed.
    pub(crate) fn exit(&self) -> VmExit {
        self.exit.get().cloned().unwrap_or(VmExit::Killed)
    }

    /// Notes that the machine came to `event` now.
    pub(crate) fn record(&self, event: String) {
        let monotonic_ns = monotonic_ns();
        let mut timeline = self.lock_timeline();
        if timeline.len() < TIMELINE_MAX {
            timeline.push(TimelineEntry { event, monotonic_ns });
        }
    }

    pub(crate) fn timeline(&self) -> Vec<TimelineEntry> {
        self.lock_timeline().clone()
    }

    fn lock_timeline(&self) -> MutexGuard<'_, Vec<TimelineEntry>> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(now.tv_sec).saturating_mul(1_000_000_000).saturating_add(part(now.tv_nsec))
}

impl GuestRequests for Outcome {
    fn end(&self, end: GuestEnd) {
        self.end_as(match end {
            GuestEnd::PowerOff => VmExit::PowerOff,
            GuestEnd::Reboot => VmExit::Reboot,
            GuestEnd::Panic(text) => VmExit::Panic { text: String::from_utf8_lossy(&text).into_owned() },
        });
    }

    fn mark(&self, value: u8) {
        self.record(format!("mark:{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_end_counts() {
        let outcome = Outcome::new().unwrap();
        assert!(!outcome.has_ended());
        assert_eq!(outcome.exit(), VmExit::Killed);
        outcome.end(GuestEnd::Panic(b"Oops\xff".to_vec()));
        outcome.end_as(VmExit::Killed);
        assert!(outcome.has_ended());
        assert!(outcome.event().clear().unwrap());
        assert_eq!(outcome.exit(), VmExit::Panic { text: "Oops\u{fffd}".into() });
        assert_eq!(outcome.timeline().len(), 1);
    }

    #[test]
    fn marks_are_bounded_and_in_order() {
        let outcome = Outcome::new().unwrap();
        for value in 0..=255 {
            outcome.mark(value);
        }
        let timeline = outcome.timeline();
        assert_eq!(timeline.len(), TIMELINE_MAX);
        assert_eq!(timeline[1].event, "mark:1");
        assert!(timeline.is_sorted_by_key(|entry| entry.monotonic_ns));
    }
}
