//! What happens to sandboxes, as JSON lines in `events/`, in the shape of Docker's events.
//!
//! Whoever acts appends: the supervisor, or the command that makes or removes a sandbox. There is no
//! daemon, so readers look at the file and sleep until it changes (inotify).

mod filter;
mod journal;
mod reader;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use filter::{EventFilter, parse_event_filter};
pub(crate) use journal::Journal;
pub use journal::{Subject, note};
pub use reader::{EventReader, EventStart};

/// One event, as Docker's API has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxEvent {
    /// The action, for programs that know Docker's older shape.
    pub status: String,
    /// The sandbox's id, likewise.
    pub id: String,
    /// The sandbox's image, likewise.
    pub from: String,
    /// Always `container`: Docker's word for what a sandbox is.
    #[serde(rename = "Type")]
    pub kind: String,
    /// What happened: `start`, `die`, `exec_create: COMMAND`, `health_status: healthy`, …
    #[serde(rename = "Action")]
    pub action: String,
    /// To whom.
    #[serde(rename = "Actor")]
    pub actor: EventActor,
    /// Always `local`.
    pub scope: String,
    /// When, seconds since 1970.
    pub time: u64,
    /// When, nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_ns: u64,
}

/// The sandbox that an event happened to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EventActor {
    /// The sandbox's id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its image, name and labels, and what belongs to the event, such as `exitCode`.
    pub attributes: BTreeMap<String, String>,
}

impl SandboxEvent {
    /// When it happened.
    #[must_use]
    pub fn at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.time_ns)
    }

    /// The action without what follows a colon.
    #[must_use]
    pub fn name(&self) -> &str {
        self.action.split_once(':').map_or(&self.action, |(name, _)| name)
    }
}

#[cfg(test)]
mod tests;
