//! The control socket of a running sandbox: `run/<id>/control.sock`.
//!
//! A SOCK_SEQPACKET socket that the sandbox's supervisor listens on. Each message is one frame of [`wire`]: requests
//! one way, replies the other. The bytes of a command's standard streams never pass through the supervisor: each
//! stream's connection into the guest is handed to the client as a descriptor, so a client that is stuck holds up
//! nobody else. Only the sandbox's own user and root may connect.

mod attach;
mod client;
mod message;
mod peer;
mod socket;
pub(crate) mod wire;

pub use attach::{Attachment, Detached};
pub use client::{ControlClient, ControlHandle, RemoteCommand};
pub(crate) use client::{hand_link, tell_gone};
pub use message::{Condition, ExecCall, LiveMount, SandboxStats};
pub(crate) use message::{Conflict, ControlReply, ControlRequest, LiveMountCall, PeerLink};
pub(crate) use peer::ControlPeer;
pub(crate) use socket::ControlSocket;

#[cfg(test)]
mod tests;
