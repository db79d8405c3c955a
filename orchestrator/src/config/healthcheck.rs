//! How the health of a service is found out.

use std::time::Duration;

use serde::ser::SerializeSeq as _;
use serde::{Serialize, Serializer};

use super::serial;

/// A health check; what is absent comes from the image, else from Docker's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Healthcheck {
    /// The command; the image's when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<HealthTest>,
    /// Time between two checks.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serial::optional_duration")]
    pub interval: Option<Duration>,
    /// Time after which a check that has not ended has failed.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serial::optional_duration")]
    pub timeout: Option<Duration>,
    /// Failures in a row that make the service unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Time after the start in which failures do not count.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serial::optional_duration")]
    pub start_period: Option<Duration>,
    /// Time between two checks within `start_period`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serial::optional_duration")]
    pub start_interval: Option<Duration>,
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthTest {
    /// Nothing, even if the image has a check: `["NONE"]`.
    Disabled,
    /// A line for `/bin/sh -c`: a text, or `["CMD-SHELL", line]`.
    Shell(String),
    /// A command and its arguments: `["CMD", …]`.
    Exec(Vec<String>),
}

impl Serialize for HealthTest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Disabled => serializer.collect_seq(["NONE"]),
            Self::Shell(line) => serializer.serialize_str(line),
            Self::Exec(words) => {
                let mut list = serializer.serialize_seq(Some(words.len() + 1))?;
                list.serialize_element("CMD")?;
                for word in words {
                    list.serialize_element(word)?;
                }
                list.end()
            }
        }
    }
}
