//! How the health of a service is found out.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::serial;
use crate::spec::{HealthSpec, HealthTest};

/// A health check; what is absent comes from the image, else from Docker's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(default)]
pub struct Healthcheck {
    /// A line for `/bin/sh -c`, or a list: `["CMD", …]`, `["CMD-SHELL", line]`, `["HTTP", "PORT/PATH"]`,
    /// `["TCP", "PORT"]`, `["NONE"]`; the image's check when there is none.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_test")]
    #[schemars(with = "String")]
    pub test: Option<HealthTest>,
    /// Time between two checks.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serial::optional_duration")]
    #[schemars(with = "String")]
    pub interval: Option<Duration>,
    /// Time after which a check that has not ended has failed.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serial::optional_duration")]
    #[schemars(with = "String")]
    pub timeout: Option<Duration>,
    /// Failures in a row that make the service unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Time after the start in which failures do not count.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serial::optional_duration")]
    #[schemars(with = "String")]
    pub start_period: Option<Duration>,
    /// Time between two checks within `start_period`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serial::optional_duration")]
    #[schemars(with = "String")]
    pub start_interval: Option<Duration>,
}

impl Healthcheck {
    /// The check in a sandbox's description.
    pub(super) fn spec(&self) -> HealthSpec {
        HealthSpec {
            test: self.test.clone(),
            interval: self.interval,
            timeout: self.timeout,
            retries: self.retries,
            start_period: self.start_period,
            start_interval: self.start_interval,
        }
    }
}

/// A shell line as text, everything else as a list whose first word says what it is.
#[expect(clippy::ref_option, reason = "serde calls it with the field as it is")]
fn write_test<S: Serializer>(test: &Option<HealthTest>, serializer: S) -> Result<S::Ok, S::Error> {
    let list = |first: &str, rest: &[String]| {
        std::iter::once(first.to_owned()).chain(rest.iter().cloned()).collect::<Vec<_>>()
    };
    match test {
        None => serializer.serialize_none(),
        Some(HealthTest::Shell(line)) => serializer.serialize_str(line),
        Some(HealthTest::None) => serializer.collect_seq(list("NONE", &[])),
        Some(HealthTest::Command(words)) => serializer.collect_seq(list("CMD", words)),
        Some(HealthTest::Http { port, path }) => {
            serializer.collect_seq(list("HTTP", &[format!("{port}{path}")]))
        }
        Some(HealthTest::Tcp { port }) => serializer.collect_seq(list("TCP", &[port.to_string()])),
    }
}
