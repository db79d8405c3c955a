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

#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    //! What the fuzz target of the control socket calls.

    use std::fmt::Debug;

    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::{ControlReply, ControlRequest, wire};

    /// Decodes a frame of a client. A frame that is a message must mean the same when it is sent again.
    ///
    /// # Panics
    /// The message changes on its way, or cannot be sent again.
    pub fn request(frame: &[u8]) {
        judge::<ControlRequest>(frame);
    }

    /// The same for a frame of a supervisor.
    ///
    /// # Panics
    /// As [`request`].
    pub fn reply(frame: &[u8]) {
        judge::<ControlReply>(frame);
    }

    fn judge<T: Serialize + DeserializeOwned + PartialEq + Debug>(frame: &[u8]) {
        if let Ok(message) = wire::decode::<T>(frame) {
            let again = wire::encode(&message).expect("what fitted a frame fits one");
            assert_eq!(wire::decode::<T>(&again).ok().as_ref(), Some(&message));
        }
    }

    /// The version that a frame begins with.
    #[must_use]
    pub fn version() -> u16 {
        wire::CONTROL_VERSION
    }
}

#[cfg(test)]
mod tests;
