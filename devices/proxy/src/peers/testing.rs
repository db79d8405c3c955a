//! The other ends of a machine's line and links, for tests.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use monocore_spec::{GroupAddress, PeerReply, PeerRequest};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// The guest's address in the group of these tests, and a member's.
pub(crate) const OWN: [u8; 4] = [10, 200, 0, 2];
pub(crate) const MEMBER: [u8; 4] = [10, 200, 0, 3];
const PATIENCE: Duration = Duration::from_secs(10);

/// The group, as the guest's machine knows it.
pub(crate) fn groups() -> Vec<GroupAddress> {
    vec![GroupAddress { address: OWN.into(), prefix: 24 }]
}

/// A socket pair that does not wait.
pub(crate) fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, kind, flags, None).unwrap()
}

/// A socket to a machine whose packets are looked at one by one.
#[derive(Debug)]
pub(crate) struct Far(pub(crate) OwnedFd);

impl Far {
    /// A supervisor's end of a line, and the machine's.
    pub(crate) fn line() -> (Self, OwnedFd) {
        let (ours, theirs) = pair(SocketType::SEQPACKET);
        (Self(ours), theirs)
    }

    pub(crate) fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
    }

    /// The next packet: its bytes and descriptors. Nothing where the other end is gone.
    pub(crate) fn receive(&self) -> (Vec<u8>, Vec<OwnedFd>) {
        readable(&self.0);
        let mut bytes = [0; 8192];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let count = recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags).unwrap().bytes;
        let descriptors = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        (bytes[..count].to_vec(), descriptors.flatten().collect())
    }

    pub(crate) fn request(&self) -> PeerRequest {
        serde_json::from_slice(&self.receive().0).unwrap()
    }

    pub(crate) fn reply(&self, reply: &PeerReply, descriptor: Option<BorrowedFd<'_>>) {
        self.send(&serde_json::to_vec(reply).unwrap(), descriptor.as_slice());
    }

    /// Gives the machine a link to [`MEMBER`]; the member's end.
    pub(crate) fn link(&self) -> Far {
        let (ours, theirs) = pair(SocketType::SEQPACKET);
        self.reply(&PeerReply::Linked { own: OWN.into(), peer: MEMBER.into() }, Some(theirs.as_fd()));
        Far(ours)
    }

    /// Calls the guest by TCP at `port`, as a member's machine does: this end of the connection, and of its fate.
    pub(crate) fn call(&self, port: u16) -> (OwnedFd, OwnedFd) {
        let [a, b] = port.to_le_bytes();
        let ((near, far), (near_fate, far_fate)) = (pair(SocketType::STREAM), pair(SocketType::STREAM));
        self.send(&[6, 0, 0x39, 0x30, a, b], &[far.as_fd(), far_fate.as_fd()]);
        (near, near_fate)
    }
}

/// Waits until `socket` has something, or has ended.
pub(crate) fn readable(socket: &OwnedFd) {
    let end = Instant::now() + PATIENCE;
    let wait = Timespec::try_from(PATIENCE).unwrap();
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    while poll(&mut fds, Some(&wait)).unwrap_or(0) == 0 {
        assert!(Instant::now() < end, "nothing comes");
    }
}
