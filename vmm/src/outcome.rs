//! How the machine ends: written once, by whoever is first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use monocore_hypervisor::Event;
use monocore_legacy::{GuestEnd, GuestRequests};
use monocore_spec::VmExit;

/// The most boot marks that are kept; a guest may write any number.
const MARKS_MAX: usize = 64;

/// A point of its boot that the guest reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What the guest wrote.
    pub value: u8,
    /// How long after the machine was begun to be built.
    pub after: Duration,
}

/// The machine's end, and who waits for it.
#[derive(Debug)]
pub(crate) struct Outcome {
    exit: OnceLock<VmExit>,
    ended: AtomicBool,
    event: Event,
    began: Instant,
    marks: Mutex<Vec<Mark>>,
}

impl Outcome {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            exit: OnceLock::new(),
            ended: AtomicBool::new(false),
            event: Event::new()?,
            began: Instant::now(),
            marks: Mutex::default(),
        })
    }

    /// Ends the machine as `exit` says, unless it ended already.
    pub(crate) fn end_as(&self, exit: VmExit) {
        let _ = self.exit.set(exit);
        self.ended.store(true, Ordering::Release);
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

    pub(crate) fn marks(&self) -> MutexGuard<'_, Vec<Mark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let after = self.began.elapsed();
        let mut marks = self.marks();
        if marks.len() < MARKS_MAX {
            marks.push(Mark { value, after });
        }
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
    }

    #[test]
    fn marks_are_bounded() {
        let outcome = Outcome::new().unwrap();
        for value in 0..=255 {
            outcome.mark(value);
        }
        assert_eq!(outcome.marks().len(), MARKS_MAX);
    }
}
