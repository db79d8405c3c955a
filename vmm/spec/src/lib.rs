//! Plain data that describes one virtual machine: no I/O, no handles, no behaviour.
//!
//! A [`VmSpec`] travels as JSON from the process that wants a machine to the process that becomes it. Files
//! are named by path or by the number of an inherited descriptor.

mod descriptors;
mod network;
mod peers;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use network::{
    Action, BoundPort, Cidr, Direction, LinkSpec, NatSpec, NetLimits, NetRate, NetRates, NetRule, NetSpec,
    NetTarget, PasstSpec, PolicySpec, PortRange, Protocol, ProxySpec, PublishedPort, Reach, TapRef, TapSpec,
};
pub use peers::{GroupAddress, PEER_MESSAGE_MAX_BYTES, PeerReply, PeerRequest, PeersSpec};

/// The version of [`VmSpec`] this crate writes and reads.
pub const SPEC_VERSION: u32 = 1;

/// One virtual machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmSpec {
    /// [`SPEC_VERSION`].
    pub version: u32,
    /// Names the machine in logs and thread names.
    pub name: String,
    /// Number of vCPUs, 1 to 64.
    pub vcpus: u8,
    /// Guest RAM.
    pub ram: RamSpec,
    /// What is booted.
    pub kernel: KernelSpec,
    /// Devices in the order of their addresses on the bus; at most 19.
    pub devices: Vec<DeviceSpec>,
    /// Where the text of the 8250 (early console of a foreign kernel, panics) goes.
    #[serde(default)]
    pub serial: Sink,
    /// Where the machine writes when it came to which point of its life: [`TimelineEntry`]s, one JSON object a line.
    #[serde(default)]
    pub timeline: Sink,
    /// Behaviour on a kernel that lacks a part of the jail of the machine's process.
    #[serde(default)]
    pub jail: JailMode,
    /// The inherited descriptor of the machine control channel, over which a supervisor asks.
    #[serde(default)]
    pub control: Option<i32>,
}

impl VmSpec {
    /// What decides about the guest's connections and makes them, if the machine's own process does; of several devices the
    /// first one's.
    pub fn proxy(&self) -> Option<&ProxySpec> {
        self.devices.iter().find_map(|device| match device {
            DeviceSpec::Vsock(vsock) => vsock.carries.as_ref(),
            DeviceSpec::Net(NetSpec::Nat(nat)) => Some(&nat.proxy),
            _ => None,
        })
    }

    /// Whether the guest's kernel hands its sockets to the socket device, instead of having a card.
    pub fn carries_sockets(&self) -> bool {
        self.devices
            .iter()
            .any(|device| matches!(device, DeviceSpec::Vsock(vsock) if vsock.carries.is_some()))
    }
}

/// Behaviour on a kernel that lacks a part of the jail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JailMode {
    /// The machine does not start.
    #[default]
    Strict,
    /// The machine runs with the parts the kernel has, after a warning.
    BestEffort,
}

/// Guest RAM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RamSpec {
    /// Size in MiB, at least 32.
    pub size_mib: u32,
    /// Shared (memfd) instead of private anonymous memory: for templates and vhost-user front ends.
    #[serde(default)]
    pub shared: bool,
}

/// What is booted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelSpec {
    /// An ELF vmlinux with a PVH entry note (x86_64) or an `Image` (aarch64).
    pub image: FileRef,
    /// Concatenated in order; each an initramfs (newc cpio).
    #[serde(default)]
    pub initrd: Vec<FileRef>,
    /// Words of the kernel command line, beside what the machine itself adds.
    #[serde(default)]
    pub command_line: String,
    /// What it can do to tell a device that there is work.
    #[serde(default)]
    pub kicks: Kicks,
}

/// How a kernel's virtio-mmio driver kicks a queue. One the machine did not count on works as well, but each kick goes through
/// the machine's process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kicks {
    /// By a store to QueueNotify, as every kernel can.
    #[default]
    Register,
    /// At the I/O port the device's vendor names, if it names one, as this project's kernel can: that costs less.
    Port,
}

/// A file that is there when the machine is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FileRef {
    /// By path.
    Path(PathBuf),
    /// An inherited descriptor's number.
    Fd(i32),
}

/// Where text from the guest goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Sink {
    /// Nowhere.
    #[default]
    Discard,
    /// An inherited descriptor's number.
    Fd(i32),
    /// A file, appended to.
    Path(PathBuf),
}

/// A device on the machine's bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DeviceSpec {
    /// virtio-vsock; at most one.
    Vsock(VsockSpec),
    /// virtio-blk.
    Block(BlockSpec),
    /// virtio-fs; at most one, it serves every share.
    Fs(FsSpec),
    /// virtio-console.
    Console(ConsoleSpec),
    /// virtio-rng, fed from the host's generator.
    Rng,
    /// virtio-balloon, which gives memory that the guest has freed back to the host.
    Balloon,
    /// virtio-net.
    Net(NetSpec),
}

/// A socket device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VsockSpec {
    /// The guest's context id, from 3.
    pub guest_cid: u32,
    /// Where connections lead.
    pub backend: VsockBackend,
    /// What the guest's kernel hands its own sockets to, if it is to: then they are its way to the network.
    #[serde(default)]
    pub carries: Option<ProxySpec>,
}

/// Where a guest's connections lead to and the host's come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum VsockBackend {
    /// An inherited SOCK_SEQPACKET socket over which stream sockets are handed, one a connection.
    Handoff {
        /// The descriptor's number.
        fd: i32,
    },
    /// Unix sockets: the host connects to `path` and says `CONNECT port\n`, the guest's connections to host
    /// port P arrive at `path_P` (Firecracker's convention).
    Unix {
        /// Path of the listening socket.
        path: PathBuf,
    },
    /// What the program that embeds the machine attaches to it; not for a machine in a process of its own.
    Attached,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSpec {
    /// What the driver reads as the disk's serial, at most 20 bytes of ASCII.
    pub serial: String,
    /// Its content.
    pub backend: BlockBackend,
}

/// A disk's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BlockBackend {
    /// Read-only: pieces of files one after the other.
    Concat {
        /// The pieces, in order.
        parts: Vec<BlockPart>,
    },
    /// One raw file, sparse, written in place.
    Raw {
        /// The file, a multiple of 512 bytes long.
        file: FileRef,
        /// The driver cannot write.
        #[serde(default)]
        read_only: bool,
    },
}

/// A piece of a read-only disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockPart {
    /// The file it lies in, or nothing for zeroes.
    pub file: Option<FileRef>,
    /// Where it begins in the file, bytes.
    #[serde(default)]
    pub offset_bytes: u64,
    /// Its length, a multiple of 512 bytes; what lies past the file's end reads as zeroes.
    pub len_bytes: u64,
}

/// The file-sharing device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FsSpec {
    /// The tag the guest mounts, at most 36 bytes.
    pub tag: String,
    /// What lies below its synthetic root from the start.
    pub shares: Vec<Share>,
    /// Shares may be added while the machine runs. A jailed machine then keeps a thread that Landlock does not hold.
    #[serde(default)]
    pub grows: bool,
}

/// A directory or file of the host that the guest sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Its name below the synthetic root; unique, no `/`.
    pub name: String,
    /// The directory, or the single file.
    pub source: FileRef,
    /// Writes are refused by the host.
    #[serde(default)]
    pub read_only: bool,
}

/// A console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleSpec {
    /// Where the guest's output goes.
    pub output: Sink,
    /// An inherited descriptor whose bytes the guest reads.
    #[serde(default)]
    pub input: Option<i32>,
}

/// A point of a machine's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// `built`, `first_run` (before the guest's first instruction), `mark:N` (the guest wrote boot mark N), `end`.
    pub event: String,
    /// CLOCK_MONOTONIC, in nanoseconds.
    pub monotonic_ns: u64,
}

/// How a machine ended; one line of JSON on the lifeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum VmExit {
    /// The guest powered off.
    PowerOff,
    /// The guest asked for a reboot.
    Reboot,
    /// The guest's kernel panicked.
    Panic {
        /// The end of its log, at most 64 KiB.
        text: String,
    },
    /// x86: the guest's kernel is lost.
    TripleFault,
    /// The hypervisor could not go on.
    InternalError {
        /// What it said.
        detail: String,
    },
    /// The machine was ended from outside.
    Killed,
}
