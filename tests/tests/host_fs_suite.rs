//! The file-operation suite on this machine's own file systems: what it asserts is what Linux does. Needs root.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use monocore_tests::fs_suite::{Expectations, run};

/// The suite sets the umask, which is the whole process's.
static ALONE: Mutex<()> = Mutex::new(());

fn holds_below(parent: &Path) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir_in(parent).expect("a directory for the suite");
    let report = run(dir.path(), Expectations::default()).expect("the suite runs");
    assert!(report.made >= 300, "only {} assertions", report.made);
    assert!(report.failed.is_empty(), "{:#?}", report.failed);
}

#[test]
fn linux_keeps_the_suites_promises_on_disk() {
    holds_below(&std::env::temp_dir());
}

#[test]
fn linux_keeps_the_suites_promises_in_memory() {
    holds_below(Path::new("/dev/shm"));
}
