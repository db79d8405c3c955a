//! A command the host asked for.

use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::process::Pid;

/// How long what a command left behind may keep its output open without saying anything: Docker's time.
const LINGER: Duration = Duration::from_secs(2);
/// How often the loop looks whether such output has become idle.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A command that runs, or whose output is still under way.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) pid: Pid,
    /// The guest ends with it.
    pub(crate) lives_for_guest: bool,
    /// When it ended.
    pub(crate) ended: Option<Instant>,
    /// The host's side of its terminal, if it has one.
    pub(crate) terminal: Option<OwnedFd>,
    /// What keeps its input open after its client has left.
    pub(crate) held: Vec<OwnedFd>,
}

impl Command {
    /// It ended long ago and somebody it left behind holds its output open.
    pub(crate) fn lingers_too_long(&self) -> bool {
        self.ended.is_some_and(|ended| ended.elapsed() >= LINGER)
    }

    /// When to look at it again.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        let linger_ends = self.ended? + LINGER;
        Some(linger_ends.max(Instant::now() + LOOK_AGAIN))
    }
}
