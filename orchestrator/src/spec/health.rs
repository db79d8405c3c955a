//! Health checks: a command in the guest, an HTTP request or a TCP connection to one of its ports.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ParseError, serial};

/// The longest path of an HTTP check, bytes.
const MAX_PATH: usize = 2048;

/// How it is found out whether a sandbox is healthy. What is absent comes from the image's
/// HEALTHCHECK; where the image says nothing either, Docker's defaults apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSpec {
    /// What is tried.
    pub test: Option<HealthTest>,
    /// From the end of one check to the beginning of the next; 30 s by default.
    #[serde(with = "serial::optional_milliseconds", rename = "interval_ms")]
    pub interval: Option<Duration>,
    /// A check that takes longer has failed; 30 s by default.
    #[serde(with = "serial::optional_milliseconds", rename = "timeout_ms")]
    pub timeout: Option<Duration>,
    /// So many failures in a row make the sandbox unhealthy; 3 by default.
    pub retries: Option<u32>,
    /// Failures this long after the start do not count; 0 by default.
    #[serde(with = "serial::optional_milliseconds", rename = "start_period_ms")]
    pub start_period: Option<Duration>,
    /// The interval during the start period; 5 s by default.
    #[serde(with = "serial::optional_milliseconds", rename = "start_interval_ms")]
    pub start_interval: Option<Duration>,
}

/// What a health check tries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HealthTest {
    /// Nothing: the image's check is switched off.
    None,
    /// A program and its arguments; healthy if it ends with 0.
    Command(Vec<String>),
    /// A line for the guest's `/bin/sh -c`; healthy if it ends with 0.
    Shell(String),
    /// A GET request to a port of the guest; healthy if the status is 200 to 399.
    Http {
        /// The port on the guest's loopback interface.
        port: u16,
        /// The path and query, beginning with a slash.
        path: String,
    },
    /// A connection to a port of the guest; healthy if it is accepted.
    Tcp {
        /// The port on the guest's loopback interface.
        port: u16,
    },
}

/// Reads `PORT/PATH` or `PORT` for an HTTP check.
///
/// # Errors
/// No port from 1 to 65535, or a path with spaces or control characters.
pub fn parse_health_http(text: &str) -> Result<HealthTest, ParseError> {
    let (port, path) = text.split_once('/').unwrap_or((text, ""));
    let port = parse_port(text, port)?;
    let path = format!("/{path}");
    // The path goes into a request line as it is.
    if path.len() > MAX_PATH || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ParseError::new(text, "a path is printable ASCII without spaces"));
    }
    Ok(HealthTest::Http { port, path })
}

/// Reads the port of a TCP check.
///
/// # Errors
/// Anything but a number from 1 to 65535.
pub fn parse_health_tcp(text: &str) -> Result<HealthTest, ParseError> {
    Ok(HealthTest::Tcp { port: parse_port(text, text)? })
}

fn parse_port(text: &str, port: &str) -> Result<u16, ParseError> {
    match port.parse() {
        Ok(port @ 1..) => Ok(port),
        _ => Err(ParseError::new(text, "give a port from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_paths_are_read() {
        let http = |port, path: &str| Ok(HealthTest::Http { port, path: path.to_owned() });
        assert_eq!(parse_health_http("80/health?x=1"), http(80, "/health?x=1"));
        assert_eq!(parse_health_http("8080"), http(8080, "/"));
        assert_eq!(parse_health_http("80/a/b"), http(80, "/a/b"));
        for bad in ["", "/x", "0/x", "65536/", "80/a b", "80/a\r\nX: y", "80/ä"] {
            assert!(parse_health_http(bad).is_err(), "{bad:?}");
        }
        assert_eq!(parse_health_tcp("5432"), Ok(HealthTest::Tcp { port: 5432 }));
        for bad in ["", "0", "x", "80/"] {
            assert!(parse_health_tcp(bad).is_err(), "{bad:?}");
        }
    }
}
