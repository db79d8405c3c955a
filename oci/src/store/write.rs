//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Result, at};
use crate::store::{Paths, file_options};

/// A file in the making; removed unless committed.
#[derive(Debug)]
pub(crate) struct TempFile {
    file: File,
    path: PathBuf,
    committed: bool,
}

impl TempFile {
    /// A new file in the store's folder for work in progress.
    pub(crate) fn new(paths: &Paths) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = paths.temporary().join(format!("{}-{count}", std::process::id()));
            match file_options().create_new(true).read(true).write(true).open(&path) {
                Ok(file) => return Ok(Self { file, path, committed: false }),
                // Left behind by a process of the same number, long gone.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(at("create", path)(error)),
            }
        }
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(at("write", &self.path))
    }

    /// Makes the content durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(at("sync", &self.path))
    }

    /// Gives the file, made durable, its name. The name itself is durable after [`sync_directory`].
    pub(crate) fn commit(mut self, path: &Path) -> Result<()> {
        self.sync()?;
        fs::rename(&self.path, path).map_err(at("rename to", path))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing can be done about a failure, and pruning looks again.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(at("sync", path))
}
