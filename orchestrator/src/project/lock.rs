//! One process at a time changes a project.

use std::fs::{File, OpenOptions};

use crate::home::make_private_dir;
use crate::spec::parse_name;
use crate::{Error, Home};

/// Waits until no other process changes `project`, and keeps others from it until the file is dropped.
///
/// # Errors
/// It is not a name, or the lock's file cannot be made or locked.
pub(super) fn lock(home: &Home, project: &str) -> Result<File, Error> {
    // It becomes a file's name.
    let project = parse_name(project).map_err(|error| Error::ProjectName(error.to_string()))?;
    let dir = home.projects();
    make_private_dir(&dir)?;
    let path = dir.join(format!("{project}.lock"));
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(Error::file("open", &path))?;
    file.lock().map_err(Error::file("lock", &path))?;
    Ok(file)
}
