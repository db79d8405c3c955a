//! A guest's kernel in small: it builds requests in guest memory and reads the replies.

use std::ffi::CString;
use std::fs::File;
use std::path::{Path, PathBuf};

use monocore_hypervisor::GuestRam;
use monocore_virtio::Buffers;
use rustix::io::Errno;
use tempfile::TempDir;
use vm_memory::{Bytes, GuestAddress};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::owners::OwnerPolicy;
use crate::server::{Answer, Malformed, Server, ServerConfig};
use crate::share::{CachePolicy, FsHandle, FsShare};
use crate::wire::{
    AttrOut, CreateIn, Dirent, EntryOut, GetattrIn, InHeader, InitIn, InitInExt, InitOut, Opcode, OpenIn,
    OpenOut, OutHeader, ReadIn, ReleaseIn, SetattrIn, SizeOut, WriteIn, flags,
};

const RAM_BYTES: usize = 4 << 20;
const REPLY_AT: u64 = 2 << 20;
const REPLY_ROOM: u32 = 1 << 20;

/// What the guest is told: the reply's body, or an error.
pub(super) type Reply = Result<Vec<u8>, Errno>;

/// A guest with one share named `share`.
pub(super) struct Client {
    pub(super) server: Server,
    pub(super) handle: FsHandle,
    pub(super) share: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: u32,
    dir: TempDir,
    ram: GuestRam,
}

impl Client {
    /// A guest that may write its share, and trusts nothing it has seen.
    pub(super) fn new() -> Self {
        Self::with(false, Self::config())
    }

    pub(super) fn read_only() -> Self {
        Self::with(true, Self::config())
    }

    pub(super) fn config() -> ServerConfig {
        ServerConfig {
            owners: OwnerPolicy::Host,
            writeback: false,
            max_node_bytes: 250_000,
            max_descriptors: 256,
        }
    }

    pub(super) fn with(read_only: bool, config: ServerConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("share")).unwrap();
        std::fs::write(dir.path().join("outside"), "secret").unwrap();
        let share = share_of(&dir.path().join("share"), "share", read_only);
        let (server, handle) = Server::new(config, vec![share]).unwrap();
        let mut client = Self {
            server,
            handle,
            share: 0,
            uid: 0,
            gid: 0,
            pid: 0,
            dir,
            ram: GuestRam::from_ranges(&[(GuestAddress(0), RAM_BYTES)]).unwrap(),
        };
        client.init();
        client.share = client.lookup(1, "share").unwrap().nodeid;
        client
    }

    /// A path of the host within the share.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("share").join(name)
    }

    /// The directory around the share, with a file named `outside`.
    pub(super) fn around(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn init(&mut self) -> InitOut {
        let offered = flags::SUBMOUNTS
            | flags::HANDLE_KILLPRIV_V2
            | flags::INIT_EXT
            | flags::POSIX_LOCKS
            | flags::FLOCK_LOCKS
            | flags::HOST_SHARED;
        let (low, high) = (offered & u64::from(u32::MAX), offered >> 32);
        let init = InitIn { major: 7, minor: 41, max_readahead: 131_072, flags: u32::try_from(low).unwrap() };
        let ext = InitInExt { flags2: u32::try_from(high).unwrap(), ..InitInExt::default() };
        read(&self.call(Opcode::Init, 0, &[init.as_bytes(), ext.as_bytes()].concat()).unwrap())
    }

    /// Any bytes at all as a request that is answered at once.
    pub(super) fn raw(&mut self, request: &[u8], room: u32) -> Result<Vec<u8>, Malformed> {
        let Answer::Written(len) = self.raw_answer(request, room)? else { panic!("the request waits") };
        let mut reply = vec![0; usize::try_from(len).unwrap()];
        self.ram.read_slice(&mut reply, GuestAddress(REPLY_AT)).unwrap();
        Ok(reply)
    }

    /// A request that may have to wait; what it is answered with, or the ticket of its wait.
    pub(super) fn start(
        &mut self,
        op: Opcode,
        unique: u64,
        node: u64,
        body: &[u8],
    ) -> Result<Option<u64>, Errno> {
        let len = u32::try_from(40 + body.len()).unwrap();
        let head = InHeader { len, opcode: op as u32, unique, nodeid: node, ..InHeader::default() };
        match self.raw_answer(&[head.as_bytes(), body].concat(), REPLY_ROOM).unwrap() {
            Answer::Later(ticket) => Ok(Some(ticket)),
            Answer::Written(_) => {
                let mut head = OutHeader::default();
                self.ram.read_slice(head.as_mut_bytes(), GuestAddress(REPLY_AT)).unwrap();
                if head.error == 0 { Ok(None) } else { Err(Errno::from_raw_os_error(-head.error)) }
            }
        }
    }

    fn raw_answer(&mut self, request: &[u8], room: u32) -> Result<Answer, Malformed> {
        self.ram.write_slice(request, GuestAddress(0x100)).unwrap();
        let (mut readable, mut writable) = (Buffers::new(), Buffers::new());
        // In two pieces, as a driver does.
        let (head, body) = request.split_at(request.len().min(40));
        assert!(readable.push(&self.ram, GuestAddress(0x100), u32::try_from(head.len()).unwrap()));
        assert!(readable.push(&self.ram, GuestAddress(0x100 + 40), u32::try_from(body.len()).unwrap()));
        assert!(writable.push(&self.ram, GuestAddress(REPLY_AT), room));
        self.server.handle(&readable, &writable)
    }

    pub(super) fn call(&mut self, op: Opcode, node: u64, body: &[u8]) -> Reply {
        self.call_raw(op as u32, node, body, REPLY_ROOM)
    }

    pub(super) fn call_raw(&mut self, opcode: u32, node: u64, body: &[u8], room: u32) -> Reply {
        let head = InHeader {
            len: u32::try_from(40 + body.len()).unwrap(),
            opcode,
            unique: 77,
            nodeid: node,
            uid: self.uid,
            gid: self.gid,
            pid: self.pid,
            ..InHeader::default()
        };
        let reply = self.raw(&[head.as_bytes(), body].concat(), room).unwrap();
        if reply.is_empty() {
            return Ok(reply);
        }
        let (head, body) = OutHeader::read_from_prefix(&reply).unwrap();
        assert_eq!((head.unique, head.len as usize), (77, reply.len()));
        if head.error == 0 { Ok(body.to_vec()) } else { Err(Errno::from_raw_os_error(-head.error)) }
    }

    /// An operation whose arguments are a structure and names.
    pub(super) fn named(&mut self, op: Opcode, node: u64, fixed: &[u8], names: &[&str]) -> Reply {
        let mut body = fixed.to_vec();
        for name in names {
            body.extend_from_slice(CString::new(*name).unwrap().as_bytes_with_nul());
        }
        self.call(op, node, &body)
    }

    pub(super) fn lookup(&mut self, parent: u64, name: &str) -> Result<EntryOut, Errno> {
        self.named(Opcode::Lookup, parent, &[], &[name]).map(|reply| read(&reply))
    }

    pub(super) fn getattr(&mut self, node: u64) -> Result<AttrOut, Errno> {
        self.call(Opcode::Getattr, node, GetattrIn::default().as_bytes()).map(|reply| read(&reply))
    }

    pub(super) fn setattr(&mut self, node: u64, set: SetattrIn) -> Result<AttrOut, Errno> {
        self.call(Opcode::Setattr, node, set.as_bytes()).map(|reply| read(&reply))
    }

    pub(super) fn mkdir(&mut self, parent: u64, name: &str) -> Result<EntryOut, Errno> {
        let fixed = [0o755u32, 0];
        self.named(Opcode::Mkdir, parent, fixed.as_bytes(), &[name]).map(|reply| read(&reply))
    }

    /// Creates and opens a file for reading and writing.
    pub(super) fn create(&mut self, parent: u64, name: &str) -> Result<(EntryOut, u64), Errno> {
        self.create_with(parent, name, 0o644, 0)
    }

    pub(super) fn create_with(
        &mut self,
        parent: u64,
        name: &str,
        mode: u32,
        flags: i32,
    ) -> Result<(EntryOut, u64), Errno> {
        let flags = (libc_o::RDWR | flags).cast_unsigned();
        let create = CreateIn { flags, mode, ..CreateIn::default() };
        let reply = self.named(Opcode::Create, parent, create.as_bytes(), &[name])?;
        let (entry, rest) = EntryOut::read_from_prefix(&reply).unwrap();
        Ok((entry, read::<OpenOut>(rest).fh))
    }

    pub(super) fn open(&mut self, node: u64, flags: i32) -> Result<u64, Errno> {
        let open = OpenIn { flags: flags.cast_unsigned(), open_flags: 0 };
        self.call(Opcode::Open, node, open.as_bytes()).map(|reply| read::<OpenOut>(&reply).fh)
    }

    pub(super) fn opendir(&mut self, node: u64) -> Result<u64, Errno> {
        self.call(Opcode::Opendir, node, OpenIn::default().as_bytes()).map(|reply| read::<OpenOut>(&reply).fh)
    }

    pub(super) fn release(&mut self, op: Opcode, node: u64, fh: u64) -> Reply {
        self.call(op, node, ReleaseIn { fh, ..ReleaseIn::default() }.as_bytes())
    }

    pub(super) fn write(&mut self, node: u64, fh: u64, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        self.write_with(node, WriteIn { fh, offset, ..WriteIn::default() }, data)
    }

    pub(super) fn write_with(&mut self, node: u64, write: WriteIn, data: &[u8]) -> Result<u32, Errno> {
        let write = WriteIn { size: u32::try_from(data.len()).unwrap(), ..write };
        let reply = self.call(Opcode::Write, node, &[write.as_bytes(), data].concat())?;
        Ok(read::<SizeOut>(&reply).size)
    }

    pub(super) fn read(&mut self, node: u64, fh: u64, offset: u64, size: u32) -> Reply {
        self.call(Opcode::Read, node, ReadIn { fh, offset, size, ..ReadIn::default() }.as_bytes())
    }

    /// One READDIR or READDIRPLUS: name, position behind it, kind, and the entry.
    pub(super) fn readdir(
        &mut self,
        op: Opcode,
        node: u64,
        fh: u64,
        offset: u64,
        size: u32,
    ) -> Result<Vec<(String, Dirent, EntryOut)>, Errno> {
        let reply = self.call(op, node, ReadIn { fh, offset, size, ..ReadIn::default() }.as_bytes())?;
        assert!(reply.len() <= size as usize);
        let mut rest = &reply[..];
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let mut entry = EntryOut::default();
            if op == Opcode::Readdirplus {
                (entry, rest) = EntryOut::read_from_prefix(rest).unwrap();
            }
            let (dirent, tail) = Dirent::read_from_prefix(rest).unwrap();
            let (name, _) = tail.split_at(dirent.namelen as usize);
            entries.push((String::from_utf8(name.to_vec()).unwrap(), dirent, entry));
            rest = &tail[(dirent.namelen as usize).next_multiple_of(8)..];
        }
        Ok(entries)
    }

    pub(super) fn forget(&mut self, node: u64, count: u64) {
        self.call(Opcode::Forget, node, count.as_bytes()).unwrap();
    }
}

/// Open flags of Linux on x86_64 and aarch64.
pub(super) mod libc_o {
    pub(crate) const RDONLY: i32 = 0;
    pub(crate) const WRONLY: i32 = 1;
    pub(crate) const RDWR: i32 = 2;
    pub(crate) const EXCL: i32 = 0o200;
    pub(crate) const TRUNC: i32 = 0o1000;
    pub(crate) const APPEND: i32 = 0o2000;
}

/// A share of a path.
pub(super) fn share_of(path: &Path, name: &str, read_only: bool) -> FsShare {
    let root = File::open(path).unwrap().into();
    FsShare { name: name.into(), root, read_only, cache: CachePolicy::Auto }
}

/// A reply's structure, of exactly its size.
pub(super) fn read<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> T {
    T::read_from_bytes(bytes).unwrap_or_else(|_| panic!("a reply of {} bytes", bytes.len()))
}
