//! The jail of a machine's process, entered after everything is open and before the first thread starts.
//!
//! In order: inherited descriptors nobody needs are closed, capabilities dropped, privileges can no longer be gained,
//! Landlock takes away every path but the shares of the file device, and seccomp leaves each thread the system calls it
//! needs, with the arguments it needs. A violation ends the process. Every step that fails ends the process too. A kernel that
//! lacks a part is refused, unless the specification says [`JailMode::BestEffort`].
//!
//! Threads inherit the main thread's filter and add their own, so the main thread may do what any of them may.
//!
//! Where shares may be added later ([`FsSpec::grows`](monocore_spec::FsSpec::grows)), a thread is kept that starts the file
//! server's: Landlock takes every path from all others, and the server's thread is confined to the shares there are when
//! it starts, and replaced when they change. Then only those two may open a path, or have a file server's capabilities.
//!
//! The user is not changed: without root there is no other one to become, and with root the files a machine was given open
//! may belong to anyone. What is left of root is a user without capabilities whom Landlock denies every path.
//!
//! Design: `docs/design/jail.md`.

mod capabilities;
mod descriptors;
mod filesystem;
mod filters;
mod keeper;
mod rules;
mod streams;
mod syscalls;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use monocore_fs::FsHandle;
use monocore_spec::{DeviceSpec, JailMode, VmSpec};
use monocore_virtio::ThreadSetup;
use seccompiler::BpfProgram;

use crate::attachments::{Confinement, StartsOn, ThreadKind};
use crate::devices::{StartQueue, Starter};
pub use descriptors::{close_named, close_others, named_descriptors};
pub use filesystem::{LandlockNeed, NEED_OF_ALL, NEED_OF_READ_ONLY, NEED_OF_SHARES, landlock_version};
pub use streams::restrict_streams;

/// Why a process could not be jailed; it must not go on.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// Descriptors could not be closed.
    #[error("close inherited descriptors: {0}")]
    Descriptors(#[source] io::Error),
    /// The standard streams could not be replaced.
    #[error("replace the standard streams: {0}")]
    Streams(#[source] io::Error),
    /// Capabilities could not be dropped.
    #[error("drop capabilities: {0}")]
    Capabilities(#[source] io::Error),
    /// Landlock is there and refuses.
    #[error("Landlock: {0}")]
    Landlock(String),
    /// This kernel's Landlock is missing or too old.
    #[error(
        "{} needs Landlock version {}, which Linux {} and later have: without it, {}. \
         `--jail best-effort` runs it all the same",
        shown(*version),
        need.version,
        need.linux,
        need.risk
    )]
    LandlockVersion {
        /// The kernel's, 0 for none.
        version: u32,
        /// What is needed.
        need: LandlockNeed,
    },
    /// A filter cannot be compiled or installed.
    #[error("seccomp: {0}")]
    Seccomp(String),
    /// The thread that starts the file server's could not be started.
    #[error("start the file server's keeper: {0}")]
    Keeper(#[source] io::Error),
    /// A shared directory cannot be opened to be let through.
    #[error("share {name}: {source}")]
    Share {
        /// The share's name.
        name: String,
        /// Why.
        source: crate::Error,
    },
}

/// What this kernel has, as an error says it.
fn shown(version: u32) -> String {
    match version {
        0 => "this kernel has no Landlock, and the jail".to_owned(),
        version => format!("this kernel has Landlock version {version}, and the jail"),
    }
}

/// The jail of one process.
pub struct Jail {
    main: BpfProgram,
    threads: Arc<ThreadFilters>,
    /// What all threads may reach.
    shares: Vec<(OwnedFd, bool)>,
    keeper: Option<Keeper>,
    keep_fs: bool,
    /// A thread connects to others over the network.
    connects: bool,
    mode: JailMode,
}

/// A thread that is to be started before Landlock holds the process.
struct Keeper {
    starts: StartQueue,
    filter: BpfProgram,
}

impl Jail {
    /// Prepares the jail of a machine like `spec`: compiles filters and opens what must stay reachable.
    ///
    /// # Errors
    /// [`JailError`]; under [`JailMode::Strict`] also where the kernel lacks what the machine needs.
    pub fn prepare(spec: &VmSpec) -> Result<Self, JailError> {
        let mut kinds: Vec<_> = spec.devices.iter().map(ThreadKind::of).collect();
        kinds.push(ThreadKind::Vcpu);
        kinds.sort_unstable();
        kinds.dedup();
        let filters = thread_filters(&kinds)?;
        let keep_fs = kinds.contains(&ThreadKind::Fs);
        let (mut shares, mut keeper, mut starter) = (Vec::new(), None, None);
        let fs = spec.devices.iter().find_map(fs_spec);
        let need = fs.map_or(NEED_OF_ALL, |fs| filesystem::need(&fs.shares, fs.grows));
        filesystem::check(landlock_version(), need, spec.jail)?;
        match fs {
            Some(fs) if fs.grows => {
                let (starts, to_keeper) = StartQueue::new().map_err(JailError::Keeper)?;
                keeper = Some(Keeper { starts, filter: filters::keeper()? });
                starter = Some(to_keeper);
                // The server's thread is not the main thread's child then.
                kinds.retain(|kind| *kind != ThreadKind::Fs);
            }
            Some(fs) => shares = filesystem::open_shares(&fs.shares)?,
            None => {}
        }
        let threads = Arc::new(ThreadFilters { filters, keeper: starter, mode: spec.jail });
        let connects = connects(&kinds);
        Ok(Self { main: filters::main(&kinds)?, threads, shares, keeper, keep_fs, connects, mode: spec.jail })
    }

    /// Prepares the jail of a process that serves one device to another virtual machine monitor (vhost-user): the device's
    /// threads are of `kind`, and `shares` are the roots of a file device, each with whether it is read-only.
    ///
    /// # Errors
    /// Those of [`prepare`](Self::prepare).
    pub fn prepare_server(
        kind: ThreadKind,
        shares: Vec<(OwnedFd, bool)>,
        mode: JailMode,
    ) -> Result<Self, JailError> {
        filesystem::check(landlock_version(), filesystem::need(&shares, false), mode)?;
        let threads = ThreadFilters { filters: thread_filters(&[kind])?, keeper: None, mode };
        Ok(Self {
            main: filters::server(kind)?,
            threads: Arc::new(threads),
            shares,
            keeper: None,
            keep_fs: kind == ThreadKind::Fs,
            connects: connects(&[kind]),
            mode,
        })
    }

    /// What confines the process's threads; it needs the process to [`enter`](Self::enter) the jail before they start.
    pub fn confinement(&self) -> Arc<dyn Confinement> {
        Arc::clone(&self.threads) as Arc<dyn Confinement>
    }

    /// Confines the calling thread and all it starts from now on; called before any other thread runs.
    ///
    /// # Errors
    /// [`JailError`]; the process must end then.
    pub fn enter(self) -> Result<(), JailError> {
        crate::sys::one_heap();
        capabilities::drop_all(self.keep_fs)?;
        if let Some(Keeper { starts, filter }) = self.keeper {
            keeper::spawn(starts, filter)?;
            capabilities::drop_all(false)?;
        }
        filesystem::restrict(self.shares, self.connects, self.mode)?;
        seccompiler::apply_filter(&self.main).map_err(|error| JailError::Seccomp(error.to_string()))
    }
}

/// Confines the calling process, which is the broker of a socket at `path`.
///
/// # Errors
/// [`JailError`]; the process must end then.
pub fn enter_as_broker(path: &Path) -> Result<(), JailError> {
    capabilities::drop_all(false)?;
    filesystem::restrict_broker(path)?;
    seccompiler::apply_filter(&filters::broker()?).map_err(|error| JailError::Seccomp(error.to_string()))
}

/// Whether a thread of one of `kinds` connects to others over the network.
fn connects(kinds: &[ThreadKind]) -> bool {
    kinds.iter().any(|kind| matches!(kind, ThreadKind::Nat | ThreadKind::Tsi))
}

fn thread_filters(kinds: &[ThreadKind]) -> Result<HashMap<ThreadKind, Arc<BpfProgram>>, JailError> {
    kinds.iter().map(|kind| Ok((*kind, Arc::new(filters::thread(*kind)?)))).collect()
}

fn fs_spec(device: &DeviceSpec) -> Option<&monocore_spec::FsSpec> {
    match device {
        DeviceSpec::Fs(fs) => Some(fs),
        _ => None,
    }
}

/// The filters of a jailed process's threads.
struct ThreadFilters {
    filters: HashMap<ThreadKind, Arc<BpfProgram>>,
    /// The way to the thread that starts the file server's.
    keeper: Option<Starter>,
    mode: JailMode,
}

impl Confinement for ThreadFilters {
    fn thread_setup(&self, kind: ThreadKind) -> ThreadSetup {
        let Some(filter) = self.filters.get(&kind).cloned() else {
            // A kind no filter was made for must not run.
            return Arc::new(|| Err(io::ErrorKind::PermissionDenied.into()));
        };
        Arc::new(move || seccompiler::apply_filter(&filter).map_err(io::Error::other))
    }

    fn fs_setup(&self, shares: &FsHandle) -> ThreadSetup {
        let filter = self.thread_setup(ThreadKind::Fs);
        if self.keeper.is_none() {
            // Landlock holds the whole process.
            return filter;
        }
        let (shares, mode) = (shares.clone(), self.mode);
        Arc::new(move || {
            filesystem::restrict(shares.roots(), false, mode).map_err(io::Error::other)?;
            filter()
        })
    }

    fn starts_on(&self, kind: ThreadKind) -> StartsOn {
        match (&self.keeper, kind) {
            (Some(keeper), ThreadKind::Fs) => StartsOn::KeptThread(keeper.clone()),
            _ => StartsOn::WaitingThread,
        }
    }
}
