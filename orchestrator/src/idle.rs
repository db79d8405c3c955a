//! Whether a sandbox is used, for `--idle-timeout`.
//!
//! Use is: a client of the control socket that does not only wait, a command of `exec` that runs, and
//! output of the main command. The loop looks once each time the timeout may be over, never in between.

use std::time::{Duration, Instant};

use crate::logs::LogWriter;

/// Whether a sandbox is used.
#[derive(Debug)]
pub(crate) struct Idle {
    timeout: Duration,
    last_use: Instant,
    log: Option<LogWriter>,
}

impl Idle {
    /// A sandbox that was used `now`.
    pub(crate) fn new(timeout: Duration, now: Instant) -> Self {
        Self { timeout, last_use: now, log: None }
    }

    pub(crate) fn watch_log(&mut self, log: LogWriter) {
        self.log = Some(log);
    }

    /// The sandbox is used `now`.
    pub(crate) fn touch(&mut self, now: Instant) {
        self.last_use = now;
    }

    /// When to look; nothing where no time is that late.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        self.last_use.checked_add(self.timeout)
    }

    /// Whether nobody has used the sandbox for as long as its timeout. `is_used` says whether it is
    /// used now; it is asked only when the time is up.
    pub(crate) fn is_over(&mut self, now: Instant, is_used: impl FnOnce() -> bool) -> bool {
        let is_due = |idle: &Self| idle.next_time().is_some_and(|time| time <= now);
        if !is_due(self) {
            return false;
        }
        if is_used() {
            self.last_use = now;
        } else if let Some(written) = self.log.as_ref().and_then(LogWriter::last_written) {
            self.last_use = self.last_use.max(written);
        }
        is_due(self)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::logs::LogStream;

    #[test]
    fn the_time_begins_with_the_last_use() {
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        let mut idle = Idle::new(minute, start);
        assert!(!idle.is_over(start + minute / 2, || panic!("it is too early to ask")));
        assert!(!idle.is_over(start + minute, || true));
        assert_eq!(idle.next_time(), Some(start + minute * 2));
        idle.touch(start + minute + minute / 2);
        assert!(!idle.is_over(start + minute * 2, || false));
        assert!(idle.is_over(start + minute * 5 / 2, || false));
    }

    #[test]
    fn output_is_use() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogWriter::open(dir.path()).unwrap();
        let start = Instant::now();
        let mut idle = Idle::new(Duration::from_nanos(1), start);
        idle.watch_log(log.clone());
        assert!(idle.is_over(start + Duration::from_secs(1), || false));
        log.stream(LogStream::Stdout).write_all(b"tick\n").unwrap();
        assert!(idle.last_use <= log.last_written().unwrap());
        assert!(!idle.is_over(log.last_written().unwrap(), || false));
    }

    #[test]
    fn a_timeout_without_end_never_is_over() {
        let mut idle = Idle::new(Duration::MAX, Instant::now());
        assert_eq!(idle.next_time(), None);
        assert!(!idle.is_over(Instant::now(), || false));
    }
}
