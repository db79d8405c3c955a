//! The supervisor's part of a group: names, and links between members' machines.
//!
//! A machine cannot open a socket by path. So it asks its supervisor over the *line*, a socket pair, for a *link* to another
//! member. The supervisor makes a pair of sockets, gives one end to its machine, and sends the other end to the control socket
//! of the member's supervisor, which gives it to the member's machine. From then on the two machines talk without them.
//!
//! What the machine says is hostile: it gets links to running members of its own groups and to nobody else, and the member
//! learns the address from its own supervisor, not from the machine.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use monocore_spec::{GroupAddress, PEER_MESSAGE_MAX_BYTES, PeerReply, PeerRequest};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv, sendmsg, socketpair,
};

use crate::control::{self, PeerLink};
use crate::{Error, Home, JoinedGroup, groups};

/// Requests of the machine before others come.
const TURN: usize = 64;
/// Most addresses of one answer: they fit a message, and more than any resolver uses.
const MAX_ADDRESSES: usize = 256;

/// The line to a machine, and the groups that the sandbox is a member of.
#[derive(Debug)]
pub(crate) struct PeerLine {
    socket: OwnedFd,
    home: Home,
    groups: RefCell<Vec<JoinedGroup>>,
    /// The guest's network interface.
    interface: &'static str,
    /// The machine is gone.
    closed: Cell<bool>,
}

impl PeerLine {
    /// A line for a member of `groups`, whose guest has them at its network interface `interface`,
    /// and the end that the machine gets.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(crate) fn new(
        home: &Home,
        groups: &[JoinedGroup],
        interface: &'static str,
    ) -> Result<(Self, OwnedFd), Error> {
        let (socket, machine) = pair().map_err(|errno| Error::Spawn(errno.into()))?;
        let groups = RefCell::new(groups.to_vec());
        let line = Self { socket, home: home.clone(), groups, interface, closed: Cell::new(false) };
        Ok((line, machine))
    }

    /// What is readable when the machine asks something; nothing once it is gone.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        (!self.closed.get()).then(|| self.socket.as_fd())
    }

    /// The groups that the sandbox is a member of.
    pub(crate) fn groups(&self) -> Vec<JoinedGroup> {
        self.groups.borrow().clone()
    }

    /// The guest's network interface.
    pub(crate) fn interface(&self) -> &'static str {
        self.interface
    }

    /// Makes the machine a member of `groups` and of no other ones.
    ///
    /// # Errors
    /// The machine does not listen.
    pub(crate) fn regroup(&self, groups: Vec<JoinedGroup>) -> io::Result<()> {
        let addresses: Vec<GroupAddress> = groups.iter().map(JoinedGroup::address).collect();
        self.tell(&PeerReply::Groups { groups: addresses }, None)?;
        self.groups.replace(groups);
        Ok(())
    }

    /// Answers what the machine asks.
    pub(crate) fn serve(&self) {
        let mut bytes = [0; PEER_MESSAGE_MAX_BYTES];
        for _ in 0..TURN {
            if self.closed.get() {
                return;
            }
            match recv(&self.socket, &mut bytes[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => self.closed.set(true),
                Ok((count, _)) => match serde_json::from_slice(bytes.get(..count).unwrap_or_default()) {
                    Ok(request) => self.answer(request),
                    Err(error) => tracing::warn!(%error, "a machine asks for what makes no sense"),
                },
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(_) => self.closed.set(true),
            }
        }
    }

    fn answer(&self, request: PeerRequest) {
        match request {
            PeerRequest::Resolve { id, name } => {
                let mut addresses = groups::resolve(&self.home, &self.groups.borrow(), &name);
                if let Some(addresses) = &mut addresses {
                    addresses.truncate(MAX_ADDRESSES);
                }
                self.say(&PeerReply::Resolved { id, addresses }, None);
            }
            PeerRequest::Link { own, peer } => match self.link(own, peer) {
                Ok(Some(end)) => self.say(&PeerReply::Linked { own, peer }, Some(end.as_fd())),
                Ok(None) => self.say(&PeerReply::Absent { peer }, None),
                Err(error) => {
                    tracing::warn!(%error, %peer, "no link to a member");
                    self.say(&PeerReply::Absent { peer }, None);
                }
            },
        }
    }

    /// One end of a new link to the member at `peer`, the other end of which its supervisor has; nothing where no such member
    /// runs.
    fn link(&self, own: Ipv4Addr, peer: Ipv4Addr) -> io::Result<Option<OwnedFd>> {
        let groups = self.groups.borrow();
        let Some(group) = groups.iter().find(|group| group.address == own && own != peer) else {
            return Ok(None);
        };
        let Some(member) = groups::running_member(&self.home, group, peer) else { return Ok(None) };
        let (ours, theirs) = pair()?;
        let link =
            PeerLink { project: group.project.clone(), group: group.group.clone(), own: peer, peer: own };
        control::hand_link(&self.home.run().join(&member.id), link, theirs.as_fd())?;
        Ok(Some(ours))
    }

    /// Gives the machine a link that another member's supervisor has made.
    pub(crate) fn take_link(&self, link: &PeerLink, end: BorrowedFd<'_>) {
        let groups = self.groups.borrow();
        let group = groups.iter().find(|group| {
            (&group.project, &group.group, group.address) == (&link.project, &link.group, link.own)
        });
        let member = group.and_then(|group| groups::running_member(&self.home, group, link.peer));
        if member.is_some() {
            self.say(&PeerReply::Linked { own: link.own, peer: link.peer }, Some(end));
        }
    }

    /// Has the machine cut its links to a member that has left the group.
    pub(crate) fn drop_links(&self, link: &PeerLink) {
        let groups = self.groups.borrow();
        let group =
            groups.iter().find(|group| (&group.project, &group.group) == (&link.project, &link.group));
        if group.is_some_and(|group| groups::running_member(&self.home, group, link.peer).is_none()) {
            self.say(&PeerReply::Gone { peer: link.peer }, None);
        }
    }

    /// Tells the machine something, without waiting. One that does not listen misses it.
    fn say(&self, reply: &PeerReply, descriptor: Option<BorrowedFd<'_>>) {
        if let Err(error) = self.tell(reply, descriptor) {
            tracing::debug!(%error, "the machine does not listen");
        }
    }

    fn tell(&self, reply: &PeerReply, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let text = serde_json::to_vec(reply)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = descriptor.map(|descriptor| [descriptor]);
        if let Some(descriptors) = &descriptors {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.socket, &[IoSlice::new(&text)], &mut ancillary, flags)?;
        Ok(())
    }
}

fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

#[cfg(test)]
mod tests;
