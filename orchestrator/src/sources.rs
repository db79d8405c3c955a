//! The sources of mounts, opened so that no guest leads the way.
//!
//! A guest that may write a directory of the host can put a symbolic link there, and a later mount of what lies below would
//! share whatever the link names. So directories shared for writing are recorded in the state directory, one empty file
//! each. Below such a directory a link is followed only if it stays there. Anywhere else links are followed, as by Docker.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, mkdirat, openat2, readlinkat, statx};
use rustix::io::Errno;

use crate::home::make_private_dir;
use crate::{Error, Home};

/// Most links followed in one path, as Linux has it.
const MAX_LINKS: usize = 40;

/// Opens what lies at an absolute path, without the right to read it. With `create`, directories that are missing are made.
///
/// # Errors
/// [`Error::Mount`].
pub(crate) fn open(home: &Home, path: &Path, create: bool) -> Result<OwnedFd, Error> {
    let problem = |problem: String| Error::Mount { path: path.to_owned(), problem };
    let root = open_dir(rustix::fs::CWD, OsStr::new("/")).map_err(|errno| problem(text(errno)))?;
    let mut walk = Walk { shared: home.shared(), above: vec![root], fence: None, links: 0, create };
    let steps =
        path.components().map(|component| Step { name: component.as_os_str().into(), by_link: false });
    walk.walk(steps.collect()).map_err(|failure| match failure {
        Failure::Os(errno) => problem(text(errno)),
        Failure::LeadsOut { link } => problem(format!(
            "`{}` is a symbolic link out of a directory that a sandbox may write; name the place that it leads to",
            link.display()
        )),
    })
}

/// Records that guests may write a directory.
///
/// # Errors
/// The state directory cannot be written.
pub fn record(home: &Home, dir: impl AsFd) -> Result<(), Error> {
    let folder = home.shared();
    let id = id(dir).map_err(|errno| Error::file("look at", &folder)(errno.into()))?;
    make_private_dir(&folder)?;
    let path = folder.join(id);
    match File::options().write(true).create_new(true).open(&path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::file("create", &path)(source))
        }
        _ => Ok(()),
    }
}

/// What a directory is known by: the inode number and, as that is used again, its birth. The device number is part of it
/// only where there is no birth, since it changes when the machine is started again.
fn id(dir: impl AsFd) -> Result<String, Errno> {
    let stat = statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME)?;
    let born = &stat.stx_btime;
    Ok(match stat.stx_mask & StatxFlags::BTIME.bits() {
        0 => format!("{}-on-{}-{}", stat.stx_ino, stat.stx_dev_major, stat.stx_dev_minor),
        _ => format!("{}-born-{}-{}", stat.stx_ino, born.tv_sec, born.tv_nsec),
    })
}

/// One name of a path.
struct Step {
    name: OsString,
    /// A symbolic link said it, not the user.
    by_link: bool,
}

enum Failure {
    Os(Errno),
    LeadsOut { link: PathBuf },
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Os(errno)
    }
}

/// A walk along a path.
struct Walk {
    /// The records.
    shared: PathBuf,
    /// The directories walked through, the root first.
    above: Vec<OwnedFd>,
    /// How many of them there were when the first one that a guest may write was reached; that one is the last of them.
    fence: Option<usize>,
    links: usize,
    create: bool,
}

impl Walk {
    fn walk(&mut self, mut steps: VecDeque<Step>) -> Result<OwnedFd, Failure> {
        let mut link = PathBuf::new();
        let mut end = None;
        while let Some(step) = steps.pop_front() {
            if end.is_some() {
                return Err(Errno::NOTDIR.into());
            }
            match Path::new(&step.name).components().next() {
                None | Some(Component::CurDir) => {}
                Some(Component::RootDir | Component::Prefix(_)) => self.restart_at_root(&step, &link)?,
                Some(Component::ParentDir) => self.up(&step, &link)?,
                Some(Component::Normal(name)) => match self.down(name)? {
                    Found::Dir(dir) => self.above.push(dir),
                    Found::Other(file) => end = Some(file),
                    Found::Link(target) => {
                        link = PathBuf::from(name);
                        self.follow(&target, &mut steps)?;
                    }
                },
            }
        }
        end.or_else(|| self.above.pop()).ok_or(Failure::Os(Errno::NOENT))
    }

    fn restart_at_root(&mut self, step: &Step, link: &Path) -> Result<(), Failure> {
        if step.by_link && self.fence.is_some() {
            return Err(Failure::LeadsOut { link: link.to_owned() });
        }
        self.above.truncate(1);
        self.fence = None;
        Ok(())
    }

    /// To the directory above. The directories walked through are no links, so this is what the kernel does.
    fn up(&mut self, step: &Step, link: &Path) -> Result<(), Failure> {
        if self.fence == Some(self.above.len()) {
            if step.by_link {
                return Err(Failure::LeadsOut { link: link.to_owned() });
            }
            self.fence = None;
        }
        if self.above.len() > 1 {
            self.above.pop();
        }
        Ok(())
    }

    fn down(&mut self, name: &OsStr) -> Result<Found, Failure> {
        let dir = self.above.last().ok_or(Errno::NOENT)?;
        if self.fence.is_none() && self.shared.join(id(dir)?).exists() {
            self.fence = Some(self.above.len());
        }
        match find(dir, name) {
            Err(Errno::NOENT) if self.create => {
                mkdirat(dir, name, Mode::from_raw_mode(0o777))?;
                Ok(find(dir, name)?)
            }
            found => Ok(found?),
        }
    }

    /// Puts the names that a link consists of before those that are left.
    fn follow(&mut self, target: &Path, steps: &mut VecDeque<Step>) -> Result<(), Failure> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        for component in target.components().rev() {
            steps.push_front(Step { name: component.as_os_str().into(), by_link: true });
        }
        Ok(())
    }
}

enum Found {
    Dir(OwnedFd),
    Link(PathBuf),
    Other(OwnedFd),
}

/// Finds an entry of a directory.
fn find(dir: &OwnedFd, name: &OsStr) -> Result<Found, Errno> {
    // The name with `/.`: so a file system that is mounted on demand is.
    let inside = [name.as_bytes(), b"/."].concat();
    match open_dir(dir, OsStr::from_bytes(&inside)) {
        Ok(dir) => Ok(Found::Dir(dir)),
        Err(Errno::LOOP) => {
            let target = readlinkat(dir, name, Vec::new())?;
            Ok(Found::Link(OsStr::from_bytes(target.to_bytes()).into()))
        }
        Err(Errno::NOTDIR) => {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = openat2(dir, name, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
            // A link put there meanwhile.
            let is_link = rustix::fs::fstat(&file).map(|stat| stat.st_mode & 0o170_000 == 0o120_000)?;
            if is_link { Err(Errno::LOOP) } else { Ok(Found::Other(file)) }
        }
        Err(errno) => Err(errno),
    }
}

fn open_dir(dir: impl AsFd, path: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(dir, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
}

fn text(errno: Errno) -> String {
    io::Error::from(errno).to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A state directory, a directory that a guest may write with a link in it that leads to `target`, and a secret beside.
    fn planted(target: &str) -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        for name in ["share/real/below", "secret"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        record(&home, File::open(dir.path().join("share")).unwrap()).unwrap();
        symlink(target.replace("DIR", dir.path().to_str().unwrap()), dir.path().join("share/sub")).unwrap();
        (dir, home)
    }

    fn inode(file: impl AsFd) -> u64 {
        rustix::fs::fstat(file).unwrap().st_ino
    }

    fn inode_at(path: &Path) -> u64 {
        inode(File::open(path).unwrap())
    }

    #[test]
    fn a_link_that_a_guest_planted_is_not_followed_out() {
        for target in ["../secret", "DIR/secret", "real/../../secret", "/", "real/below/../../.."] {
            let (dir, home) = planted(target);
            for source in ["share/sub", "share/sub/new", "share/real/../sub"] {
                let error = open(&home, &dir.path().join(source), true).unwrap_err().to_string();
                assert!(error.contains("`sub` is a symbolic link"), "{target} {source}: {error}");
            }
            assert_eq!(std::fs::read_dir(dir.path().join("secret")).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_link_within_what_a_guest_may_write_is_followed() {
        for target in ["real", "./real", "real/below/.."] {
            let (dir, home) = planted(target);
            let found = open(&home, &dir.path().join("share/sub"), false).unwrap();
            assert_eq!(inode(found), inode_at(&dir.path().join("share/real")), "{target}");
        }
    }

    #[test]
    fn what_the_user_says_leads_anywhere() {
        let (dir, home) = planted("../secret");
        let at = |path: &str| dir.path().join(path);
        for source in ["share/../secret", "share/real/../../secret", "share/.././secret"] {
            assert_eq!(inode(open(&home, &at(source), false).unwrap()), inode_at(&at("secret")), "{source}");
        }
        // A link of the host's, to a directory that is shared and through it.
        symlink("share", at("link")).unwrap();
        symlink(at("secret"), at("other")).unwrap();
        assert_eq!(inode(open(&home, &at("link/real"), false).unwrap()), inode_at(&at("share/real")));
        assert_eq!(inode(open(&home, &at("other"), false).unwrap()), inode_at(&at("secret")));
        assert!(open(&home, &at("link/sub"), false).is_err());
    }

    #[test]
    fn missing_directories_are_made_and_files_found() {
        let (dir, home) = planted("nowhere");
        let at = |path: &str| dir.path().join(path);
        open(&home, &at("share/a/b"), true).unwrap();
        assert!(at("share/a/b").is_dir());
        std::fs::write(at("share/f"), "x").unwrap();
        assert_eq!(inode(open(&home, &at("share/f"), false).unwrap()), inode_at(&at("share/f")));
        assert!(open(&home, &at("share/f/x"), true).is_err());
        assert!(open(&home, &at("missing"), false).is_err());
        symlink("loop", at("loop")).unwrap();
        assert!(open(&home, &at("loop"), false).is_err());
        assert_eq!(inode(open(&home, Path::new("/"), false).unwrap()), inode_at(Path::new("/")));
    }
}
