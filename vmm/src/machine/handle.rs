//! Steering a running machine from other threads.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use monocore_hypervisor::Event;
use monocore_spec::VmExit;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::outcome::Outcome;

/// Ends a machine from any thread.
#[derive(Clone, Debug)]
pub struct MachineHandle(Arc<Outcome>);

impl MachineHandle {
    pub(crate) fn new(outcome: Arc<Outcome>) -> Self {
        Self(outcome)
    }

    /// Ends the machine as [`VmExit::Killed`], unless it has ended already.
    pub fn kill(&self) {
        self.0.end_as(VmExit::Killed);
    }
}

/// Why [`wait`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// Something is to be looked at.
    Event,
    /// The other end of the lifeline is closed, or waiting itself fails.
    LifelineCut,
}

/// Blocks until the machine has ended, a device waits to be started, the lifeline is cut, or `control` is readable.
pub(super) fn wait(
    outcome: &Outcome,
    starts: Option<&Event>,
    lifeline: Option<BorrowedFd<'_>>,
    control: Option<BorrowedFd<'_>>,
) -> Woken {
    let mut fds = vec![PollFd::new(outcome.event(), PollFlags::IN)];
    fds.extend(starts.map(|event| PollFd::new(event, PollFlags::IN)));
    fds.extend(control.as_ref().map(|control| PollFd::new(control, PollFlags::IN)));
    let others = fds.len();
    fds.extend(lifeline.as_ref().map(|lifeline| PollFd::new(lifeline, PollFlags::IN)));
    match poll(&mut fds, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => {
            tracing::error!(%error, "the machine's end cannot be waited for");
            return Woken::LifelineCut;
        }
    }
    let readable = fds.get(others).is_some_and(|fd| !fd.revents().is_empty());
    match lifeline {
        Some(lifeline) if readable && is_cut(lifeline) => Woken::LifelineCut,
        _ => Woken::Event,
    }
}

/// Takes what was written to the lifeline, which means nothing, and says whether that was its end.
fn is_cut(lifeline: BorrowedFd<'_>) -> bool {
    match recv(lifeline, &mut [0u8; 64], RecvFlags::DONTWAIT) {
        Ok((_, 0)) => true,
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => false,
        Err(_) => true,
    }
}

#[derive(Debug, Default)]
struct State {
    paused: bool,
    waiting: usize,
}

/// The gate vCPU threads pass before they enter the guest.
#[derive(Debug)]
pub(super) struct Control {
    state: Mutex<State>,
    opened: Condvar,
    /// Raised when a vCPU has come to the closed gate.
    arrived: Arc<Event>,
}

impl Control {
    /// An open gate. `arrived` wakes the thread that waits for vCPUs to stand at the gate.
    pub(super) fn new(arrived: Arc<Event>) -> Self {
        Self { state: Mutex::default(), opened: Condvar::new(), arrived }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the gate; false if it was closed.
    pub(super) fn pause(&self) -> bool {
        !std::mem::replace(&mut self.lock().paused, true)
    }

    pub(super) fn resume(&self) {
        self.lock().paused = false;
        self.opened.notify_all();
    }

    pub(super) fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// Waits until `vcpus` threads stand at the gate. `clear` takes back what was raised so far, `sleep` blocks until
    /// something is raised anew and says whether there is still something to wait for.
    pub(super) fn until_all_wait(&self, vcpus: usize, clear: impl Fn(), sleep: impl Fn() -> bool) {
        loop {
            // A vCPU that arrives after this look raises the event; one that arrived before has been counted. The other
            // way round, the event of one that arrives between look and clearing would be lost.
            clear();
            if self.waiting() >= vcpus || !sleep() {
                return;
            }
        }
    }

    /// How many vCPU threads stand at the gate.
    fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// A vCPU thread's way through the gate: blocks while the machine is paused, and says whether it did.
    pub(super) fn pass(&self) -> bool {
        let mut state = self.lock();
        if !state.paused {
            return false;
        }
        state.waiting += 1;
        if let Err(error) = self.arrived.raise() {
            tracing::error!(%error, "a pause cannot be told that a vCPU stands still");
        }
        state = self.opened.wait_while(state, |s| s.paused).unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_vcpu_that_arrives_while_the_event_is_cleared_is_seen() {
        let event = Arc::new(Event::new().unwrap());
        let control = Control::new(Arc::clone(&event));
        assert!(control.pause());
        thread::scope(|scope| {
            let vcpu = scope.spawn(|| control.pass());
            let clear = || {
                while control.waiting() == 0 {
                    thread::yield_now();
                }
                event.clear().unwrap();
            };
            let slept = std::cell::Cell::new(false);
            control.until_all_wait(1, clear, || {
                slept.set(true);
                false
            });
            control.resume();
            vcpu.join().unwrap();
            assert!(!slept.get(), "nothing would wake it");
        });
    }
}
