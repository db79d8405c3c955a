//! Whether a sandbox is used, for `--idle-timeout`.
//!
//! Use is: a client of the control socket that does not only wait, a command of `exec` that runs, output
//! of the main command, and traffic. The loop looks when the timeout may be over, never in between; the
//! machine is asked for its traffic only if nothing else was use.

use std::time::{Duration, Instant};

use crate::logs::LogWriter;

/// Whether a sandbox is used.
#[derive(Debug)]
pub(crate) struct Idle {
    timeout: Duration,
    last_use: Instant,
    log: Option<LogWriter>,
    /// The traffic at the last look.
    traffic: Option<Traffic>,
    /// The machine was asked for its traffic.
    is_asking: bool,
}

/// What has gone through a sandbox's network since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Bytes both ways; 0 where they cannot be told from those of health checks.
    pub(crate) bytes: u64,
    /// The decisions that were written down: the file's inode and length.
    pub(crate) receipts: Option<(u64, u64)>,
}

impl Idle {
    /// A sandbox that was used `now`.
    pub(crate) fn new(timeout: Duration, now: Instant) -> Self {
        Self { timeout, last_use: now, log: None, traffic: None, is_asking: false }
    }

    pub(crate) fn watch_log(&mut self, log: LogWriter) {
        self.log = Some(log);
    }

    /// The sandbox may be unused for another time from here on.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// The sandbox is used `now`.
    pub(crate) fn touch(&mut self, now: Instant) {
        self.last_use = now;
    }

    /// When to look; nothing where no time is that late, or the machine's answer comes first.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        self.last_use.checked_add(self.timeout).filter(|_| !self.is_asking)
    }

    /// The machine is asked for its traffic.
    pub(crate) fn asks(&mut self) {
        self.is_asking = true;
    }

    /// Takes the machine's answer; whether nobody has used the sandbox for as long as its timeout. The
    /// first answer only says where the traffic begins.
    pub(crate) fn is_over_with(&mut self, traffic: Traffic, now: Instant) -> bool {
        self.is_asking = false;
        let Some(before) = self.traffic.replace(traffic) else { return false };
        if before != traffic {
            self.last_use = now;
        }
        self.next_time().is_some_and(|time| time <= now)
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
    fn traffic_since_the_last_look_is_use() {
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        let mut idle = Idle::new(minute, start);
        let bytes = |bytes| Traffic { bytes, receipts: None };
        idle.asks();
        assert_eq!(idle.next_time(), None, "the answer comes first");
        assert!(!idle.is_over_with(bytes(100), start + minute), "traffic of the start is none of the users'");
        assert!(!idle.is_over_with(bytes(101), start + minute));
        assert_eq!(idle.next_time(), Some(start + minute * 2));
        let receipts = Traffic { bytes: 101, receipts: Some((1, 10)) };
        assert!(!idle.is_over_with(receipts, start + minute * 2));
        assert!(idle.is_over_with(receipts, start + minute * 3));
    }

    #[test]
    fn a_timeout_without_end_never_is_over() {
        let mut idle = Idle::new(Duration::MAX, Instant::now());
        assert_eq!(idle.next_time(), None);
        assert!(!idle.is_over(Instant::now(), || false));
    }
}
