//! What is known of a sandbox's health, in the shape of Docker's `State.Health`.

use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::state;

/// The file in a run directory. It is not synced to disk: it does not outlive its host.
const FILE: &str = "health.json";
/// The largest file read, bytes.
const MAX_BYTES: u64 = 1 << 20;
/// How many results are kept: Docker's number.
const KEPT_RESULTS: usize = 5;
/// The most output kept of a check, bytes: Docker's number.
pub(super) const MAX_OUTPUT: usize = 4096;

/// A sandbox's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No check has succeeded yet.
    #[default]
    Starting,
    /// The last checks succeeded.
    Healthy,
    /// So many checks in a row failed as make it so.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A sandbox's health and its last results.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthReport {
    /// The health.
    pub status: HealthStatus,
    /// How many of the last checks in a row failed.
    pub failing_streak: u32,
    /// The last five results, oldest first.
    pub log: Vec<HealthResult>,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthResult {
    /// When it began, RFC 3339.
    pub start: String,
    /// When it ended, RFC 3339.
    pub end: String,
    /// The exit code of its command; 0 and 1 for other checks; -1 for one that took too long.
    pub exit_code: i32,
    /// The beginning of its output.
    pub output: String,
}

impl HealthResult {
    pub(super) fn new(start: SystemTime, end: SystemTime, exit_code: i32, output: String) -> Self {
        let text = |time| humantime::format_rfc3339_nanos(time).to_string();
        Self { start: text(start), end: text(end), exit_code, output }
    }
}

impl HealthReport {
    pub(super) fn push(&mut self, result: HealthResult) {
        if self.log.len() >= KEPT_RESULTS {
            self.log.drain(..=self.log.len() - KEPT_RESULTS);
        }
        self.log.push(result);
    }

    /// Writes the report into a run directory, for others to read.
    pub(crate) fn write(&self, run_dir: &Path) {
        let written = serde_json::to_vec(self).map_err(std::io::Error::other).and_then(|text| {
            let temporary = run_dir.join(".health");
            std::fs::write(&temporary, text)?;
            std::fs::rename(&temporary, run_dir.join(FILE))
        });
        if let Err(error) = written {
            tracing::warn!(%error, "the sandbox's health is not written");
        }
    }

    /// Removes the report from a run directory: nothing is checked there any more.
    pub(crate) fn remove(run_dir: &Path) {
        match std::fs::remove_file(run_dir.join(FILE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the sandbox's health is still written down");
            }
            _ => {}
        }
    }

    /// The report in a run directory, if there is one.
    pub(crate) fn read(run_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&state::read_bounded(&run_dir.join(FILE), MAX_BYTES).ok()?).ok()
    }
}
