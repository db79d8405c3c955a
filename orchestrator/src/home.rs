//! Where monocore keeps its state: `MONOCORE_HOME`, else `~/.monocore`.
//!
//! Only its owner may read the state: images, volumes and disks may hold secrets.

use std::fs::{DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::Error;

/// The state directory and the names below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The directory that the environment names, closed to other users.
    ///
    /// # Errors
    /// Neither `MONOCORE_HOME` nor `HOME` is set, or the directory's mode cannot be set.
    pub fn locate() -> Result<Self, Error> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("MONOCORE_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".monocore")))
            .ok_or(Error::NoHome)?;
        // Descriptors and children outlive a change of the current directory.
        let root = std::path::absolute(&root).map_err(Error::file("find", &root))?;
        let home = Self { root };
        home.close()?;
        Ok(home)
    }

    /// Takes other users' access away, which versions before this rule gave. One look suffices in most cases: the
    /// directory's mode protects all that is below it.
    ///
    /// A directory that also holds other files may be open on purpose. There only monocore's own parts are closed.
    fn close(&self) -> Result<(), Error> {
        if !is_open(&self.root).map_err(Error::file("look at", &self.root))? {
            return Ok(());
        }
        let is_default = self.root.file_name().is_some_and(|name| name == ".monocore");
        if is_default || self.holds_only_parts().map_err(Error::file("read", &self.root))? {
            return close_dir(&self.root).map_err(Error::file("set the mode of", &self.root));
        }
        PARTS.iter().map(|part| self.root.join(part)).try_for_each(|part| match is_open(&part) {
            Ok(true) => close_dir(&part).map_err(Error::file("set the mode of", &part)),
            Ok(false) => Ok(()),
            Err(source) => Err(Error::file("look at", &part)(source)),
        })
    }

    fn holds_only_parts(&self) -> io::Result<bool> {
        for entry in std::fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            if !PARTS.iter().any(|part| name == *part) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the directory, for its owner only, if it is not there.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn create(&self) -> Result<(), Error> {
        make_private_dir(&self.root)
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

    /// One record per group of sandboxes.
    #[must_use]
    pub fn groups(&self) -> PathBuf {
        self.root.join("groups")
    }

    /// One directory per named volume.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// What happened to sandboxes.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.root.join("events")
    }

    /// One lock per project.
    #[must_use]
    pub fn projects(&self) -> PathBuf {
        self.root.join("projects")
    }

    /// One empty file per directory that was shared for writing.
    pub(crate) fn shared(&self) -> PathBuf {
        self.root.join("shared")
    }

    /// The server's socket and tokens.
    #[must_use]
    pub fn server(&self) -> PathBuf {
        self.root.join("server")
    }

    /// Unpacked guest kernels, by hash.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.root.join("kernel")
    }
}

/// The directories that monocore makes in its state directory.
const PARTS: [&str; 11] = [
    "events",
    "groups",
    "kernel",
    "names",
    "oci",
    "projects",
    "run",
    "sandboxes",
    "server",
    "shared",
    "volumes",
];
/// The mode bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Whether a directory exists and anybody but its owner has access to it.
fn is_open(path: &Path) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.is_dir() && found.mode() & OTHERS != 0),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Closes a directory to everybody but its owner. Another user's directory stays as it is, and so does one on a
/// read-only file system.
fn close_dir(path: &Path) -> io::Result<()> {
    let mode = std::fs::metadata(path)?.mode() & 0o7777 & !OTHERS;
    match std::fs::set_permissions(path, Permissions::from_mode(mode)) {
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            Ok(())
        }
        result => result,
    }
}

/// Makes `path` and what is missing above it, for its owner only.
pub(crate) fn make_private_dir(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::file("create", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    fn open_dir(path: &Path) {
        std::fs::create_dir_all(path).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn directories_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("deep/home"));
        make_private_dir(&home.run()).unwrap();
        make_private_dir(&home.run()).unwrap();
        assert_eq!(mode(home.root()), 0o700);
    }

    #[test]
    fn what_earlier_versions_left_open_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".monocore", "state"] {
            let home = Home::at(dir.path().join(name));
            home.close().unwrap();
            assert!(!home.root().exists(), "nothing is made by looking");
            open_dir(&home.run());
            open_dir(home.root());
            home.close().unwrap();
            assert_eq!((mode(home.root()), mode(&home.run())), (0o700, 0o755), "the upper one protects both");
        }
    }

    #[test]
    fn of_a_directory_with_other_things_in_it_only_our_parts_are_closed() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("shared"));
        for path in [home.root().join("website"), home.run(), home.root().join("oci"), home.root().to_owned()]
        {
            open_dir(&path);
        }
        home.close().unwrap();
        assert_eq!((mode(home.root()), mode(&home.root().join("website"))), (0o755, 0o755));
        assert_eq!((mode(&home.run()), mode(&home.root().join("oci"))), (0o700, 0o700));
    }
}
