//! Restart policies: `no`, `on-failure[:N]`, `always`, `unless-stopped`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ParseError;

/// When a sandbox is started again after its command has ended.
///
/// A sandbox that the user stopped is never started again by its policy, except that `Always` starts
/// it with the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When the exit code is not 0.
    OnFailure {
        /// The most restarts after one start by the user; without a limit when absent.
        max_retries: Option<u32>,
    },
    /// Always; also with the machine (`monocore self start-on-boot`).
    Always,
    /// Always; also with the machine, unless the user had stopped it.
    UnlessStopped,
}

/// Reads a restart policy as Docker writes it.
///
/// # Errors
/// Another text, or a number of retries on a policy that has none.
pub fn parse_restart(text: &str) -> Result<RestartPolicy, ParseError> {
    let problem = |problem| ParseError::new(text, problem);
    let (name, retries) = text.split_once(':').map_or((text, None), |(name, n)| (name, Some(n)));
    let policy = match name {
        "no" | "" => RestartPolicy::No,
        "on-failure" => RestartPolicy::OnFailure { max_retries: None },
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        _ => return Err(problem("give no, on-failure[:N], always or unless-stopped")),
    };
    match (policy, retries) {
        (_, None) => Ok(policy),
        (RestartPolicy::OnFailure { .. }, Some(retries)) => {
            let retries: u32 = retries
                .parse()
                .map_err(|_| problem("give the most retries as a number, such as on-failure:3"))?;
            // Docker's 0 means no limit.
            Ok(RestartPolicy::OnFailure { max_retries: (retries > 0).then_some(retries) })
        }
        (_, Some(_)) => Err(problem("only on-failure has a number of retries")),
    }
}

impl RestartPolicy {
    /// The policy's name in Docker, without the number of retries.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure { .. } => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse_restart(text)
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnFailure { max_retries: Some(retries) } => write!(f, "on-failure:{retries}"),
            other => f.write_str(other.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_and_written_as_docker_writes_them() {
        for text in ["no", "on-failure", "on-failure:3", "always", "unless-stopped"] {
            assert_eq!(parse_restart(text).unwrap().to_string(), text);
        }
        assert_eq!(parse_restart(""), Ok(RestartPolicy::No));
        assert_eq!(parse_restart("on-failure:0"), parse_restart("on-failure"));
        for bad in
            ["never", "always:3", "on-failure:", "on-failure:-1", "on-failure:x", "no:1", "unless-stopped:1"]
        {
            assert!(parse_restart(bad).is_err(), "{bad}");
        }
    }
}
