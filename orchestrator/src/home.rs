//! Where monocore keeps its state: `MONOCORE_HOME`, else `~/.monocore`.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::Error;

/// The state directory and the names below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The directory the environment names.
    ///
    /// # Errors
    /// Neither `MONOCORE_HOME` nor `HOME` is set.
    pub fn locate() -> Result<Self, Error> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("MONOCORE_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".monocore")))
            .ok_or(Error::NoHome)?;
        // Descriptors and children outlive a change of the current directory.
        let root = std::path::absolute(&root).map_err(Error::file("find", &root))?;
        Ok(Self { root })
    }

    /// A directory named by the caller.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The state directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// One directory per running sandbox.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// One directory per sandbox that is kept after its command has ended.
    #[must_use]
    pub fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    /// One symbolic link per sandbox: from its name to its id.
    #[must_use]
    pub fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// One directory per named volume.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// Unpacked guest kernels, by hash.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.root.join("kernel")
    }
}

/// Makes `path` and what is missing above it, for its owner only.
pub(crate) fn make_private_dir(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::file("create", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn directories_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("deep/home"));
        make_private_dir(&home.run()).unwrap();
        make_private_dir(&home.run()).unwrap();
        assert_eq!(std::fs::metadata(home.root()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
