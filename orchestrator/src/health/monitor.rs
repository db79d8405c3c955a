//! The health checks of one running machine: when the next one is due and what the last ones say.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant, SystemTime};

use monocore_protocol::Exec;

use super::check::HealthCheck;
use super::probe::{Probe, Verdict};
use super::report::{HealthReport, HealthResult, HealthStatus};
use crate::session::Session;

/// Docker's exit code of a check that took too long.
const TOOK_TOO_LONG: i32 = -1;

/// The health checks of one running machine.
#[derive(Debug)]
pub(crate) struct HealthMonitor {
    check: HealthCheck,
    started: Instant,
    /// When the next check begins.
    next: Instant,
    running: Option<Running>,
    report: HealthReport,
}

/// A check under way.
#[derive(Debug)]
struct Running {
    probe: Probe,
    began: Instant,
    began_at: SystemTime,
    /// When it has taken too long.
    until: Instant,
}

impl HealthMonitor {
    /// Begins to check a command that runs since `now`.
    pub(crate) fn new(check: HealthCheck, now: Instant) -> Self {
        let mut monitor =
            Self { check, started: now, next: now, running: None, report: HealthReport::default() };
        monitor.next = after(now, monitor.pause(now));
        monitor
    }

    /// Checks by `check` from here on a command that runs since `started`. What is known counts on if the test is the same.
    pub(crate) fn with(self, check: HealthCheck, started: Instant) -> Self {
        let report =
            if check.test == self.check.test { self.report.clone() } else { HealthReport::default() };
        self.give_up();
        let mut monitor = Self { report, ..Self::new(check, started) };
        monitor.next = after(started, monitor.pause(started));
        monitor
    }

    /// Gives up the check that is under way.
    pub(crate) fn give_up(self) {
        if let Some(running) = self.running {
            running.probe.abandon();
        }
    }

    pub(crate) fn report(&self) -> &HealthReport {
        &self.report
    }

    pub(crate) fn into_report(self) -> HealthReport {
        self.report
    }

    /// What wakes the check that is under way.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.running.as_ref().map(|running| running.probe.fds()).unwrap_or_default()
    }

    /// When [`Self::advance`] must be called though nothing happens.
    pub(crate) fn next_time(&self) -> Instant {
        match &self.running {
            Some(running) => running.probe.next_time().map_or(running.until, |time| time.min(running.until)),
            None => self.next,
        }
    }

    /// Takes in what a check says, and begins the next one when it is due; true if the report
    /// changed. `main` is what the check's command is like.
    pub(crate) fn advance(&mut self, session: &Session, main: &Exec, now: Instant) -> bool {
        if let Some(mut running) = self.running.take() {
            let verdict = match running.probe.advance(now) {
                Some(verdict) => verdict,
                None if now >= running.until => {
                    running.probe.abandon();
                    let limit = humantime::format_duration(self.check.timeout);
                    Verdict {
                        code: TOOK_TOO_LONG,
                        output: format!("Health check exceeded timeout ({limit})"),
                    }
                }
                None => {
                    self.running = Some(running);
                    return false;
                }
            };
            self.take(&running, verdict, now);
            return true;
        }
        if now >= self.next {
            let (began_at, until) = (SystemTime::now(), after(now, self.check.timeout));
            let probe = Probe::start(&self.check.test, session, main);
            self.running = Some(Running { probe, began: now, began_at, until });
        }
        false
    }

    /// Gives up the check that is under way; the next one begins an interval after `now`.
    pub(crate) fn hold(&mut self, now: Instant) {
        if let Some(running) = self.running.take() {
            running.probe.abandon();
        }
        self.next = after(now, self.pause(now));
    }

    fn take(&mut self, running: &Running, verdict: Verdict, now: Instant) {
        let code = verdict.code;
        self.judge(code == 0, running.began);
        self.report.push(HealthResult::new(running.began_at, SystemTime::now(), code, verdict.output));
        self.next = after(now, self.pause(now));
    }

    /// Counts a result of a check that began at `began`.
    fn judge(&mut self, success: bool, began: Instant) {
        let report = &mut self.report;
        if success {
            report.failing_streak = 0;
            report.status = HealthStatus::Healthy;
            return;
        }
        let starting = report.status == HealthStatus::Starting;
        if starting && began.saturating_duration_since(self.started) < self.check.start_period {
            return;
        }
        report.failing_streak = report.failing_streak.saturating_add(1);
        if report.failing_streak >= self.check.retries {
            report.status = HealthStatus::Unhealthy;
        }
    }

    /// The time until the next check.
    fn pause(&self, now: Instant) -> Duration {
        let starting = self.report.status == HealthStatus::Starting;
        if starting && now.saturating_duration_since(self.started) < self.check.start_period {
            self.check.start_interval
        } else {
            self.check.interval
        }
    }
}

/// A century later where the time does not fit.
fn after(now: Instant, pause: Duration) -> Instant {
    now.checked_add(pause).unwrap_or_else(|| now + Duration::from_secs(100 * 366 * 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::HealthTest;

    fn monitor(start_period_s: u64, now: Instant) -> HealthMonitor {
        let seconds = Duration::from_secs;
        let check = HealthCheck {
            test: HealthTest::Tcp { port: 80 },
            interval: seconds(30),
            timeout: seconds(10),
            retries: 3,
            start_period: seconds(start_period_s),
            start_interval: seconds(5),
        };
        HealthMonitor::new(check, now)
    }

    #[test]
    fn three_failures_in_a_row_are_unhealthy_and_one_success_heals() {
        let now = Instant::now();
        let mut monitor = monitor(0, now);
        assert_eq!(monitor.next_time(), now + Duration::from_secs(30));
        let mut seen = Vec::new();
        for success in [false, false, true, false, false, false, false, true] {
            monitor.judge(success, now);
            seen.push((monitor.report.status.name(), monitor.report.failing_streak));
        }
        let expected = [
            ("starting", 1),
            ("starting", 2),
            ("healthy", 0),
            ("healthy", 1),
            ("healthy", 2),
            ("unhealthy", 3),
            ("unhealthy", 4),
            ("healthy", 0),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn failures_in_the_start_period_do_not_count_until_a_success() {
        let now = Instant::now();
        let mut monitor = monitor(60, now);
        assert_eq!(monitor.next_time(), now + Duration::from_secs(5));
        for _ in 0..10 {
            monitor.judge(false, now + Duration::from_secs(59));
        }
        assert_eq!(monitor.report, HealthReport::default());
        monitor.judge(false, now + Duration::from_secs(60));
        assert_eq!(monitor.report.failing_streak, 1);
        monitor.judge(true, now);
        assert_eq!(
            monitor.pause(now),
            Duration::from_secs(30),
            "the start period ends with the first success"
        );
        (0..3).for_each(|_| monitor.judge(false, now));
        assert_eq!(monitor.report.status, HealthStatus::Unhealthy);
    }

    #[test]
    fn the_last_five_results_are_kept() {
        let mut report = HealthReport::default();
        for code in 0..9 {
            report.push(HealthResult::new(SystemTime::now(), SystemTime::now(), code, String::new()));
        }
        assert_eq!(report.log.iter().map(|result| result.exit_code).collect::<Vec<_>>(), [4, 5, 6, 7, 8]);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["Status"], &json["FailingStreak"]), (&"starting".into(), &0.into()));
        assert_eq!(json["Log"][4]["ExitCode"], 8);
    }
}
