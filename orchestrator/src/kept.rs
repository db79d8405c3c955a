//! `sandboxes/<id>/`: sandboxes that are kept after their command has ended, with their disk and logs.
//!
//! `sandbox.json` says what the sandbox is; only `rename` and `update` write it anew. `state.json` says how it is and is written whole at
//! every change. Only the holder of the sandbox's run directory, or of the registry's lock while nobody holds one,
//! writes the state.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::home::make_private_dir;
use crate::id::SandboxId;
use crate::spec::SandboxSpec;
use crate::{Error, HealthReport, Home, state};

const RECORD: &str = "sandbox.json";
const STATE: &str = "state.json";
const DISK: &str = "disk.img";
const LOG: &str = "log";
/// The largest record read, bytes.
const MAX_RECORD: u64 = 4 << 20;
const RECORD_VERSION: u32 = 1;

/// What a kept sandbox is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptRecord {
    /// The version of this record.
    pub version: u32,
    /// The sandbox's identity.
    pub id: String,
    /// The sandbox's name.
    pub name: String,
    /// The image as the user wrote it, or the root directory.
    pub root: String,
    /// The digest of the image's configuration: the sandbox keeps this image, whatever its name leads to later.
    pub image: Option<String>,
    /// The command line, for listings.
    pub command: Vec<String>,
    /// The sandbox is removed when its command ends.
    pub auto_remove: bool,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// What the user asked for.
    pub spec: SandboxSpec,
}

/// How a kept sandbox is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxState {
    /// What it does.
    pub status: SandboxStatus,
    /// What its command ended with, the last time it ran.
    pub exit_code: Option<u8>,
    /// Why it could not be started or came to a sudden end.
    pub error: Option<String>,
    /// When it was started the last time, milliseconds since 1970.
    pub started_ms: Option<u64>,
    /// When it ended the last time, milliseconds since 1970.
    pub finished_ms: Option<u64>,
    /// The supervisor's process, to show; never a way to find it.
    pub pid: Option<u32>,
    /// How often its restart policy has started it again since the user started it.
    pub restart_count: u32,
    /// The user stopped it, or a limit on its life did: `unless-stopped` leaves it so.
    pub is_stopped: bool,
    /// Its health, if it is checked.
    pub health: Option<HealthReport>,
    /// The guest's kernel ended a process of the last run because memory was out.
    pub oom_killed: bool,
}

/// What a sandbox does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxStatus {
    /// It has not run yet.
    #[default]
    Created,
    /// Its command runs.
    Running,
    /// Its command has ended and is about to be started again.
    Restarting,
    /// Its machine stands still. Listings show it; it is never written down.
    Paused,
    /// It has ended.
    Exited,
}

impl SandboxStatus {
    /// Docker's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Paused => "paused",
            Self::Exited => "exited",
        }
    }
}

/// A kept sandbox's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSandbox {
    path: PathBuf,
    record: KeptRecord,
}

impl KeptSandbox {
    /// Writes a new sandbox down. The caller holds the registry's lock and has checked id and name.
    ///
    /// # Errors
    /// The directory or a record cannot be written.
    pub(crate) fn write(home: &Home, record: KeptRecord) -> Result<Self, Error> {
        let path = home.sandboxes().join(&record.id);
        make_private_dir(&path)?;
        let kept = Self { path, record };
        // The record comes last: a directory without one is half made, and the next command removes it.
        kept.write_state(&SandboxState::default())?;
        let text = serde_json::to_vec_pretty(&kept.record).map_err(|error| kept.damaged(RECORD, &error))?;
        state::write_whole(&kept.path.join(RECORD), &text)?;
        Ok(kept)
    }

    /// Reads the sandbox with this id.
    ///
    /// # Errors
    /// [`Error::NoSandbox`] when there is none; else its record cannot be read.
    pub(crate) fn open(home: &Home, id: &SandboxId) -> Result<Self, Error> {
        let path = home.sandboxes().join(id.as_str());
        let file = path.join(RECORD);
        let problem = |problem: String| Error::Record { path: file.clone(), problem };
        let text = match state::read_bounded(&file, MAX_RECORD) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoSandbox(id.as_str().to_owned()));
            }
            other => other.map_err(Error::file("read", &file))?,
        };
        let record: KeptRecord = serde_json::from_slice(&text).map_err(|error| problem(error.to_string()))?;
        if record.version != RECORD_VERSION || record.id != id.as_str() {
            return Err(problem("it was written by another version of monocore, or moved".to_owned()));
        }
        Ok(Self { path, record })
    }

    /// What the sandbox is.
    #[must_use]
    pub fn record(&self) -> &KeptRecord {
        &self.record
    }

    /// How the sandbox is, as it was last written down.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn state(&self) -> Result<SandboxState, Error> {
        let file = self.path.join(STATE);
        let text = state::read_bounded(&file, MAX_RECORD).map_err(Error::file("read", &file))?;
        serde_json::from_slice(&text).map_err(|error| self.damaged(STATE, &error))
    }

    /// Writes down how the sandbox is.
    ///
    /// # Errors
    /// The file cannot be written; the old one is untouched.
    pub(crate) fn write_state(&self, state: &SandboxState) -> Result<(), Error> {
        let text = serde_json::to_vec(state).map_err(|error| self.damaged(STATE, &error))?;
        state::write_whole(&self.path.join(STATE), &text)
    }

    /// Writes down what the sandbox is anew; the old record is untouched where that fails.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn rewrite(&mut self, record: KeptRecord) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(&record).map_err(|error| self.damaged(RECORD, &error))?;
        state::write_whole(&self.path.join(RECORD), &text)?;
        self.record = record;
        Ok(())
    }

    /// The file behind the disk that takes what the sandbox writes to its root.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.path.join(DISK)
    }

    /// The directory of its logs.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Removes the directory. A crash in between leaves one without a record, which counts as removed.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        let record = self.path.join(RECORD);
        std::fs::remove_file(&record).map_err(Error::file("remove", &record))?;
        std::fs::remove_dir_all(&self.path).map_err(Error::file("remove", &self.path))
    }

    fn damaged(&self, file: &str, error: &serde_json::Error) -> Error {
        Error::Record { path: self.path.join(file), problem: error.to_string() }
    }
}

impl KeptRecord {
    /// The record of a new sandbox.
    pub(crate) fn new(id: &SandboxId, name: String, made: NewSandbox) -> Self {
        let NewSandbox { spec, root, image, command, auto_remove } = made;
        Self {
            version: RECORD_VERSION,
            id: id.as_str().to_owned(),
            name,
            root,
            image,
            command,
            auto_remove,
            created_ms: now_ms(),
            spec,
        }
    }
}

/// What is needed to write a new sandbox down.
#[derive(Clone, Debug)]
pub(crate) struct NewSandbox {
    /// What the user asked for.
    pub spec: SandboxSpec,
    /// The image as the user wrote it, or the root directory.
    pub root: String,
    /// The digest of the image's configuration.
    pub image: Option<String>,
    /// The command line, for listings.
    pub command: Vec<String>,
    /// The sandbox is removed when its command ends.
    pub auto_remove: bool,
}

/// Whether `dir`, below `sandboxes/`, is a sandbox and not the rest of one.
pub(crate) fn is_whole(dir: &Path) -> bool {
    dir.join(RECORD).exists()
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
