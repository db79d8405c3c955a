//! The output of a sandbox.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which part of a log is sent, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Goes on until the sandbox ends.
    pub follow: bool,
    /// `all` (the default), or the number of last lines.
    pub tail: Option<String>,
    /// Only lines from then on: a time such as `2026-11-30T04:41:00Z`, or how long ago, such as
    /// `10m`.
    pub since: Option<String>,
}

/// Which of the command's streams was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogStreamName {
    /// Standard output, and everything under a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of output, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// The text, with its newline unless more of the line follows. Absent if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The bytes as base64, where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// Where it was written to.
    pub stream: LogStreamName,
    /// When it arrived (RFC 3339).
    pub time: String,
}
