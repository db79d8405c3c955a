//! Steering a running machine from other threads.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use monocore_hypervisor::Event;
use monocore_spec::VmExit;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::outcome::Outcome;

/// How often a pause looks whether a device waits to be started.
const PAUSE_LOOK: Duration = Duration::from_millis(1);

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
#[derive(Debug, Default)]
pub(super) struct Control {
    state: Mutex<State>,
    changed: Condvar,
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pause(&self) {
        self.lock().paused = true;
    }

    pub(super) fn resume(&self) {
        self.lock().paused = false;
        self.changed.notify_all();
    }

    /// Blocks until `vcpus` threads stand at the gate or the machine has ended.
    ///
    /// A vCPU on its way may wait for a device's start, so `serve` is called again and again.
    pub(super) fn wait_paused(&self, vcpus: usize, outcome: &Outcome, serve: impl Fn()) {
        let mut state = self.lock();
        while state.waiting < vcpus && !outcome.has_ended() {
            drop(state);
            serve();
            let waited = self.changed.wait_timeout(self.lock(), PAUSE_LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A vCPU thread's way through the gate: blocks while the machine is paused.
    pub(super) fn pass(&self) {
        let mut state = self.lock();
        if !state.paused {
            return;
        }
        state.waiting += 1;
        self.changed.notify_all();
        state = self.changed.wait_while(state, |s| s.paused).unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
    }

    /// Wakes whoever waits for vCPUs that will not come any more.
    pub(super) fn vcpu_gone(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }
}
