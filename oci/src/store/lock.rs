//! Locks between processes, and between threads of one.

use std::fs::File;
use std::path::Path;

use crate::error::{Result, at};
use crate::store::file_options;

/// A lock on a file of the store; released when dropped, or when its process ends, however that happens.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until nobody else has the lock.
    pub(crate) fn exclusive(path: &Path) -> Result<Self> {
        let file = open(path)?;
        file.lock().map_err(at("lock", path))?;
        Ok(Self { _file: file })
    }

    /// Waits until nobody has the lock alone.
    pub(crate) fn shared(path: &Path) -> Result<Self> {
        let file = open(path)?;
        file.lock_shared().map_err(at("lock", path))?;
        Ok(Self { _file: file })
    }
}

/// Each call opens the file anew: a lock belongs to the open file, so threads exclude each other as well.
fn open(path: &Path) -> Result<File> {
    let file = file_options().create(true).truncate(false).read(true).write(true).open(path);
    file.map_err(at("open", path))
}
