//! Folders and files that only their owner may read.
//!
//! Images may hold secrets, and Docker and Podman keep theirs private too. Everything in the store lies below one
//! folder. Its mode protects all of the store, also what an older version wrote.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode of a new folder.
const FOLDER: u32 = 0o700;
/// Mode of a new file.
const FILE: u32 = 0o600;
/// The bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Creates `path` and its missing parents, each for its owner only.
pub(crate) fn create_folders(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

/// Closes an existing folder to everybody but its owner.
///
/// Another user's folder stays as it is, and so does one on a read-only file system.
///
/// # Errors
/// The folder cannot be looked at or changed.
pub(crate) fn close_folder(path: &Path) -> Result<()> {
    let mode = fs::metadata(path)?.mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 & !OTHERS)) {
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            Ok(())
        }
        result => result,
    }
}

/// Options that create a file for its owner only.
pub(crate) fn file_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(FILE);
    options
}
