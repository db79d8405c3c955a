//! What a snapshot keeps of a server: which files the guest knows and has open, by share and path.
//!
//! Descriptors cannot be kept, so a restored server looks everything up again. What is not found again, because it was
//! removed or never had a name, is lost: the guest sees ESTALE, or EIO on what it had open.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::handles::{Handle, Open};
use crate::host::{FileId, Stat, open_dir, open_held};
use crate::locks::{LockKind, LockedRange, Wish};
use crate::nodes::Place;
use crate::ops::lock::open_for_locks;
use crate::server::{Parked, Server, Session};
use crate::share::Share;
use crate::wire::{Name, ROOT_ID};

/// The version written and read.
const VERSION: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    version: u32,
    session: Option<Session>,
    next_node: u64,
    next_handle: u64,
    nodes: Vec<SavedNode>,
    handles: Vec<SavedHandle>,
    locks: Vec<SavedLock>,
    parked: Vec<Parked>,
}

/// A POSIX lock.
#[derive(Debug, Serialize, Deserialize)]
struct SavedLock {
    node: u64,
    owner: u64,
    range: LockedRange,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedNode {
    id: u64,
    /// The share's name.
    share: CString,
    place: SavedPlace,
    lookups: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum SavedPlace {
    FileDir,
    ShareRoot,
    At { parent: u64, name: CString },
    Nowhere,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedHandle {
    id: u64,
    node: u64,
    kind: SavedKind,
    flags: u32,
    flock: Option<LockKind>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum SavedKind {
    File,
    Dir,
    Synthetic,
    Lost,
}

/// Why a saved state is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// It cannot be read.
    #[error("unreadable: {0}")]
    Unreadable(#[from] postcard::Error),
    /// Another version wrote it.
    #[error("version {0} is unknown")]
    Version(u32),
    /// It contradicts itself.
    #[error("inconsistent: {0}")]
    Inconsistent(&'static str),
}

impl Server {
    /// The server's state; its shares are not part of it.
    pub(crate) fn save(&self) -> Vec<u8> {
        let nodes = self.nodes.iter().filter_map(|(id, node)| {
            let place = match &node.place {
                Place::Root => return None,
                Place::FileDir => SavedPlace::FileDir,
                Place::ShareRoot => SavedPlace::ShareRoot,
                Place::At { parent, name } => SavedPlace::At { parent: *parent, name: name.clone() },
                Place::Nowhere => SavedPlace::Nowhere,
            };
            let share = node.share.as_ref().filter(|share| !share.is_gone())?.name.clone();
            Some(SavedNode { id, share, place, lookups: node.lookups })
        });
        let handles = self.handles.iter().map(|(id, handle)| {
            let kind = match handle.open {
                Open::File(_) => SavedKind::File,
                Open::Dir { .. } => SavedKind::Dir,
                Open::Synthetic => SavedKind::Synthetic,
                Open::Lost => SavedKind::Lost,
            };
            SavedHandle { id, node: handle.node, kind, flags: handle.flags, flock: handle.flock }
        });
        let locks = self.locks.iter().map(|(node, owner, range)| SavedLock { node, owner, range: *range });
        let saved = Saved {
            version: VERSION,
            session: self.session,
            next_node: self.nodes.next_id(),
            next_handle: self.handles.next_id(),
            nodes: nodes.collect(),
            handles: handles.collect(),
            locks: locks.collect(),
            parked: self.parked.clone(),
        };
        // Writing into memory that grows cannot fail for plain data.
        postcard::to_allocvec(&saved).unwrap_or_default()
    }

    /// Takes a state back, with the shares that are there now under the names of then.
    ///
    /// # Errors
    /// [`StateError`]; the server is of no use then.
    pub(crate) fn restore(&mut self, state: &[u8]) -> Result<(), StateError> {
        let saved: Saved = postcard::from_bytes(state)?;
        if saved.version != VERSION {
            return Err(StateError::Version(saved.version));
        }
        self.end_session();
        self.session = saved.session;
        self.nodes.continue_from(saved.next_node);
        for node in parents_first(saved.nodes)? {
            self.restore_node(node)?;
        }
        for handle in saved.handles {
            self.restore_handle(&handle, saved.next_handle)?;
        }
        for lock in saved.locks {
            self.restore_lock(&lock);
        }
        self.parked = saved.parked;
        Ok(())
    }

    fn restore_node(&mut self, saved: SavedNode) -> Result<(), StateError> {
        if self.nodes.check_room().is_err() {
            return Err(StateError::Inconsistent("more files than are allowed"));
        }
        let bad_name = |_| StateError::Inconsistent("a name that is none");
        let Some(share) = self.registry.by_name(Name::new(&saved.share).map_err(bad_name)?) else {
            // Whatever the guest asks of this node is ESTALE.
            return Ok(());
        };
        let place = match saved.place {
            SavedPlace::FileDir if !share.is_dir => Place::FileDir,
            SavedPlace::ShareRoot => Place::ShareRoot,
            SavedPlace::At { parent, name } => {
                Name::new(&name).map_err(bad_name)?;
                Place::At { parent, name }
            }
            SavedPlace::FileDir | SavedPlace::Nowhere => Place::Nowhere,
        };
        let (place, file) = match self.locate(&share, &place) {
            Ok(file) => (place, file),
            Err(_) => (Place::Nowhere, FileId::default()),
        };
        if self.nodes.put_back(saved.id, share, place, file, saved.lookups) {
            Ok(())
        } else {
            Err(StateError::Inconsistent("a node's number is used twice or was never given out"))
        }
    }

    /// The file that lies at a place now.
    fn locate(&mut self, share: &Arc<Share>, place: &Place) -> Result<FileId, Errno> {
        match place {
            Place::ShareRoot => Ok(Stat::of(&share.root)?.id()),
            Place::At { parent, name } => {
                if self.nodes.share(*parent)?.id != share.id {
                    return Err(Errno::STALE);
                }
                let dir = self.nodes.reach(*parent)?;
                Ok(Stat::at(&dir, Name::new(name)?)?.id())
            }
            Place::FileDir => Ok(FileId::default()),
            Place::Root | Place::Nowhere => Err(Errno::STALE),
        }
    }

    fn restore_handle(&mut self, saved: &SavedHandle, next: u64) -> Result<(), StateError> {
        if self.handles.check_room().is_err() || saved.id >= next {
            return Err(StateError::Inconsistent("more open files than are allowed"));
        }
        if self.nodes.get(saved.node).is_err() {
            return Ok(());
        }
        let open = self.reopen(saved).unwrap_or(Open::Lost);
        let file = if let Open::File(file) = &open { Some(Arc::clone(file)) } else { None };
        self.nodes.opened(saved.node, file);
        let mut handle = Handle::new(saved.node, open, saved.flags);
        if let (Open::File(file), Some(kind)) = (&handle.open, saved.flock)
            && Wish::Flock(kind).take(file.as_fd(), false).is_ok()
        {
            handle.flock = Some(kind);
        }
        self.handles.put_back(saved.id, handle, next);
        Ok(())
    }

    /// Takes a lock again. One that somebody else has taken meanwhile is lost.
    fn restore_lock(&mut self, saved: &SavedLock) {
        let SavedLock { node, owner, range } = *saved;
        let taken = (|| {
            let held = self.nodes.reach(node)?;
            let read_only = self.nodes.share(node)?.read_only;
            let file = self.locks.file(node, owner, || open_for_locks(&held, read_only))?;
            let after = self.locks.after(node, owner, |held| held.lock(range))?;
            Wish::Range { kind: range.kind, start: range.start, end: range.end }.take(file.as_fd(), false)?;
            self.locks.set(node, owner, after);
            Ok::<(), Errno>(())
        })();
        if let Err(error) = taken {
            tracing::warn!(node, %error, "a lock is lost");
        }
    }

    fn reopen(&mut self, saved: &SavedHandle) -> Result<Open, Errno> {
        let synthetic = self.nodes.get(saved.node)?.is_synthetic();
        match saved.kind {
            SavedKind::Synthetic if synthetic => Ok(Open::Synthetic),
            SavedKind::Synthetic | SavedKind::Lost => Ok(Open::Lost),
            SavedKind::File | SavedKind::Dir if synthetic => Ok(Open::Lost),
            SavedKind::Dir => {
                Ok(Open::Dir { file: Arc::new(open_dir(self.nodes.reach(saved.node)?)?), at: None })
            }
            SavedKind::File => {
                let flags = self.host_flags(saved.flags).difference(OFlags::TRUNC);
                if flags.intersects(OFlags::RWMODE) && self.nodes.share(saved.node)?.read_only {
                    return Ok(Open::Lost);
                }
                Ok(Open::File(Arc::new(open_held(self.nodes.reach(saved.node)?, flags)?)))
            }
        }
    }
}

/// The nodes in an order in which none comes before its parent.
fn parents_first(nodes: Vec<SavedNode>) -> Result<Vec<SavedNode>, StateError> {
    let count = nodes.len();
    let mut below: HashMap<u64, Vec<SavedNode>> = HashMap::new();
    for node in nodes {
        let parent = if let SavedPlace::At { parent, .. } = node.place { parent } else { ROOT_ID };
        below.entry(parent).or_default().push(node);
    }
    let mut sorted = Vec::with_capacity(count);
    let mut next = below.remove(&ROOT_ID).unwrap_or_default();
    while let Some(node) = next.pop() {
        next.extend(below.remove(&node.id).unwrap_or_default());
        sorted.push(node);
    }
    if below.is_empty() { Ok(sorted) } else { Err(StateError::Inconsistent("a file below no directory")) }
}
