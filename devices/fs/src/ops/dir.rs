//! READDIR and READDIRPLUS.
//!
//! A position in a directory is the host's own cookie (`d_off`), so it stays good while entries come and go, for as long as
//! the host's file system promises, and nothing is kept here but where the handle's descriptor stands.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, RawDir, RawDirEntry, SeekFrom};
use rustix::io::Errno;
use zerocopy::{FromZeros, IntoBytes};

use super::Outcome;
use crate::handles::Open;
use crate::host::Stat;
use crate::nodes::Place;
use crate::server::{Call, Done, Server};
use crate::share::FILE_ENTRY;
use crate::wire::{Dirent, EntryOut, Name, Opcode, ReadIn};

/// Most bytes of entries read from the host at once, and least: every name must fit.
const MAX_ENTRIES: usize = 32 << 10;
const MIN_ENTRIES: usize = 1 << 10;
/// `d_type` of a directory and of a regular file.
const DT_DIR: u32 = 4;
const DT_REG: u32 = 8;

/// Where the entries of a reply go.
struct Listing<'c> {
    out: &'c mut Vec<u8>,
    max: usize,
    plus: bool,
}

impl Listing<'_> {
    fn size_of(&self, name: &CStr) -> usize {
        let fixed = size_of::<Dirent>() + if self.plus { size_of::<EntryOut>() } else { 0 };
        (fixed + name.count_bytes()).next_multiple_of(8)
    }

    fn has_room(&self, name: &CStr) -> bool {
        self.out.len() + self.size_of(name) <= self.max
    }

    /// Appends an entry that [`has_room`](Self::has_room).
    fn push(&mut self, entry: &EntryOut, ino: u64, off: u64, kind: u32, name: &CStr) {
        let end = self.out.len() + self.size_of(name);
        if self.plus {
            self.out.extend_from_slice(entry.as_bytes());
        }
        let namelen = u32::try_from(name.count_bytes()).unwrap_or(0);
        self.out.extend_from_slice(Dirent { ino, off, namelen, kind }.as_bytes());
        self.out.extend_from_slice(name.to_bytes());
        self.out.resize(end, 0);
    }
}

impl Server {
    pub(super) fn readdir(&mut self, call: &mut Call<'_>) -> Outcome {
        let read: ReadIn = call.args.take()?;
        let id = call.head.nodeid;
        let max = usize::try_from(read.size).unwrap_or(usize::MAX).min(call.room_bytes()).min(MAX_ENTRIES);
        let mut listing = Listing { out: call.out, max, plus: call.op == Opcode::Readdirplus };
        self.nodes.get(id)?;
        let handle = self.handles.get_mut(read.fh, id)?;
        match &mut handle.open {
            Open::Synthetic => self.list_synthetic(id, read.offset, &mut listing)?,
            Open::File(_) => return Err(Errno::NOTDIR),
            Open::Lost => return Err(Errno::IO),
            Open::Dir { file, at } => {
                if *at != Some(read.offset) {
                    rustix::fs::seek(&file, SeekFrom::Start(read.offset))?;
                }
                let file = file.clone();
                self.nodes.check_open_dir(id, &file)?;
                let listed = self.list_host(id, &file, &mut listing);
                if let Open::Dir { at, .. } = &mut self.handles.get_mut(read.fh, id)?.open {
                    *at = listed.ok().flatten();
                }
                listed?;
            }
        }
        Ok(Done::Reply)
    }

    /// Lists a directory of the host from where it stands. Returns where it stands then, if that is just behind the last
    /// entry listed.
    fn list_host(&mut self, id: u64, dir: &OwnedFd, listing: &mut Listing<'_>) -> Result<Option<u64>, Errno> {
        // The host's entries are about as long as ours, so little is read twice.
        let wanted = if listing.plus { listing.max / 4 } else { listing.max };
        let mut space = vec![MaybeUninit::uninit(); wanted.max(MIN_ENTRIES)];
        self.list_entries(id, dir, &mut RawDir::new(dir, &mut space), listing)
    }

    fn list_entries(
        &mut self,
        id: u64,
        dir: &OwnedFd,
        entries: &mut RawDir<'_, &OwnedFd>,
        listing: &mut Listing<'_>,
    ) -> Result<Option<u64>, Errno> {
        let mut last = None;
        loop {
            let entry = match entries.next() {
                None => return Ok(last),
                Some(Err(e)) if last.is_none() => return Err(e),
                Some(Err(_)) => return Ok(None),
                Some(Ok(entry)) => entry,
            };
            if !listing.has_room(entry.file_name()) {
                return Ok(None);
            }
            self.list_entry(id, dir, &entry, listing);
            last = Some(entry.next_entry_cookie());
        }
    }

    fn list_entry(&mut self, id: u64, dir: &OwnedFd, entry: &RawDirEntry<'_>, listing: &mut Listing<'_>) {
        let name = entry.file_name();
        let (mut ino, mut kind) = (entry.ino(), d_type(entry.file_type()));
        let mut found = EntryOut::new_zeroed();
        if name == c".." {
            // What lies above a share is none of the guest's business; the guest knows its own parents.
            ino = self.nodes.get(id).map_or(ino, |node| node.file.ino);
        } else if name != c"." && listing.plus {
            // An entry that cannot be entered now is listed all the same; the guest will ask for it if it wants it.
            let entered = Name::new(name)
                .and_then(|name| Stat::at(dir, name).and_then(|stat| self.enter_child(id, dir, name, &stat)));
            if let Ok(entered) = entered {
                (ino, kind) = (entered.attr.ino, entered.attr.mode >> 12 & 0xf);
                found = entered;
            }
        }
        listing.push(&found, ino, entry.next_entry_cookie(), kind, name);
    }

    /// Lists a directory of our own making. A share's position is one more than its number, which never changes.
    fn list_synthetic(&mut self, id: u64, offset: u64, listing: &mut Listing<'_>) -> Result<(), Errno> {
        const DOTS: u64 = 2;
        let none = EntryOut::new_zeroed();
        let dots = [(c".", 1), (c"..", 2)].into_iter().filter(|(_, position)| *position > offset);
        for (name, position) in dots {
            if !listing.has_room(name) {
                return Ok(());
            }
            listing.push(&none, id, position, DT_DIR, name);
        }
        let node = self.nodes.get(id)?;
        if node.place == Place::FileDir {
            let ino = node
                .share
                .as_ref()
                .map(|share| Stat::of(&share.root))
                .transpose()?
                .map_or(id, |s| s.id().ino);
            let name = std::ffi::CString::new(FILE_ENTRY).map_err(|_| Errno::IO)?;
            if offset <= DOTS && listing.has_room(&name) {
                listing.push(&none, ino, DOTS + 1, DT_REG, &name);
            }
            return Ok(());
        }
        let first = u32::try_from(offset.saturating_sub(DOTS)).unwrap_or(u32::MAX);
        for share in self.registry.since(first) {
            let position = u64::from(share.id) + DOTS + 1;
            if !listing.has_room(&share.name) {
                break;
            }
            // The number of a share's root is not known before it is looked up; what is listed only has to be one.
            listing.push(&none, u64::from(share.id) + DOTS, position, DT_DIR, &share.name);
        }
        Ok(())
    }
}

/// A file type as `d_type` says it.
fn d_type(kind: FileType) -> u32 {
    kind.as_raw_mode() >> 12 & 0xf
}
