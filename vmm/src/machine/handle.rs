//! Steering a running machine from other threads.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use monocore_spec::VmExit;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

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

/// Blocks until the machine has ended.
pub(super) fn wait(outcome: &Outcome) {
    while !outcome.has_ended() {
        let mut fds = [PollFd::new(outcome.event(), PollFlags::IN)];
        if let Err(error) = poll(&mut fds, None)
            && error != Errno::INTR
        {
            tracing::error!(%error, "the machine's end cannot be waited for");
            return;
        }
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
    pub(super) fn wait_paused(&self, vcpus: usize, outcome: &Outcome) {
        let done = |state: &mut State| state.waiting < vcpus && !outcome.has_ended();
        drop(self.changed.wait_while(self.lock(), done).unwrap_or_else(PoisonError::into_inner));
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
