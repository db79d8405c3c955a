//! Who may read the store.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use monocore_oci::Store;

/// Modes of everything below `path`, with those that others may read or enter.
fn open_to_others(path: &Path) -> Vec<PathBuf> {
    let mut open = Vec::new();
    let mut pending = vec![path.to_owned()];
    while let Some(path) = pending.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        if found.mode() & 0o077 != 0 {
            open.push(path.clone());
        }
        if found.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    open
}

#[test]
fn a_new_store_is_its_owners_only() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let store = Store::open(&home).unwrap();
    store.prune(false, |_| false).unwrap();
    assert_eq!(open_to_others(&home), Vec::<PathBuf>::new());
    assert!(home.join("oci/oci-layout").exists());
}

#[test]
fn a_store_that_others_may_read_is_closed_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    Store::open(dir.path()).unwrap();
    let store = dir.path().join("oci");
    fs::set_permissions(&store, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(store.join("blobs"), Permissions::from_mode(0o755)).unwrap();
    Store::open(dir.path()).unwrap();
    assert_eq!(fs::metadata(&store).unwrap().mode() & 0o777, 0o700);
    assert_eq!(
        fs::metadata(store.join("blobs")).unwrap().mode() & 0o777,
        0o755,
        "no walk: the store's mode suffices"
    );
}
