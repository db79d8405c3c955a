//! Programs with their libraries, copied to where opening them costs nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// A dynamically linked program that was copied with its libraries.
#[derive(Debug)]
pub struct Moved {
    dir: PathBuf,
    loader: PathBuf,
    binary: PathBuf,
}

impl Moved {
    /// Copies `binary` and what it is linked with to `dir`, which is emptied.
    ///
    /// # Errors
    /// There is no such program, or it is statically linked.
    pub fn new(binary: &Path, dir: &Path) -> Result<Self> {
        crate::fresh_dir(dir)?;
        let output = Command::new("ldd").arg(binary).output().context("list a program's libraries")?;
        let mut loader = None;
        for path in String::from_utf8_lossy(&output.stdout).split_whitespace().filter(|w| w.starts_with('/'))
        {
            let to = copy(Path::new(path), dir)?;
            if path.contains("/ld-linux") {
                loader = Some(to);
            }
        }
        let loader = loader.with_context(|| format!("{} has no loader", binary.display()))?;
        Ok(Self { dir: dir.to_owned(), loader, binary: copy(binary, dir)? })
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command that runs it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.loader);
        command.arg("--library-path").arg(&self.dir).arg(&self.binary);
        command
    }
}

/// Copies a file to a folder and says where it is now.
///
/// # Errors
/// The file system's.
pub fn copy(file: &Path, dir: &Path) -> Result<PathBuf> {
    let to = dir.join(file.file_name().context("a file without a name")?);
    fs::copy(file, &to).with_context(|| format!("copy {}", file.display()))?;
    Ok(to)
}
