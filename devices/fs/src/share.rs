//! The directories and files that a device serves, and the handle that changes them while it runs.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use monocore_hypervisor::Event;

use crate::error::FsError;
use crate::host::{FileId, Stat};
use crate::wire::Name;

/// How long a guest may trust what it has seen of a share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachePolicy {
    /// Not at all, not even file contents: every look goes to the host.
    Never,
    /// Names and attributes for one second, contents until the file is opened again or its time changes.
    #[default]
    Auto,
    /// For ever: nobody but this guest changes the share.
    Always,
}

impl CachePolicy {
    /// How long names and attributes hold.
    pub(crate) fn valid(self) -> Duration {
        match self {
            Self::Never => Duration::ZERO,
            Self::Auto => Duration::from_secs(1),
            Self::Always => Duration::from_secs(86_400),
        }
    }
}

/// A directory or a single file of the host, to be seen by a guest.
#[derive(Debug)]
pub struct FsShare {
    /// Its name below the device's root: 1 to 255 bytes, no `/`, unique.
    pub name: String,
    /// The directory, or the regular file; `O_PATH` is enough. A file is found as [`FILE_ENTRY`] in the share's directory.
    pub root: OwnedFd,
    /// Nothing of it can be changed by the guest.
    pub read_only: bool,
    /// How long the guest may trust what it has seen.
    pub cache: CachePolicy,
}

/// What a share's single file is called in the directory that stands for the share.
pub const FILE_ENTRY: &str = "file";

/// A share as the server knows it.
#[derive(Debug)]
pub(crate) struct Share {
    /// Never used again, also not after removal.
    pub(crate) id: u32,
    pub(crate) name: CString,
    pub(crate) root: Arc<OwnedFd>,
    /// What the root is.
    pub(crate) root_id: FileId,
    pub(crate) is_dir: bool,
    pub(crate) read_only: bool,
    pub(crate) cache: CachePolicy,
    /// Set once, when the share is removed; from then on nothing of it is served.
    gone: AtomicBool,
    /// Cleared once its file system has refused to keep attributes of ours.
    keeps_owners: AtomicBool,
}

impl Share {
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    pub(crate) fn keeps_owners(&self) -> bool {
        self.keeps_owners.load(Ordering::Relaxed)
    }

    pub(crate) fn cannot_keep_owners(&self) {
        self.keeps_owners.store(false, Ordering::Relaxed);
    }
}

/// The shares of one device. Held by the server, which reads it, and by every [`FsHandle`].
#[derive(Debug)]
pub(crate) struct Registry {
    shares: Mutex<Shares>,
    /// Raised when a share was removed, so that the server lets go of what it holds of it.
    pub(crate) removed: Event,
}

#[derive(Debug, Default)]
struct Shares {
    next: u32,
    by_id: BTreeMap<u32, Arc<Share>>,
}

impl Registry {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { shares: Mutex::default(), removed: Event::new()? }))
    }

    pub(crate) fn by_name(&self, name: Name<'_>) -> Option<Arc<Share>> {
        self.lock().by_id.values().find(|share| *share.name == *name.as_c_str()).cloned()
    }

    /// All shares with an id from `first` on, in the order of their ids.
    pub(crate) fn since(&self, first: u32) -> Vec<Arc<Share>> {
        self.lock().by_id.range(first..).map(|(_, share)| share.clone()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shares> {
        // Every change is one insertion or removal: a thread that panicked cannot have left half of one.
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds and removes shares of a device, whether it runs or not. Clones act on the same device.
#[derive(Clone, Debug)]
pub struct FsHandle(pub(crate) Arc<Registry>);

impl FsHandle {
    /// Lets the guest see a share from now on.
    ///
    /// # Errors
    /// [`FsError::BadName`], [`FsError::NameTaken`], [`FsError::BadType`] for what is neither a directory nor a regular
    /// file, [`FsError::Os`].
    pub fn add(&self, share: FsShare) -> Result<(), FsError> {
        let bad_name = || FsError::BadName(share.name.clone());
        let name = CString::new(share.name.as_str()).map_err(|_| bad_name())?;
        Name::new(&name).map_err(|_| bad_name())?;
        let os = |e: rustix::io::Errno| FsError::Os { what: "looking at a share's root", source: e.into() };
        let stat = Stat::of(share.root.as_fd()).map_err(os)?;
        if !stat.is_dir() && !stat.is_file() {
            return Err(FsError::BadType(share.name));
        }
        let mut shares = self.0.lock();
        if shares.by_id.values().any(|other| other.name == name) {
            return Err(FsError::NameTaken(share.name));
        }
        let id = shares.next;
        shares.next = id.checked_add(1).ok_or(FsError::TooMany)?;
        let share = Share {
            id,
            name,
            root: Arc::new(share.root),
            root_id: stat.id(),
            is_dir: stat.is_dir(),
            read_only: share.read_only,
            cache: share.cache,
            gone: AtomicBool::new(false),
            keeps_owners: AtomicBool::new(true),
        };
        shares.by_id.insert(id, Arc::new(share));
        Ok(())
    }

    /// Takes a share away: from the return on no request for it is begun, and what the server holds open of it is
    /// closed soon after. The guest should have unmounted it; where it has not, it sees ESTALE.
    ///
    /// # Errors
    /// [`FsError::Unknown`] where there is no such share.
    pub fn remove(&self, name: &str) -> Result<(), FsError> {
        let mut shares = self.0.lock();
        let found = shares.by_id.values().find(|share| share.name.as_bytes() == name.as_bytes());
        let id = found.ok_or_else(|| FsError::Unknown(name.to_owned()))?.id;
        if let Some(share) = shares.by_id.remove(&id) {
            share.gone.store(true, Ordering::Release);
        }
        drop(shares);
        self.0.removed.raise().map_err(|source| FsError::Os { what: "waking the server", source })
    }

    /// The roots of all shares, in the order in which they were added, and whether each is read-only.
    pub fn roots(&self) -> Vec<(Arc<OwnedFd>, bool)> {
        self.0.lock().by_id.values().map(|share| (Arc::clone(&share.root), share.read_only)).collect()
    }

    /// The names of all shares, in the order in which they were added.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().by_id.values().map(|share| share.name.to_string_lossy().into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(name: &str, root: impl Into<OwnedFd>) -> FsShare {
        FsShare { name: name.into(), root: root.into(), read_only: false, cache: CachePolicy::Auto }
    }

    #[test]
    fn names_are_checked_and_unique() {
        let handle = FsHandle(Registry::new().unwrap());
        let tmp = || std::fs::File::open("/tmp").unwrap();
        for bad in ["", ".", "..", "a/b", "a\0b", &"n".repeat(256)] {
            assert!(matches!(handle.add(share(bad, tmp())), Err(FsError::BadName(_))), "{bad:?}");
        }
        handle.add(share("a", tmp())).unwrap();
        assert!(matches!(handle.add(share("a", tmp())), Err(FsError::NameTaken(_))));
        handle.remove("a").unwrap();
        assert!(matches!(handle.remove("a"), Err(FsError::Unknown(_))));
        handle.add(share("a", tmp())).unwrap();
        assert_eq!(handle.names(), ["a"]);
    }

    #[test]
    fn only_directories_and_files_are_shared() {
        let handle = FsHandle(Registry::new().unwrap());
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(handle.add(share("a", null)), Err(FsError::BadType(_))));
    }
}
