//! Paths of the host that tools may use.
//!
//! What lies below a writable root may be a guest's work, symbolic links included. So a path is
//! resolved first, and then opened beneath its root without following any link: whatever changes in
//! between makes the call fail and leads nowhere else.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use serde::{Deserialize, Deserializer, de};

use super::Policy;
use crate::Error;
use crate::error::ToolError;

/// A directory of the host that tools may use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedPath {
    /// Absolute.
    #[serde(deserialize_with = "absolute")]
    pub root: PathBuf,
    /// Tools may also write there.
    #[serde(default)]
    pub write: bool,
}

fn absolute<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(from)?;
    if path.is_absolute() { Ok(path) } else { Err(de::Error::custom("give an absolute path")) }
}

impl AllowedPath {
    /// Whether the root is there.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let failed = |problem: String| Error::Path { path: self.root.clone(), problem };
        let found = std::fs::metadata(&self.root).map_err(|error| failed(error.to_string()))?;
        if found.is_dir() { Ok(()) } else { Err(failed("not a directory".to_owned())) }
    }
}

/// A place on the host that was found to be allowed.
#[derive(Debug)]
pub(crate) struct HostPlace {
    /// The directory that it is in, held open.
    dir: OwnedFd,
    /// Its name there.
    pub(crate) name: OsString,
}

impl HostPlace {
    /// A path of its directory that stays right whatever is moved on the host.
    pub(crate) fn dir(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.dir.as_raw_fd().to_string())
    }

    /// A path of it. Its last component may be a symbolic link.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir().join(&self.name)
    }
}

impl Policy {
    /// The real path of an existing file or directory that may be mounted.
    ///
    /// # Errors
    /// The path is outside of the allowed roots, or there is nothing.
    pub(crate) fn mountable(&self, field: &str, path: &str, write: bool) -> Result<PathBuf, ToolError> {
        let real = real(field, Path::new(path))?;
        self.root_of(field, &real, write)?;
        Ok(real)
    }

    /// A place to read from: something that is there.
    ///
    /// # Errors
    /// As [`Self::mountable`].
    pub(crate) fn readable(&self, field: &str, path: &str) -> Result<HostPlace, ToolError> {
        let real = real(field, Path::new(path))?;
        self.place(field, &real, false)
    }

    /// A place to write to: its directory must be there.
    ///
    /// # Errors
    /// As [`Self::mountable`].
    pub(crate) fn writable(&self, field: &str, path: &str) -> Result<HostPlace, ToolError> {
        let path = Path::new(path);
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ToolError::value(field, "name a file or directory below an allowed path"));
        };
        self.place(field, &real(field, dir)?.join(name), true)
    }

    /// Opens the directory of `real` beneath its root.
    fn place(&self, field: &str, real: &Path, write: bool) -> Result<HostPlace, ToolError> {
        let root = self.root_of(field, real, write)?;
        let below = real.strip_prefix(&root).unwrap_or(real);
        let (Some(dir), Some(name)) = (below.parent(), below.file_name()) else {
            return Err(ToolError::value(field, "an allowed path itself: name a file or directory below it"));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened = openat(CWD, &root, flags, Mode::empty())
            .and_then(|root| openat2(root, dir, flags, Mode::empty(), resolve))
            .map_err(|errno| ToolError::value(field, std::io::Error::from(errno)))?;
        Ok(HostPlace { dir: opened, name: name.to_owned() })
    }

    /// The real path of the root that `real` is below.
    fn root_of(&self, field: &str, real: &Path, write: bool) -> Result<PathBuf, ToolError> {
        let mut read_only = false;
        for allowed in &self.paths {
            // Looked at each time: the root itself may be moved by its owner.
            let Ok(root) = allowed.root.canonicalize() else { continue };
            if real.starts_with(&root) {
                if allowed.write || !write {
                    return Ok(root);
                }
                read_only = true;
            }
        }
        let shown = real.display();
        Err(match (read_only, self.paths.is_empty()) {
            (true, _) => ToolError::policy(field, format!("{shown} may be read only")),
            (false, true) => ToolError::policy(field, "no path of the host may be used"),
            (false, false) => {
                let roots: Vec<_> = self.paths.iter().map(|path| path.root.display().to_string()).collect();
                let roots = roots.join(", ");
                ToolError::policy(field, format!("{shown} is not below an allowed path ({roots})"))
            }
        })
    }
}

/// The path without links and `..`.
fn real(field: &str, path: &Path) -> Result<PathBuf, ToolError> {
    if !path.is_absolute() {
        return Err(ToolError::value(field, format!("{}: give an absolute path", path.display())));
    }
    path.canonicalize().map_err(|error| ToolError::value(field, format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Ground {
        dir: tempfile::TempDir,
        policy: Policy,
    }

    fn ground() -> Ground {
        let dir = tempfile::tempdir().unwrap();
        for name in ["open/sub", "read", "secret"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("secret/key"), "key").unwrap();
        std::fs::write(dir.path().join("open/sub/file"), "file").unwrap();
        let mut policy = Policy::default();
        for (name, write) in [("open", true), ("read", false)] {
            policy.allow_path(AllowedPath { root: dir.path().join(name), write }).unwrap();
        }
        Ground { dir, policy }
    }

    impl Ground {
        fn path(&self, name: &str) -> String {
            self.dir.path().join(name).display().to_string()
        }

        fn readable(&self, name: &str) -> Result<HostPlace, String> {
            self.policy.readable("host_path", &self.path(name)).map_err(|error| error.0)
        }

        fn writable(&self, name: &str) -> Result<HostPlace, String> {
            self.policy.writable("host_path", &self.path(name)).map_err(|error| error.0)
        }
    }

    #[test]
    fn only_what_is_below_a_root_is_used() {
        let ground = ground();
        let place = ground.readable("open/sub/file").unwrap();
        assert_eq!(std::fs::read(place.path()).unwrap(), b"file");
        assert!(ground.readable("secret/key").unwrap_err().contains("not below an allowed path"));
        assert!(ground.readable("open/../secret/key").unwrap_err().contains("not below"));
        assert!(ground.readable("open/missing").unwrap_err().contains("No such file"));
        assert!(ground.writable("open/new").is_ok() && ground.writable("open/sub/new").is_ok());
        assert!(ground.writable("read/new").unwrap_err().contains("read only"));
        assert!(ground.writable("open/missing/new").is_err());
        assert!(ground.writable("open/..").is_err() && ground.writable("open").is_err());
        assert!(Policy::default().readable("x", "/etc/passwd").unwrap_err().0.contains("no path"));
        assert!(ground.policy.readable("x", "etc/passwd").unwrap_err().0.contains("absolute"));
    }

    #[test]
    fn links_lead_nowhere_else() {
        let ground = ground();
        symlink(ground.path("secret"), ground.path("open/out")).unwrap();
        symlink(ground.path("open/sub"), ground.path("open/in")).unwrap();
        assert!(ground.readable("open/out/key").unwrap_err().contains("not below"));
        assert!(ground.writable("open/out/key").unwrap_err().contains("not below"));
        assert!(ground.readable("open/in/file").is_ok(), "a link within the root is followed");
        assert!(ground.policy.mountable("m", &ground.path("open/out"), false).is_err());
        // The directory is replaced by a link after it was judged.
        let place = ground.writable("open/sub/new").unwrap();
        std::fs::rename(ground.path("open/sub"), ground.path("open/moved")).unwrap();
        symlink(ground.path("secret"), ground.path("open/sub")).unwrap();
        std::fs::write(place.path(), "x").unwrap();
        assert!(!Path::new(&ground.path("secret/new")).exists());
        assert!(Path::new(&ground.path("open/moved/new")).exists());
    }
}
