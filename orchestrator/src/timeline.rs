//! When a run came to which point of its life, for whoever measures it.
//!
//! This process and the machine's append to the same file, so its lines are in order of time only once sorted.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use monocore_spec::TimelineEntry;
use rustix::time::{ClockId, clock_gettime};

use crate::{Error, log_file};

/// Where the points of a run are written, one [`TimelineEntry`] as JSON a line; the default is nowhere.
///
/// Beside the machine's own there are `planned` (everything is open), `spawned` (the machine's process), `connected` (the
/// guest's agent), `started` and `exited` (the command).
#[derive(Clone, Debug, Default)]
pub struct Timeline(Option<Arc<File>>);

impl Timeline {
    /// Appends to the file at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn append_to(path: &Path) -> Result<Self, Error> {
        let file = log_file::open(path, false);
        Ok(Self(Some(Arc::new(file.map_err(Error::file("write", path))?))))
    }

    /// What a machine appends its own points to.
    pub(crate) fn file(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(|file| file.as_fd())
    }

    /// Notes that the run came to `event` now.
    pub(crate) fn record(&self, event: &str) {
        let Some(mut file) = self.0.as_deref() else { return };
        let entry = TimelineEntry { event: event.to_owned(), monotonic_ns: monotonic_ns() };
        let Ok(mut line) = serde_json::to_vec(&entry) else { return };
        line.push(b'\n');
        if let Err(error) = file.write_all(&line) {
            tracing::warn!(%error, "the timeline is lost");
        }
    }
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(now.tv_sec).saturating_mul(1_000_000_000).saturating_add(part(now.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_lines_and_nowhere_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("timeline");
        let timeline = Timeline::append_to(&path).unwrap();
        for event in ["spawned", "connected"] {
            timeline.clone().record(event);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let entries: Vec<TimelineEntry> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(entries.is_sorted_by_key(|entry| entry.monotonic_ns));
        assert_eq!(entries[1].event, "connected");
        assert!(Timeline::append_to(dir.path()).is_err());
        Timeline::default().record("nothing");
    }
}
