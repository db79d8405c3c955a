//! The flags of `run` and `create` about a sandbox's life: restarts, health, time limits.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use monocore_orchestrator::spec::{self, HealthSpec, HealthTest, LimitsSpec, RestartPolicy};

/// The shortest interval or timeout of a health check, as in Docker.
const SHORTEST: Duration = Duration::from_millis(1);

/// The flags about a sandbox's life.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Life")]
pub(super) struct LifeArgs {
    /// When to start the sandbox again after its command has ended: no, on-failure or on-failure:N, always, unless-stopped
    #[arg(long, value_name = "POLICY", default_value = "no", value_parser = spec::parse_restart)]
    restart: RestartPolicy,
    /// Stop the sandbox when nobody has used it for this long
    #[arg(long, value_name = "DURATION", value_parser = spec::parse_duration)]
    idle_timeout: Option<Duration>,
    /// Stop the sandbox this long after its start, restarts included (exit status 124)
    #[arg(long, value_name = "DURATION", value_parser = spec::parse_duration)]
    max_duration: Option<Duration>,
    /// Check health by a shell command in the sandbox: healthy if it ends with 0
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Check health by a GET request to a port of the sandbox: healthy if the status is 200 to 399
    #[arg(long, value_name = "PORT[/PATH]", value_parser = spec::parse_health_http)]
    health_http: Option<HealthTest>,
    /// Check health by a connection to a port of the sandbox
    #[arg(long, value_name = "PORT", value_parser = spec::parse_health_tcp)]
    health_tcp: Option<HealthTest>,
    /// Time between two health checks [default: the image's, else 30s]
    #[arg(long, value_name = "DURATION", value_parser = spec::parse_duration)]
    health_interval: Option<Duration>,
    /// A health check that takes longer has failed [default: the image's, else 30s]
    #[arg(long, value_name = "DURATION", value_parser = spec::parse_duration)]
    health_timeout: Option<Duration>,
    /// Failed checks in a row that make the sandbox unhealthy [default: the image's, else 3]
    #[arg(long, value_name = "N")]
    health_retries: Option<u32>,
    /// Failed checks this long after the start do not count [default: the image's, else 0s]
    #[arg(long, value_name = "DURATION", value_parser = spec::parse_duration)]
    health_start_period: Option<Duration>,
    /// Time between two health checks in the start period [default: the image's, else 5s]
    #[arg(long, value_name = "DURATION", value_parser = spec::parse_duration)]
    health_start_interval: Option<Duration>,
    /// Do not check health, whatever the image says
    #[arg(long)]
    no_healthcheck: bool,
}

impl LifeArgs {
    /// The restart policy.
    ///
    /// # Errors
    /// It fits no sandbox that is removed when it ends.
    pub(super) fn restart(&self, is_removed: bool) -> anyhow::Result<RestartPolicy> {
        if is_removed && self.restart != RestartPolicy::No {
            bail!("--restart: conflicting options: --restart and --rm");
        }
        Ok(self.restart)
    }

    pub(super) fn limits(&self) -> LimitsSpec {
        LimitsSpec { idle_timeout: self.idle_timeout, max_duration: self.max_duration }
    }

    /// The health check, or nothing where the flags say nothing about it.
    ///
    /// # Errors
    /// Flags that exclude each other, or a time below a millisecond.
    pub(super) fn health(&self) -> anyhow::Result<Option<HealthSpec>> {
        let shell = self.health_cmd.clone().filter(|line| !line.is_empty()).map(HealthTest::Shell);
        let mut tests = [shell, self.health_http.clone(), self.health_tcp.clone()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        if tests.len() > 1 {
            bail!("--health-cmd, --health-http, --health-tcp: give one of them");
        }
        for (flag, time) in [
            ("interval", self.health_interval),
            ("timeout", self.health_timeout),
            ("start-period", self.health_start_period),
            ("start-interval", self.health_start_interval),
        ] {
            // As in Docker, 0 stands for the image's value or the default.
            if time.is_some_and(|time| !time.is_zero() && time < SHORTEST) {
                bail!("--health-{flag}: at least 1ms");
            }
        }
        let set = |time: Option<Duration>| time.filter(|time| !time.is_zero());
        let health = HealthSpec {
            test: tests.pop(),
            interval: set(self.health_interval),
            timeout: set(self.health_timeout),
            retries: self.health_retries.filter(|retries| *retries > 0),
            start_period: set(self.health_start_period),
            start_interval: set(self.health_start_interval),
        };
        match (self.no_healthcheck, health == HealthSpec::default()) {
            (true, true) => Ok(Some(HealthSpec { test: Some(HealthTest::None), ..health })),
            (true, false) => bail!("--no-healthcheck: conflicts with --health-* options"),
            (false, true) => Ok(None),
            (false, false) => Ok(Some(health)),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct TestCli {
        #[command(flatten)]
        life: LifeArgs,
    }

    fn args(words: &[&str]) -> LifeArgs {
        TestCli::try_parse_from([&["run"], words].concat()).unwrap().life
    }

    #[test]
    fn health_flags_become_a_check() {
        assert_eq!(args(&[]).health().unwrap(), None);
        let shell = args(&["--health-cmd", "exit 0", "--health-interval", "2s", "--health-retries", "5"]);
        let shell = shell.health().unwrap().unwrap();
        assert_eq!(shell.test, Some(HealthTest::Shell("exit 0".into())));
        assert_eq!((shell.interval, shell.retries), (Some(Duration::from_secs(2)), Some(5)));
        assert_eq!((shell.timeout, shell.start_period), (None, None));
        let http = args(&["--health-http", "80/up"]).health().unwrap().unwrap();
        assert_eq!(http.test, Some(HealthTest::Http { port: 80, path: "/up".into() }));
        let interval = args(&["--health-interval", "1s", "--health-timeout", "0"]).health().unwrap().unwrap();
        assert_eq!((interval.test, interval.timeout), (None, None), "the image's test; 0 says nothing");
        let none = args(&["--no-healthcheck"]).health().unwrap().unwrap();
        assert_eq!(none.test, Some(HealthTest::None));
        for bad in [
            &["--no-healthcheck", "--health-cmd", "true"][..],
            &["--health-cmd", "true", "--health-tcp", "80"],
        ] {
            assert!(args(bad).health().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn restarts_and_limits_are_read() {
        let life = args(&["--restart", "on-failure:2", "--idle-timeout", "5m", "--max-duration", "1h"]);
        assert_eq!(life.restart(false).unwrap(), RestartPolicy::OnFailure { max_retries: Some(2) });
        let error = life.restart(true).unwrap_err().to_string();
        assert!(error.contains("--restart and --rm"), "{error}");
        assert_eq!(args(&["--rm"; 0]).restart(true).unwrap(), RestartPolicy::No);
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(
            (life.limits().idle_timeout, life.limits().max_duration),
            (Some(Duration::from_secs(300)), hour)
        );
    }
}
