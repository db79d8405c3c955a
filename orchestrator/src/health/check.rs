//! What is checked and how often: the user's wishes over the image's HEALTHCHECK.

use std::time::Duration;

use monocore_oci::Healthcheck;

use crate::spec::{HealthSpec, HealthTest};

/// Docker's time between two checks, and the time that a check may take.
const INTERVAL: Duration = Duration::from_secs(30);
/// Docker's time between two checks in the start period.
const START_INTERVAL: Duration = Duration::from_secs(5);
/// Docker's number of failures that make a sandbox unhealthy.
const RETRIES: u32 = 3;
/// The shortest time between two checks, whatever an image says.
const SHORTEST: Duration = Duration::from_millis(1);

/// A health check with nothing left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthCheck {
    /// Never [`HealthTest::None`].
    pub(super) test: HealthTest,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) retries: u32,
    pub(super) start_period: Duration,
    pub(super) start_interval: Duration,
}

impl HealthCheck {
    /// The check that `spec` and the image ask for together, if any.
    pub(crate) fn resolve(spec: Option<&HealthSpec>, image: Option<&Healthcheck>) -> Option<Self> {
        let none = HealthSpec::default();
        let spec = spec.unwrap_or(&none);
        let test = spec.test.clone().or_else(|| image.and_then(image_test))?;
        if test == HealthTest::None {
            return None;
        }
        let ours = |of_image: fn(&Healthcheck) -> u64| {
            let ns = image.map(of_image).filter(|ns| *ns > 0);
            ns.map(|ns| Duration::from_nanos(ns).max(SHORTEST))
        };
        let time = |own: Option<Duration>, of_image, usual| own.or_else(|| ours(of_image)).unwrap_or(usual);
        let retries = spec.retries.or_else(|| image.map(|image| image.retries)).filter(|n| *n > 0);
        Some(Self {
            test,
            interval: time(spec.interval, |image| image.interval_ns, INTERVAL).max(SHORTEST),
            timeout: time(spec.timeout, |image| image.timeout_ns, INTERVAL).max(SHORTEST),
            retries: retries.unwrap_or(RETRIES),
            start_period: time(spec.start_period, |image| image.start_period_ns, Duration::ZERO),
            start_interval: time(spec.start_interval, |image| image.start_interval_ns, START_INTERVAL)
                .max(SHORTEST),
        })
    }
}

/// The image's test, as Docker reads it; a form that Docker does not know is no test.
fn image_test(image: &Healthcheck) -> Option<HealthTest> {
    let (kind, words) = image.test.split_first()?;
    match (kind.as_str(), words) {
        ("NONE", _) => Some(HealthTest::None),
        ("CMD", [_, ..]) => Some(HealthTest::Command(words.to_vec())),
        ("CMD-SHELL", [line, ..]) => Some(HealthTest::Shell(line.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(test: &[&str]) -> Healthcheck {
        Healthcheck {
            test: test.iter().map(|word| (*word).to_owned()).collect(),
            interval_ns: 7_000_000_000,
            retries: 9,
            ..Healthcheck::default()
        }
    }

    #[test]
    fn the_images_check_counts_where_the_user_says_nothing() {
        let check = HealthCheck::resolve(None, Some(&image(&["CMD", "probe", "-x"]))).unwrap();
        assert_eq!(check.test, HealthTest::Command(vec!["probe".into(), "-x".into()]));
        assert_eq!((check.interval, check.retries), (Duration::from_secs(7), 9));
        assert_eq!((check.timeout, check.start_period), (INTERVAL, Duration::ZERO));
        let own =
            HealthSpec { retries: Some(1), timeout: Some(Duration::from_secs(2)), ..Default::default() };
        let check = HealthCheck::resolve(Some(&own), Some(&image(&["CMD-SHELL", "true"]))).unwrap();
        assert_eq!((check.test, check.retries), (HealthTest::Shell("true".into()), 1));
        assert_eq!((check.interval, check.timeout), (Duration::from_secs(7), Duration::from_secs(2)));
    }

    #[test]
    fn no_check_is_made_of_none_or_nonsense() {
        for test in [&["NONE"][..], &[], &["CMD"], &["CMD-SHELL"], &["WHAT", "x"]] {
            assert_eq!(HealthCheck::resolve(None, Some(&image(test))), None, "{test:?}");
        }
        assert_eq!(HealthCheck::resolve(None, None), None);
        assert_eq!(HealthCheck::resolve(Some(&HealthSpec::default()), None), None);
        let off = HealthSpec { test: Some(HealthTest::None), ..Default::default() };
        assert_eq!(HealthCheck::resolve(Some(&off), Some(&image(&["CMD", "true"]))), None);
    }

    #[test]
    fn an_image_cannot_ask_for_a_check_without_a_pause() {
        let busy = Healthcheck { interval_ns: 1, start_interval_ns: 1, ..image(&["CMD", "true"]) };
        let check = HealthCheck::resolve(None, Some(&busy)).unwrap();
        assert_eq!((check.interval, check.start_interval), (SHORTEST, SHORTEST));
        let own = HealthSpec { interval: Some(Duration::ZERO), ..Default::default() };
        assert_eq!(HealthCheck::resolve(Some(&own), Some(&busy)).unwrap().interval, SHORTEST);
    }
}
