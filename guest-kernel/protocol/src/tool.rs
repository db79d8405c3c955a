//! What the agent itself does in a command's place, with the command's streams.

use serde::{Deserialize, Serialize};

use crate::ByteString;

/// Work of the agent's own that has streams, an end and an exit code as a command has: no program of the image is
/// needed for it. It is done by root in a process of its own; 0 is success, and the reason of a failure is on its
/// standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tool {
    /// Writes a file or directory as a tar archive to standard output.
    Pack {
        /// Which.
        path: ByteString,
        /// What it is called in the archive.
        name: ByteString,
        /// Where it is a symbolic link, what that leads to is written.
        follow: bool,
    },
    /// Makes files of a tar archive at standard input.
    Unpack {
        /// Where.
        path: ByteString,
        /// How the archive's names and this place go together.
        placement: ToolPlacement,
        /// Files get the owners that the archive names; else root's.
        owners: bool,
    },
    /// Writes what differs between the root and its image, one change after the other: `A`, `C` or `D`, a blank, the
    /// path and a NUL.
    Changes,
    /// Writes the processes, a record of fields each ending in a NUL; [`PROCESS_FIELDS`] names them.
    Processes,
    /// Writes how many entries a directory has, and then the first of them by name, a record of fields for each, and
    /// every field ends in a NUL; [`LIST_FIELDS`] names them.
    List {
        /// Which.
        path: ByteString,
        /// The most entries that are written.
        most: u32,
    },
}

/// The fields of an entry in the output of [`Tool::List`], in order. The kind is `f`, `d`, `l` or `o` (another one), the
/// mode is octal, the time in seconds since 1970.
pub const LIST_FIELDS: [&str; 6] = ["kind", "mode", "size", "mtime", "name", "link"];

/// The fields of a process in the output of [`Tool::Processes`], in order. Times are in clock ticks, 100 a second;
/// `now` is the ticks since boot, `epoch` the seconds since 1970 at that moment.
pub const PROCESS_FIELDS: [&str; 16] = [
    "pid",
    "ppid",
    "uid",
    "gid",
    "user",
    "group",
    "state",
    "tty",
    "ticks",
    "start",
    "virtual_bytes",
    "resident_bytes",
    "now",
    "epoch",
    "name",
    "command",
];

/// How an archive's names and its place go together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToolPlacement {
    /// The place is a directory, and the names are below it.
    Into,
    /// By the rules of `docker cp`; the archive's root is called `.`.
    Copy {
        /// What the source is called, for a place that is a directory.
        name: ByteString,
        /// Only the content of the source directory is meant.
        contents: bool,
    },
}
