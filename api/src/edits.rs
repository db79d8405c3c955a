//! Changes of sandboxes that exist, and what is inside of them.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::TextOrNumber;

/// What is changed of a sandbox; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"name": "web", "memory": "1g"}))]
pub struct UpdateSandbox {
    /// Another name.
    pub name: Option<String>,
    /// Memory: `512m`, `2g`, or MiB.
    pub memory: Option<TextOrNumber>,
    /// Virtual CPUs.
    pub cpus: Option<TextOrNumber>,
    /// `no`, `on-failure[:N]`, `always` or `unless-stopped`.
    pub restart: Option<String>,
}

/// The processes of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessList {
    /// The processes, by ID.
    pub processes: Vec<ProcessInfo>,
}

/// A process in a sandbox, as the guest tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessInfo {
    /// Its ID in the sandbox.
    pub pid: u64,
    /// Its parent's ID.
    pub parent_pid: u64,
    /// Name of its user, or the number.
    pub user: String,
    /// Name of its group, or the number.
    pub group: String,
    /// `R` running, `S` sleeping, `D` waiting for a device, `T` stopped, `Z` ended.
    pub state: String,
    /// Its terminal, if it has one.
    pub terminal: Option<String>,
    /// CPU time, milliseconds.
    pub cpu_ms: u64,
    /// Since its start, milliseconds.
    pub age_ms: u64,
    /// Memory in use, bytes.
    pub resident_bytes: u64,
    /// Address space, bytes.
    pub virtual_bytes: u64,
    /// The program.
    pub name: String,
    /// The command line.
    pub command: String,
}

/// What a sandbox changed in its image's files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeList {
    /// The changes, by path.
    pub changes: Vec<Change>,
}

/// A file that differs from the image's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// How it differs.
    pub kind: ChangeKind,
    /// Its path in the sandbox.
    pub path: String,
}

/// How a file differs from the image's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The image does not have it.
    Added,
    /// It has other content or attributes.
    Changed,
    /// Only the image has it.
    Deleted,
}

/// Which directory of a sandbox is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListFilesQuery {
    /// An absolute path in the sandbox.
    pub path: String,
    /// The most entries that are listed, by name; 10,000 by default and at most.
    #[serde(default)]
    #[param(minimum = 1, maximum = 10_000)]
    pub most: Option<u32>,
}

/// A directory of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileList {
    /// How many entries the directory has.
    pub total: u64,
    /// The first of them, by name.
    pub entries: Vec<FileEntry>,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// What it is. Symbolic links are not followed.
    pub kind: FileKind,
    /// Its size, bytes.
    pub size_bytes: u64,
    /// Its permissions: the lowest 12 bits of its mode.
    pub mode: u32,
    /// When its content changed, seconds since 1970.
    pub modified: u64,
    /// Where a symbolic link leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A file with content.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a socket or a named pipe.
    Other,
}

/// A new volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"name": "data"}))]
pub struct CreateVolume {
    /// The volume's name; one is made up when there is none.
    pub name: Option<String>,
    /// Labels.
    pub labels: std::collections::BTreeMap<String, String>,
}
