//! Mounts: what the user and the image ask for, as shares of the host and requests to the guest.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use monocore_protocol::{Mount, MountSource as GuestSource, SocketId};

use crate::control::{LiveMount, LiveMountCall};
use crate::spec::{MountSource, MountSpec};
use crate::{Error, Home, HostSocket, sources, volume};

/// A directory or file of the host that the guest is to see.
#[derive(Debug)]
pub(crate) struct OpenShare {
    /// Its name below the file-sharing device's root.
    pub(crate) name: String,
    /// The directory or file itself; good for finding what is beneath, not for reading.
    pub(crate) root: OwnedFd,
    pub(crate) read_only: bool,
}

/// What of the host is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    Socket,
}

/// What the guest mounts, and what of the host it needs for that.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    /// In an order in which no mount hides an earlier one's target.
    pub(crate) requests: Vec<Mount>,
    pub(crate) shares: Vec<OpenShare>,
    /// Sockets of the host; each one's place here is its name in `requests`.
    pub(crate) sockets: Vec<HostSocket>,
}

impl Mounts {
    /// Opens the sources of `specs`, and gives each of the image's `volumes` a place where `specs` mounts nothing.
    ///
    /// # Errors
    /// A source is missing, or is neither a directory nor a file.
    pub(crate) fn open(home: &Home, specs: &[MountSpec], volumes: &[String]) -> Result<Self, Error> {
        let mut mounts = Self::default();
        for spec in specs {
            let source = mounts.source(home, spec)?;
            mounts.request(source, &spec.target, spec.read_only);
        }
        for target in volumes {
            if target.starts_with('/') && !specs.iter().any(|spec| parts(&spec.target).eq(parts(target))) {
                mounts.request(GuestSource::Volume, target, false);
            }
        }
        mounts.requests.sort_by_key(|mount| depth(mount.target.as_bytes()));
        Ok(mounts)
    }

    /// Shares `path` under `name`.
    ///
    /// # Errors
    /// It is missing, or neither a directory nor a file.
    pub(crate) fn share(
        &mut self,
        home: &Home,
        name: String,
        path: &Path,
        read_only: bool,
    ) -> Result<Kind, Error> {
        let (root, kind) = open_source(home, path, false)?;
        if kind == Kind::Socket {
            return Err(Error::Mount { path: path.to_owned(), problem: "it is a socket".into() });
        }
        self.share_root(home, name, root, kind, read_only)?;
        Ok(kind)
    }

    fn share_root(
        &mut self,
        home: &Home,
        name: String,
        root: OwnedFd,
        kind: Kind,
        read_only: bool,
    ) -> Result<(), Error> {
        if kind == Kind::Directory && !read_only {
            sources::record(home, &root)?;
        }
        self.shares.push(OpenShare { name, root, read_only });
        Ok(())
    }

    fn source(&mut self, home: &Home, spec: &MountSpec) -> Result<GuestSource, Error> {
        let (path, populate, create) = match &spec.source {
            MountSource::Tmpfs(options) => return Ok(GuestSource::Tmpfs(options.clone())),
            MountSource::Anonymous => return Ok(GuestSource::Volume),
            MountSource::Volume(name) => (volume::directory(home, name)?, true, false),
            MountSource::Socket(path) => {
                let path = std::path::absolute(path).map_err(Error::file("find", path))?;
                let (found, kind) = open_source(home, &path, false)?;
                if kind != Kind::Socket {
                    return Err(Error::Mount { path, problem: "it is not a socket".into() });
                }
                return self.socket(&path, found, Some(0o666));
            }
            MountSource::Bind { path, create } => {
                (std::path::absolute(path).map_err(Error::file("find", path))?, false, *create)
            }
        };
        let (root, kind) = open_source(home, &path, create)?;
        if kind == Kind::Socket {
            return self.socket(&path, root, None);
        }
        let name = format!("m{}", self.shares.len());
        self.share_root(home, name.clone(), root, kind, spec.read_only)?;
        match kind {
            Kind::Directory => Ok(GuestSource::Share { name, populate }),
            Kind::File | Kind::Socket => Ok(GuestSource::SharedFile { name }),
        }
    }

    /// A socket of the host. In the guest it has the host's owner and mode, as a shared file has, or `mode` for everybody.
    fn socket(&mut self, path: &Path, found: OwnedFd, mode: Option<u32>) -> Result<GuestSource, Error> {
        let id = u32::try_from(self.sockets.len())
            .map(SocketId)
            .map_err(|_| Error::Spawn(io::ErrorKind::Other.into()))?;
        let file = File::from(found);
        let seen = file.metadata().map_err(Error::file("look at", path))?;
        self.sockets.push(HostSocket::new(file.into()));
        let (uid, gid) = owner(seen.uid(), seen.gid());
        Ok(GuestSource::Socket { id, mode: mode.unwrap_or(seen.mode() & 0o777), uid, gid })
    }

    fn request(&mut self, source: GuestSource, target: &str, read_only: bool) {
        self.requests.push(Mount { source, target: target.into(), read_only });
    }
}

/// Opens what `spec` mounts, for a sandbox that runs already.
///
/// # Errors
/// The source is missing, or is nothing that can be mounted in a running sandbox.
pub(crate) fn open_live(home: &Home, spec: &MountSpec) -> Result<(LiveMountCall, OwnedFd), Error> {
    let shown = match &spec.source {
        MountSource::Bind { path, .. } => std::path::absolute(path).map_err(Error::file("find", path))?,
        MountSource::Volume(name) => name.into(),
        MountSource::Socket(_) | MountSource::Anonymous | MountSource::Tmpfs(_) => {
            return Err(Error::NotLive(spec.target.clone()));
        }
    };
    let mut mounts = Mounts::default();
    let (is_file, populate) = match mounts.source(home, spec)? {
        GuestSource::Share { populate, .. } => (false, populate),
        GuestSource::SharedFile { .. } => (true, false),
        _ => return Err(Error::NotLive(spec.target.clone())),
    };
    let share = mounts.shares.pop().ok_or_else(|| Error::NotLive(spec.target.clone()))?;
    let mount = LiveMount {
        source: shown.display().to_string(),
        target: spec.target.clone(),
        read_only: spec.read_only,
    };
    Ok((LiveMountCall { mount, is_file, populate }, share.root))
}

/// Opens a source without the right to read it: the file-system worker finds its own way beneath.
fn open_source(home: &Home, path: &Path, create: bool) -> Result<(OwnedFd, Kind), Error> {
    let root = sources::open(home, path, create)?;
    let problem = |problem: String| Error::Mount { path: path.to_owned(), problem };
    let file = File::from(root);
    let found = file.metadata().map_err(|error| problem(error.to_string()))?;
    if found.is_dir() {
        Ok((file.into(), Kind::Directory))
    } else if found.is_file() {
        Ok((file.into(), Kind::File))
    } else if found.file_type().is_socket() {
        Ok((file.into(), Kind::Socket))
    } else {
        Err(problem("it is neither a directory, a regular file nor a socket".into()))
    }
}

/// An owner as the guest sees it, by the rule for shared files: root sees the host's; of anybody else's sockets, their own
/// are the guest's root's and all others nobody's.
fn owner(uid: u32, gid: u32) -> (u32, u32) {
    const NOBODY: u32 = 65534;
    let own = rustix::process::geteuid();
    match own.is_root() {
        true => (uid, gid),
        false if own.as_raw() == uid => (0, 0),
        false => (NOBODY, NOBODY),
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}

fn depth(path: &[u8]) -> usize {
    path.split(|b| *b == b'/').filter(|part| !part.is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{parse_tmpfs, parse_volume};

    fn targets(mounts: &Mounts) -> Vec<String> {
        mounts.requests.iter().map(|mount| mount.target.to_string()).collect()
    }

    #[test]
    fn sources_of_every_kind_become_shares_or_places() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("file"), "x").unwrap();
        let specs = [
            parse_volume(&format!("{}:/a/b/c:ro", at("file"))).unwrap(),
            parse_volume(&format!("{}:/a", at("new"))).unwrap(),
            parse_volume("named:/n").unwrap(),
            parse_volume("/anonymous").unwrap(),
            parse_tmpfs("/t").unwrap(),
        ];
        let mounts = Mounts::open(&home, &specs, &["/v".into(), "/n/".into()]).unwrap();
        assert_eq!(targets(&mounts), ["/a", "/n", "/anonymous", "/t", "/v", "/a/b/c"]);
        assert!(dir.path().join("new").is_dir());
        assert!(home.volumes().join("named/_data").is_dir());
        let shares: Vec<_> =
            mounts.shares.iter().map(|share| (share.name.as_str(), share.read_only)).collect();
        assert_eq!(shares, [("m0", true), ("m1", false), ("m2", false)]);
        assert!(
            mounts.requests.iter().any(|mount| mount.source == GuestSource::SharedFile { name: "m0".into() })
        );
        let populated = GuestSource::Share { name: "m2".into(), populate: true };
        assert!(mounts.requests.iter().any(|mount| mount.source == populated));
    }

    #[test]
    fn what_cannot_be_shared_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        for (text, expected) in [
            ("type=bind,src=/nonexistent,dst=/a", "/nonexistent"),
            ("type=bind,src=/dev/null,dst=/a", "/dev/null"),
        ] {
            let spec = crate::spec::parse_mount(text).unwrap();
            let error = Mounts::open(&home, &[spec], &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
