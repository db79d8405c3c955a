//! A limit to how long a way may take: one that gets stuck must not keep the others from being measured.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::count::busy_ns;

/// How much of this machine's clock a way may take, if it is idle for most of it: that passes at once.
const LONGEST: Duration = Duration::from_secs(600);
/// How many instructions it may take: some minutes of emulation.
const MOST_INSTRUCTIONS: u64 = 20_000_000_000;
/// How often is looked.
const PERIOD: Duration = Duration::from_secs(5);

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
            let passed = runs_out(&wait);
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

/// Sleeps until the way is measured, or has taken too long: then it says so.
fn runs_out(done: &Receiver<()>) -> bool {
    let (began, before) = (Instant::now(), busy_ns().unwrap_or(0));
    while done.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
        let busy = busy_ns().unwrap_or(0).saturating_sub(before);
        if began.elapsed() > LONGEST || busy > MOST_INSTRUCTIONS {
            return true;
        }
    }
    false
}
