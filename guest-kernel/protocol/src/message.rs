//! What travels on a connection: its opening, then on the control connection requests and events.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{ByteString, Configure, Exec, ExecId, ExitStatus, GuestLimits, Mount, TermSize};

/// The guest's first frame on every connection, at most [`crate::MAX_OPENING_BYTES`]. Its first variant keeps its
/// layout in every version, so that a host can always tell which version it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opening {
    /// The connection for requests and events; one in a guest's life.
    Control {
        /// The guest's [`crate::VERSION`].
        version: u32,
    },
    /// A connection for bytes.
    Stream(StreamId),
}

/// Which bytes a stream connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StreamId {
    /// A standard stream of a command.
    Exec {
        /// Of which.
        exec: ExecId,
        /// Which of its streams.
        stream: Stream,
    },
    /// A file's content, for [`Request::ReadFile`] or [`Request::WriteFile`].
    File(RequestId),
    /// A guest's program connected to the place of a socket of the host; both ways.
    Socket(SocketId),
    /// The guest's end of a connection that [`Request::Connect`] asked for; both ways.
    Connection(ConnectionId),
}

/// Names a Unix socket of the host that the guest may connect to; chosen by the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SocketId(pub u32);

/// Names a connection into the guest; chosen by the host, never used twice in a guest's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionId(pub u32);

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Host to guest; the host's end of stream is the command's end of file.
    Stdin,
    /// Guest to host.
    Stdout,
    /// Guest to host.
    Stderr,
    /// Both ways: a terminal.
    Terminal,
}

/// Pairs an [`Answer`] with its request; chosen by the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u32);

/// Host to guest. Those that carry a [`RequestId`] get exactly one [`Event::Answer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The first request, once.
    Configure(Box<Configure>),
    /// Runs a command; answered by [`Event::Started`] or [`Event::ExecFailed`], in the end by [`Event::Exited`].
    Exec(Box<Exec>),
    /// Sends a signal to a command's first process; nothing happens when it has ended.
    Signal {
        /// To which.
        exec: ExecId,
        /// The signal's number, 1 to 64.
        signal: u8,
    },
    /// Sends SIGKILL to a command's process group; nothing happens when the command has ended.
    KillGroup {
        /// Of which.
        exec: ExecId,
    },
    /// The terminal of a command has a new size.
    Resize {
        /// Of which.
        exec: ExecId,
        /// The size.
        size: TermSize,
    },
    /// Ends a command's standard input, whatever its stream still holds.
    CloseStdin {
        /// Of which.
        exec: ExecId,
    },
    /// Leaves a command to itself: its input stays open though nothing comes any more, and its output is discarded.
    Leave {
        /// Its answer's name.
        id: RequestId,
        /// Which.
        exec: ExecId,
    },
    /// Asks whether the agent is there.
    Ping(RequestId),
    /// Asks for the guest's use of resources.
    Stats(RequestId),
    /// Sets the wall clock.
    SetTime {
        /// Its answer's name.
        id: RequestId,
        /// Nanoseconds since 1970.
        unix_time_ns: u64,
    },
    /// Stirs the random number generator: after a restore, two guests must not share its state.
    Reseed {
        /// Its answer's name.
        id: RequestId,
        /// At most 512 bytes.
        entropy: ByteString,
    },
    /// Mounts something more.
    AddMount {
        /// Its answer's name.
        id: RequestId,
        /// What and where.
        mount: Mount,
    },
    /// Unmounts.
    RemoveMount {
        /// Its answer's name.
        id: RequestId,
        /// Where.
        target: ByteString,
    },
    /// Asks for a file's metadata.
    StatFile {
        /// Its answer's name.
        id: RequestId,
        /// An absolute path.
        path: ByteString,
    },
    /// Reads a file: its bytes come on a connection opened as [`StreamId::File`], then the answer.
    ReadFile {
        /// Its answer's and its stream's name.
        id: RequestId,
        /// An absolute path.
        path: ByteString,
    },
    /// Writes a file, made or replaced: its bytes go over a connection opened as [`StreamId::File`]; the answer
    /// follows that stream's end.
    WriteFile {
        /// Its answer's and its stream's name.
        id: RequestId,
        /// An absolute path.
        path: ByteString,
        /// Permissions if the file is made, 0 to 0o7777.
        mode: u32,
    },
    /// Connects to a Unix socket in the guest. The stream opened as [`StreamId::Connection`] is the answer, or
    /// [`Event::NotConnected`].
    Connect {
        /// The connection's name.
        connection: ConnectionId,
        /// The socket's absolute path.
        path: ByteString,
    },
    /// Writes everything down that a disk must have; the answer says that it is done.
    Sync(RequestId),
    /// Ends every process and writes everything down; after the answer the host may end the machine.
    Shutdown(RequestId),
    /// Connects to a TCP port of the guest's loopback interface. The stream opened as [`StreamId::Connection`] is the
    /// answer, or [`Event::NotConnected`].
    ConnectPort {
        /// The connection's name.
        connection: ConnectionId,
        /// The port.
        port: u16,
    },
    /// Gives the commands other limits. The answer is an error, and nothing is changed, if they use more memory.
    SetLimits {
        /// Its answer's name.
        id: RequestId,
        /// All of the limits.
        limits: GuestLimits,
    },
    /// Gives a network interface a further address, or takes it away.
    SetAddress {
        /// Its answer's name.
        id: RequestId,
        /// The interface's name.
        interface: String,
        /// The address.
        address: IpAddr,
        /// Length of the prefix, bits.
        prefix: u8,
        /// Whether the interface is to have the address.
        is_wanted: bool,
    },
}

/// Guest to host, on the control connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The command runs.
    Started {
        /// Which.
        exec: ExecId,
        /// Its process, in the guest's numbering.
        pid: u32,
    },
    /// The command could not be started.
    ExecFailed {
        /// Which.
        exec: ExecId,
        /// What a shell would report: 127 not found, 126 not executable, 125 otherwise.
        code: u8,
        /// Why, naming the program, user or directory.
        message: String,
    },
    /// The command ended. Its output may still be under way; each stream's end says that it is complete.
    Exited {
        /// Which.
        exec: ExecId,
        /// How.
        status: ExitStatus,
    },
    /// Memory was out, and the kernel ended a process of the commands.
    OutOfMemory,
    /// Nobody accepted a connection.
    NotConnected {
        /// Which.
        connection: ConnectionId,
        /// Why.
        message: String,
    },
    /// The answer to a request.
    Answer {
        /// To which.
        id: RequestId,
        /// The result, or why it failed.
        result: Result<Answer, String>,
    },
    /// The guest could not become what [`Configure`] says, or a request made no sense.
    Failed {
        /// What went wrong, on which input.
        message: String,
        /// No command will ever run.
        fatal: bool,
    },
}

/// What a request gives back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// To [`Request::Stats`].
    Stats(Stats),
    /// To [`Request::StatFile`].
    File(FileStat),
}

/// The guest's use of resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Time since boot, milliseconds.
    pub uptime_ms: u64,
    /// RAM the kernel manages, bytes.
    pub memory_total_bytes: u64,
    /// RAM that could be had without swapping, bytes.
    pub memory_available_bytes: u64,
    /// Time all processors were busy in user space, milliseconds.
    pub cpu_user_ms: u64,
    /// Time all processors were busy in the kernel, milliseconds.
    pub cpu_system_ms: u64,
    /// Processes and threads.
    pub tasks: u32,
}

/// A file's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// What it is.
    pub kind: FileKind,
    /// Permissions, 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length, bytes.
    pub size_bytes: u64,
    /// Last change of the content, nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a pipe or a socket.
    Special,
}
