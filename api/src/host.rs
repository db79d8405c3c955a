//! The server and its machine.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Versions of the program and of the guest inside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionInfo {
    /// The program.
    pub monocore: String,
    /// The API: `v1`.
    pub api: String,
    /// The first digits of the guest kernel's hash; absent if none was built in.
    pub kernel: Option<String>,
    /// The same of the guest's init.
    pub init: Option<String>,
    /// `os/arch`.
    pub platform: String,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Sandboxes run, but something is not as it should be.
    Warning,
    /// Sandboxes cannot run.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostCheck {
    /// What was looked at.
    pub name: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found and, unless it is good, what to do.
    pub detail: String,
}

/// Whether the machine can run sandboxes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostReport {
    /// Nothing keeps sandboxes from running.
    pub can_run: bool,
    /// What was looked at.
    pub checks: Vec<HostCheck>,
}

/// Whether the server can serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// `ok`, or why not.
    pub status: String,
}
