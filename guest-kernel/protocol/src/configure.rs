//! What a guest becomes: its root, its mounts, its name.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{ByteString, SocketId};

/// The serial of the disk that holds the image (EROFS).
pub const ROOT_SERIAL: &str = "root";

/// The serial of the disk that takes the writes (ext4).
pub const SCRATCH_SERIAL: &str = "scratch";

/// The tag of the one file-sharing device.
pub const SHARE_TAG: &str = "monocore";

/// What a share's single file is called in the directory that stands for the share.
pub const SHARED_FILE: &str = "file";

/// Where secrets are.
pub const SECRETS_DIR: &str = "/run/secrets";

/// Most bytes of all secrets together.
pub const MAX_SECRETS_BYTES: usize = 128 << 10;

/// Everything init needs to know before it runs a command; sent once, first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configure {
    /// The host's [`crate::VERSION`].
    pub version: u32,
    /// What `/` is.
    pub root: Root,
    /// Mounted in order after the root; a target may lie below an earlier one's.
    pub mounts: Vec<Mount>,
    /// Made in a root that then takes no writes, where it is missing; empty for none. In any other root the command's
    /// start makes its own.
    pub workdir: ByteString,
    /// The host name, at most 64 bytes.
    pub hostname: String,
    /// The NIS domain name, at most 64 bytes; empty for none.
    pub domainname: String,
    /// Lines added to `/etc/hosts`.
    pub hosts: Vec<HostEntry>,
    /// What `/etc/resolv.conf` says; without it, the image's own file stays.
    pub resolver: Option<Resolver>,
    /// The network interface; without it, a card is left as the kernel found it.
    pub interface: Option<Interface>,
    /// Size of `/dev/shm`, bytes.
    pub shm_bytes: u64,
    /// Kernel parameters, `net.ipv4.ip_forward` and its value.
    pub sysctls: Vec<(String, String)>,
    /// Most processes and threads of all commands together.
    pub pids_max: Option<u64>,
    /// CPU time of all commands together; without it, as much as the machine has.
    pub cpu_max: Option<CpuMax>,
    /// Files of a read-only memory file system at [`SECRETS_DIR`].
    pub secrets: Vec<Secret>,
    /// Their owner, as [`crate::Exec::user`] names one.
    pub secrets_owner: String,
    /// Fed to the guest's random number generator, and credited to it; at most 512 bytes.
    pub entropy: ByteString,
    /// The host's wall clock, nanoseconds since 1970; without it, the machine's own clock stands.
    pub unix_time_ns: Option<u64>,
}

impl Configure {
    /// The configuration with nothing but a root: 64 MiB of `/dev/shm` as Docker gives it, no mounts, hostname
    /// `localhost`.
    pub fn new(root: Root) -> Self {
        Self {
            version: crate::VERSION,
            root,
            mounts: Vec::new(),
            workdir: ByteString::default(),
            hostname: "localhost".to_owned(),
            domainname: String::new(),
            hosts: Vec::new(),
            resolver: None,
            interface: None,
            shm_bytes: 64 << 20,
            sysctls: Vec::new(),
            pids_max: None,
            cpu_max: None,
            secrets: Vec::new(),
            secrets_owner: String::new(),
            entropy: ByteString::default(),
            unix_time_ns: None,
        }
    }
}

/// Limits of all commands together, which can be changed while they run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestLimits {
    /// CPU time; without it, as much as the machine has.
    pub cpu_max: Option<CpuMax>,
    /// Memory, bytes; without it, as much as the machine has.
    pub memory_max_bytes: Option<u64>,
    /// Most processes and threads.
    pub pids_max: Option<u64>,
}

/// A file that only its owner reads.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// A file name: neither empty nor `.` nor `..`, and without a slash.
    pub name: String,
    /// Its content, at most [`MAX_SECRETS_BYTES`] with those of all others.
    pub value: ByteString,
}

/// Shows the name only: what is printed may end up in a log.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).finish_non_exhaustive()
    }
}

/// CPU time in each period, microseconds of one processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuMax {
    /// Time that may be used.
    pub quota_us: u32,
    /// The length of a period.
    pub period_us: u32,
}

/// What the guest's `/` is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Root {
    /// The EROFS image on the disk [`ROOT_SERIAL`].
    Image {
        /// Where writes go.
        upper: Upper,
    },
    /// A shared directory.
    Share {
        /// Its name below the file-sharing device's root.
        name: String,
        /// Where writes go; without it, into the shared directory itself.
        upper: Option<Upper>,
    },
    /// The file system init finds itself in; for tests of the agent on a host, where init mounts nothing.
    Current,
}

/// Where writes to the root go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upper {
    /// To a disk.
    Disk(ScratchDisk),
    /// To memory.
    Memory {
        /// Most bytes; half the RAM without it.
        size_bytes: Option<u64>,
    },
    /// Nowhere: the root is read-only once every mount is made.
    ReadOnly,
}

/// The disk that takes the writes, an ext4 on the disk [`SCRATCH_SERIAL`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScratchDisk {
    /// The file system is grown to the disk's size before its first use.
    pub grow: bool,
}

/// Something mounted at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub source: MountSource,
    /// An absolute path in the guest; made, with its parents, when it is not there.
    pub target: ByteString,
    /// No writes through this mount.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A directory of the host.
    Share {
        /// Its name below the file-sharing device's root.
        name: String,
        /// If the share is an empty directory, what the image has at the target is copied into it first
        /// (what Docker does for named volumes).
        populate: bool,
    },
    /// A single file of the host: the file [`SHARED_FILE`] in the share's directory.
    SharedFile {
        /// The share's name below the file-sharing device's root.
        name: String,
    },
    /// A Unix socket in the guest that leads to one of the host: each connection becomes a stream opened as
    /// [`crate::StreamId::Socket`].
    Socket {
        /// The host's name for it.
        id: SocketId,
        /// Permissions, 0 to 0o777.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// Memory.
    Tmpfs(Tmpfs),
    /// A place of the sandbox's own that starts with what the image has there and stays writable when the root is
    /// not (what an image's `VOLUME` asks for).
    Volume,
}

/// Options of a memory file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Most bytes; half the RAM without it.
    pub size_bytes: Option<u64>,
    /// Mode of its root, 0 to 0o7777; 0o1777 without it.
    pub mode: Option<u32>,
    /// Owner of its root.
    pub uid: u32,
    /// Group of its root.
    pub gid: u32,
    /// Programs on it may run (Docker's default is no).
    pub exec: bool,
    /// Set-user-id programs on it work (Docker's default is no).
    pub suid: bool,
    /// Device nodes on it work (Docker's default is no).
    pub dev: bool,
}

/// A line of `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// The address.
    pub address: IpAddr,
    /// Its names.
    pub names: Vec<String>,
}

/// A network interface's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// What the kernel calls it.
    pub name: String,
    /// Addresses, each with the length of its network's prefix, bits.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Where packets for everybody else go; at most one a family.
    pub gateways: Vec<IpAddr>,
    /// The longest packet, bytes; the card's own without it.
    pub mtu: Option<u32>,
}

/// What `/etc/resolv.conf` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    /// Servers, tried in order.
    pub servers: Vec<IpAddr>,
    /// Domains to look names up in.
    pub search: Vec<String>,
    /// Words of its `options` line.
    pub options: Vec<String>,
}
