//! When a sandbox is started again, and after how long: Docker's rules.
//!
//! All times are of the monotonic clock: setting the wall clock neither causes nor prevents a restart.

use std::time::Duration;

use crate::spec::RestartPolicy;

/// The first delay.
const FIRST: Duration = Duration::from_millis(100);
/// The longest delay.
const LONGEST: Duration = Duration::from_secs(60);
/// A command that ran this long resets the delay.
const STEADY: Duration = Duration::from_secs(10);

/// The restarts of one sandbox since the user started it.
#[derive(Debug)]
pub(crate) struct Restarts {
    policy: RestartPolicy,
    count: u32,
    delay: Option<Duration>,
}

impl Restarts {
    pub(crate) fn new(policy: RestartPolicy) -> Self {
        Self { policy, count: 0, delay: None }
    }

    /// Follows another policy from here on.
    pub(crate) fn set_policy(&mut self, policy: RestartPolicy) {
        self.policy = policy;
    }

    /// How often the sandbox was started again.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The delay until the next start of a sandbox that nobody stopped and whose command ended with
    /// `code` after it `ran` so long; nothing if it is not started again.
    pub(crate) fn after(&mut self, code: u8, ran: Duration) -> Option<Duration> {
        let again = match self.policy {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { max_retries } => {
                code != 0 && max_retries.is_none_or(|most| self.count < most)
            }
        };
        if !again {
            return None;
        }
        let earlier = self.delay.filter(|_| ran < STEADY);
        let delay = earlier.map_or(FIRST, |delay| (delay * 2).min(LONGEST));
        self.delay = Some(delay);
        self.count = self.count.saturating_add(1);
        #[cfg(feature = "testing")]
        if crate::testing::is_without_delay() {
            return Some(Duration::ZERO);
        }
        Some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIEFLY: Duration = Duration::from_millis(5);

    #[test]
    fn delays_double_up_to_a_minute_and_begin_anew_after_a_steady_run() {
        let mut restarts = Restarts::new(RestartPolicy::Always);
        let delays: Vec<_> = (0..12).map(|_| restarts.after(1, BRIEFLY).unwrap().as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        assert_eq!(restarts.after(0, STEADY), Some(FIRST));
        assert_eq!(restarts.after(0, BRIEFLY), Some(FIRST * 2));
        assert_eq!(restarts.count(), 14);
    }

    #[test]
    fn failures_are_retried_so_often_and_success_is_not() {
        let mut restarts = Restarts::new(RestartPolicy::OnFailure { max_retries: Some(2) });
        assert_eq!(restarts.after(0, BRIEFLY), None);
        assert!(restarts.after(1, BRIEFLY).is_some() && restarts.after(137, STEADY).is_some());
        assert_eq!(restarts.after(1, BRIEFLY), None, "a steady run does not give back retries");
        assert_eq!(restarts.count(), 2);
        let mut endless = Restarts::new(RestartPolicy::OnFailure { max_retries: None });
        assert!((0..1000).all(|_| endless.after(1, BRIEFLY).is_some()));
        assert_eq!(Restarts::new(RestartPolicy::No).after(1, BRIEFLY), None);
        assert!(Restarts::new(RestartPolicy::UnlessStopped).after(0, BRIEFLY).is_some());
    }
}
