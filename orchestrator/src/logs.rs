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
use std::time::SystemTime;

use crate::Error;

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

/// Removes files of the log in `dir` that were put aside before `oldest`. The newest file stays.
///
/// # Errors
/// A file cannot be removed.
pub(crate) fn remove_rotated_before(dir: &Path, oldest: SystemTime) -> Result<(), Error> {
    for path in (1..=KEPT_FILES).map(|age| file(dir, age)) {
        let is_old = path.metadata().and_then(|found| found.modified()).is_ok_and(|time| time < oldest);
        if is_old {
            std::fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn old_files_go_and_the_newest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (age, weeks) in [(0, 9), (1, 0), (2, 3)] {
            let made = std::fs::File::create(file(dir.path(), age)).unwrap();
            made.set_modified(now - Duration::from_secs(weeks * 7 * 24 * 3600)).unwrap();
        }
        remove_rotated_before(dir.path(), now - Duration::from_secs(7 * 24 * 3600)).unwrap();
        let left: Vec<_> = (0..3).map(|age| file(dir.path(), age).exists()).collect();
        assert_eq!(left, [true, true, false]);
    }
}
