//! A client, as the supervisor and the session's threads see it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use monocore_protocol::{ExitStatus, Stream};
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::message::{ControlReply, ControlRequest};
use super::wire::{self, Received};
use crate::session::{Remote, SessionError};

/// A connected client. Replies are sent without waiting: a client that does not read them is cut off.
#[derive(Debug)]
pub(crate) struct ControlPeer(OwnedFd);

impl ControlPeer {
    /// Takes over a connection.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// The next request, if one is there.
    pub(crate) fn receive(&self) -> Received<ControlRequest> {
        match wire::receive(&self.0, RecvFlags::DONTWAIT) {
            Ok(other) => other,
            Err(error) => {
                self.reply(&ControlReply::Refused(error.to_string()));
                Received::Closed
            }
        }
    }

    /// Says something.
    pub(crate) fn reply(&self, reply: &ControlReply) {
        self.send(reply, None);
    }

    /// Says something and passes a descriptor on.
    pub(crate) fn pass(&self, reply: &ControlReply, descriptor: BorrowedFd<'_>) {
        self.send(reply, Some(descriptor));
    }

    fn send(&self, reply: &ControlReply, descriptor: Option<BorrowedFd<'_>>) {
        if let Err(error) = wire::send(&self.0, reply, descriptor, SendFlags::DONTWAIT) {
            tracing::debug!(%error, "a client is cut off");
            // It may be gone already.
            let _ = rustix::net::shutdown(&self.0, Shutdown::Both);
        }
    }
}

impl AsFd for ControlPeer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Remote for ControlPeer {
    fn stream(&self, stream: Stream, connection: OwnedFd) {
        self.send(&ControlReply::Stream(stream), Some(connection.as_fd()));
    }

    fn started(&self, pid: u32) {
        self.reply(&ControlReply::Started { pid });
    }

    fn ended(&self, result: &Result<ExitStatus, SessionError>) {
        self.reply(&match result {
            Ok(status) => ControlReply::Exited(*status),
            Err(error) => ControlReply::NotStarted { code: error.exit_code(), message: error.to_string() },
        });
    }
}
