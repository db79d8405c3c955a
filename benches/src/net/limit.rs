//! A limit to how long a way may take: one that gets stuck must not keep the others from being measured.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// In this machine's clock.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Ends a guest that takes too long.
pub(crate) struct Limit {
    done: Sender<()>,
    watcher: JoinHandle<bool>,
}

impl Limit {
    /// From now on; `group` is the guest's group of processes, which must not be waited for before [`Limit::passed`].
    pub(crate) fn start(group: Pid) -> Self {
        let (done, wait) = mpsc::channel();
        let watcher = thread::spawn(move || {
            let passed = wait.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
            if passed {
                // A group that has ended is none to end.
                let _ = kill_process_group(group, Signal::KILL);
            }
            passed
        });
        Self { done, watcher }
    }

    /// Whether the guest took too long; it is not watched any more.
    pub(crate) fn passed(self) -> bool {
        drop(self.done);
        self.watcher.join().unwrap_or(false)
    }
}
