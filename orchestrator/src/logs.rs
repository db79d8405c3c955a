//! The output of a sandbox in the background: `sandboxes/<id>/log/output.log`.
//!
//! JSON lines in the shape of Docker's json-file driver (`log`, `stream`, `time`), one for each line of output; what is
//! no UTF-8 is in `bytes`, as base64, in the place of `log`. A file that has reached its size becomes `output.log.1`,
//! that one `output.log.2`, and so on; the oldest is removed.

mod entry;
mod follow;
mod selected;
mod writer;

use std::path::{Path, PathBuf};

pub use entry::{LogEntry, LogStream};
pub use follow::LogReader;
pub use selected::{LogSelection, SelectedLog};
pub(crate) use writer::LogWriter;

/// The newest file.
const CURRENT: &str = "output.log";
/// Files beside the newest one.
const KEPT_FILES: u32 = 4;
/// A longer file is put aside, bytes.
const FILE_BYTES: u64 = 16 << 20;

/// The file that was put aside as the `age`-th; 0 is the newest one.
fn file(dir: &Path, age: u32) -> PathBuf {
    if age == 0 { dir.join(CURRENT) } else { dir.join(format!("{CURRENT}.{age}")) }
}
