//! The messages between the host and the agent in the guest, and their framing; no I/O.
//!
//! The guest dials every connection, to the host's vsock port [`AGENT_PORT`], and says first what the connection
//! is for: an [`Opening`], either *control* or one *stream*. On the control connection the host then sends
//! [`Request`]s and the guest [`Event`]s; the host may send its first requests ([`Configure`] and an [`Exec`])
//! together. A stream connection carries plain bytes after its opening, so that no message ever waits behind bulk
//! data; its end is the stream's end.
//!
//! A frame is a 32-bit little-endian length, 1 to [`MAX_FRAME_BYTES`], and that many bytes of
//! [postcard](https://postcard.jamesmunns.com/wire-format). Neither side trusts the other: whatever does not decode
//! is an [`DecodeError`], never a panic, and decoding needs memory in proportion to the frame.

mod bytes;
mod configure;
mod exec;
mod frame;
mod message;
#[cfg(test)]
mod tests;
mod tool;

pub use bytes::ByteString;
pub use configure::{
    Configure, CpuMax, GuestLimits, HostEntry, Interface, MAX_SECRETS_BYTES, Mount, MountSource, ROOT_SERIAL,
    Resolver, Root, SCRATCH_SERIAL, SECRETS_DIR, SHARE_TAG, SHARED_FILE, ScratchDisk, Secret, Tmpfs, Upper,
};
pub use exec::{Exec, ExecId, ExitStatus, Purpose, Resource, Rlimit, Stdin, Stdio, TermSize};
pub use frame::{DecodeError, Decoder, EncodeError, decode, encode, encode_into};
pub use message::{
    Answer, ConnectionId, Event, FileKind, FileStat, Opening, Request, RequestId, SocketId, Stats, Stream,
    StreamId,
};
pub use tool::{LIST_FIELDS, PROCESS_FIELDS, Tool, ToolPlacement};

/// The version both sides must agree on; raised by every change of a type in this crate.
pub const VERSION: u32 = 6;

/// The host's vsock port the agent dials.
pub const AGENT_PORT: u32 = 1024;

/// Most bytes of a frame's payload.
pub const MAX_FRAME_BYTES: usize = 1 << 20;

/// Most bytes of an [`Opening`]'s payload: who accepts a connection needs no more memory than this for a stranger.
pub const MAX_OPENING_BYTES: usize = 32;
