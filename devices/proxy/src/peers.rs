//! Connections to and from the other members of the guest's groups.
//!
//! A machine has one *line* to its supervisor, over which it asks for names and for a *link* to a member's machine. All else
//! goes over the link, from machine to machine: a [`Call`] for each connection or flow, with the descriptors of one end of
//! its socket pair. Bytes flow in the pair; no third process sees them.
//!
//! The member at a link's other end is known by the supervisor's word, not by what it says: it can call no other address than
//! the link's own, and in no other name. What it sends is hostile, and so are its descriptors: they are checked to be Unix
//! sockets of the kind that the call needs, and never waited for.

#[cfg(test)]
pub(crate) mod testing;
mod wire;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use monocore_spec::{GroupAddress, PeerReply, PeerRequest, Protocol};
use monocore_virtio::{Interest, Poller, ServiceError};
use monocore_vsock::Fate;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, send, socketpair};

use crate::slab::{Id, Slab};
use crate::token::{TOKEN_PEER_LINE, TOKEN_PEER_LINK, raw_token, token};
use wire::{Call, Received};

/// Packets of one socket before others come.
const TURN: usize = 64;
/// Links to one member at a time: both sides may ask for one at once.
const MAX_LINKS_EACH: usize = 4;
/// Members that a link is awaited to, at a time.
const MAX_AWAITED: usize = 1024;
/// Ports that Linux gives to sockets which ask for none.
const ANY_PORTS: std::ops::Range<u16> = 32768..60999;
/// What the machine that is called says when its guest has accepted.
const ACCEPTED: &[u8] = b"+";

/// The guest's end of a connection to a member, or of a flow of datagrams.
#[derive(Debug)]
pub(crate) struct PeerSocket {
    // Dropped first: whoever sees the socket's end looks at it.
    /// Of a connection: how it ends.
    pub(crate) fate: Option<Fate>,
    pub(crate) socket: OwnedFd,
}

/// A connection or flow from a member.
#[derive(Debug)]
pub(crate) struct PeerCall {
    pub(crate) protocol: Protocol,
    /// The guest's address in the group, and its port.
    pub(crate) guest: SocketAddr,
    /// The member's.
    pub(crate) peer: SocketAddr,
    pub(crate) end: PeerSocket,
}

/// What has happened.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    /// A member calls.
    Call(PeerCall),
    /// The answer to a question for a name; nothing where no member has it.
    Resolved { id: u64, addresses: Option<Vec<Ipv4Addr>> },
    /// There is a link to this member.
    Here(Ipv4Addr),
    /// No member runs at this address.
    Absent(Ipv4Addr),
    /// The guest's groups are others.
    Regrouped,
}

/// A connection to another member's machine.
#[derive(Debug)]
struct Link {
    own: Ipv4Addr,
    peer: Ipv4Addr,
    socket: OwnedFd,
    /// Calls that the socket had no room for.
    outbox: VecDeque<Call>,
}

/// All members, as far as the guest has to do with them.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    groups: Vec<GroupAddress>,
    line: Option<OwnedFd>,
    links: Slab<Link>,
    /// The newest link to each member.
    by_peer: HashMap<Ipv4Addr, Id>,
    /// Calls to members that a link is awaited to.
    awaited: HashMap<Ipv4Addr, Vec<Call>>,
    next_port: u16,
}

impl Peers {
    /// The members of `groups`; `line` leads to the supervisor.
    pub(crate) fn new(groups: Vec<GroupAddress>, line: OwnedFd) -> Self {
        Self { groups, line: Some(line), ..Self::default() }
    }

    /// Whether the guest is in any group.
    pub(crate) fn is_member(&self) -> bool {
        self.line.is_some() && !self.groups.is_empty()
    }

    /// The guest's own addresses.
    pub(crate) fn own(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.groups.iter().map(|group| group.address)
    }

    /// The guest's own address in the group that `address` is of.
    pub(crate) fn group_of(&self, address: IpAddr) -> Option<Ipv4Addr> {
        let IpAddr::V4(address) = address else { return None };
        self.groups.iter().find(|group| group.contains(address)).map(|group| group.address)
    }

    /// Watches the line and all links in a new poller.
    pub(crate) fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        let fail = ServiceError::host("watching the other members");
        let Some(line) = &self.line else { return Ok(()) };
        let mut watched = poller.add(line, raw_token(TOKEN_PEER_LINE, 0), Interest::Read);
        for id in self.links.ids() {
            let Some(link) = self.links.get(id) else { continue };
            watched =
                watched.and_then(|()| poller.add(&link.socket, token(TOKEN_PEER_LINK, id), interest(link)));
        }
        watched.map_err(fail)
    }

    /// The guest that called is gone; links are the machine's.
    pub(crate) fn reset(&mut self) {
        self.awaited.clear();
        for id in self.links.ids() {
            if let Some(link) = self.links.get_mut(id) {
                link.outbox.clear();
            }
        }
    }

    /// Calls the member at `to`, whose group knows the guest as `own`. The socket may be used at once; it ends where the member
    /// is not there.
    ///
    /// # Errors
    /// No descriptors are left, or the supervisor does not listen.
    pub(crate) fn dial(
        &mut self,
        poller: &Poller,
        protocol: Protocol,
        (own, from_port): (Ipv4Addr, u16),
        to: SocketAddr,
    ) -> Result<PeerSocket, Errno> {
        let IpAddr::V4(peer) = to.ip() else { return Err(Errno::HOSTUNREACH) };
        if peer == own {
            // The guest's kernel finds itself, unless it does not know the address.
            return Err(Errno::HOSTUNREACH);
        }
        let from_port = if from_port == 0 { self.any_port() } else { from_port };
        let (end, descriptors) = pairs(protocol)?;
        let call = Call { protocol, from_port, to_port: to.port(), descriptors };
        if let Some(&id) = self.by_peer.get(&peer) {
            self.call(poller, id, call);
        } else if let Some(calls) = self.awaited.get_mut(&peer) {
            calls.push(call);
        } else {
            self.ask_for_link(own, peer)?;
            self.awaited.insert(peer, vec![call]);
        }
        Ok(end)
    }

    /// Whether there is a link to the member at `peer`. Where there is none, one is asked for: [`PeerEvent`] tells.
    ///
    /// # Errors
    /// The supervisor does not listen.
    pub(crate) fn look_for(&mut self, own: Ipv4Addr, peer: Ipv4Addr) -> Result<bool, Errno> {
        if peer == own || self.by_peer.contains_key(&peer) {
            return Ok(true);
        }
        if !self.awaited.contains_key(&peer) {
            self.ask_for_link(own, peer)?;
            self.awaited.insert(peer, Vec::new());
        }
        Ok(false)
    }

    /// Asks for the addresses of `name`; says whether an answer will come.
    pub(crate) fn resolve(&self, id: u64, name: &str) -> bool {
        self.line
            .as_ref()
            .is_some_and(|line| wire::ask(line, &PeerRequest::Resolve { id, name: name.to_owned() }).is_ok())
    }

    /// The line or a link has something. `kind` is the token's kind.
    pub(crate) fn ready(&mut self, poller: &Poller, kind: u64, bits: u64) -> Vec<PeerEvent> {
        let mut events = Vec::new();
        if kind == TOKEN_PEER_LINE {
            self.read_line(poller, &mut events);
        } else if let Some(id) = self.links.by_bits(bits) {
            self.flush(poller, id);
            self.read_link(poller, id, &mut events);
        }
        events
    }

    /// A port for a socket of the guest that has none of its own.
    fn any_port(&mut self) -> u16 {
        let port = ANY_PORTS.start + self.next_port % (ANY_PORTS.end - ANY_PORTS.start);
        self.next_port = self.next_port.wrapping_add(1);
        port
    }

    fn ask_for_link(&self, own: Ipv4Addr, peer: Ipv4Addr) -> Result<(), Errno> {
        let line = self.line.as_ref().filter(|_| self.awaited.len() < MAX_AWAITED).ok_or(Errno::NOBUFS)?;
        wire::ask(line, &PeerRequest::Link { own, peer }).map_err(|_| Errno::NOBUFS)
    }

    fn read_line(&mut self, poller: &Poller, events: &mut Vec<PeerEvent>) {
        for _ in 0..TURN {
            let Some(line) = &self.line else { return };
            match wire::hear(line) {
                Received::Message(PeerReply::Linked { own, peer }, Some(socket)) => {
                    self.linked(poller, (own, peer), socket);
                    events.push(PeerEvent::Here(peer));
                }
                Received::Message(PeerReply::Absent { peer }, _) => {
                    // Dropping the calls' descriptors ends the guest's sockets.
                    self.awaited.remove(&peer);
                    events.push(PeerEvent::Absent(peer));
                }
                Received::Message(PeerReply::Gone { peer }, _) => {
                    self.cut_where(poller, |link| link.peer == peer)
                }
                Received::Message(PeerReply::Groups { groups }, _) => {
                    self.regroup(poller, groups);
                    events.push(PeerEvent::Regrouped);
                }
                Received::Message(PeerReply::Resolved { id, addresses }, _) => {
                    events.push(PeerEvent::Resolved { id, addresses });
                }
                Received::Message(PeerReply::Linked { .. }, None) | Received::Nonsense => {}
                Received::Nothing => return,
                Received::Closed => {
                    let _ = poller.remove(line);
                    (self.line, self.awaited) = (None, HashMap::new());
                }
            }
        }
    }

    /// The guest has these addresses from here on.
    fn regroup(&mut self, poller: &Poller, groups: Vec<GroupAddress>) {
        self.groups = groups;
        let own: Vec<Ipv4Addr> = self.own().collect();
        self.cut_where(poller, |link| !own.contains(&link.own));
        // Dropping the calls' descriptors ends the guest's sockets.
        let groups = &self.groups;
        self.awaited.retain(|peer, _| groups.iter().any(|group| group.contains(*peer)));
    }

    fn cut_where(&mut self, poller: &Poller, is_over: impl Fn(&Link) -> bool) {
        for id in self.links.ids() {
            if self.links.get(id).is_some_and(&is_over) {
                self.cut(poller, id);
            }
        }
    }

    fn linked(&mut self, poller: &Poller, (own, peer): (Ipv4Addr, Ipv4Addr), socket: OwnedFd) {
        let is_own = self.own().any(|address| address == own);
        if !is_own || self.links.iter().filter(|link| link.peer == peer).count() >= MAX_LINKS_EACH {
            return;
        }
        let id = self.links.insert(Link { own, peer, socket, outbox: VecDeque::new() });
        let watched = self
            .links
            .get(id)
            .is_some_and(|link| poller.add(&link.socket, token(TOKEN_PEER_LINK, id), Interest::Read).is_ok());
        if !watched {
            self.links.remove(id);
            self.awaited.remove(&peer);
            return;
        }
        self.by_peer.insert(peer, id);
        for call in self.awaited.remove(&peer).unwrap_or_default() {
            self.call(poller, id, call);
        }
    }

    fn call(&mut self, poller: &Poller, id: Id, call: Call) {
        let Some(link) = self.links.get_mut(id) else { return };
        link.outbox.push_back(call);
        if link.outbox.len() == 1 {
            self.flush(poller, id);
        }
    }

    /// Sends calls as far as the socket has room.
    fn flush(&mut self, poller: &Poller, id: Id) {
        let Some(link) = self.links.get_mut(id) else { return };
        let had = !link.outbox.is_empty();
        while let Some(call) = link.outbox.front() {
            match call.send(&link.socket) {
                Err(Errno::AGAIN) => break,
                // One that cannot be sent, most likely for want of descriptors, is refused.
                Ok(()) | Err(_) => drop(link.outbox.pop_front()),
            }
        }
        if had && poller.modify(&link.socket, token(TOKEN_PEER_LINK, id), interest(link)).is_err() {
            self.cut(poller, id);
        }
    }

    fn read_link(&mut self, poller: &Poller, id: Id, events: &mut Vec<PeerEvent>) {
        for _ in 0..TURN {
            let Some(link) = self.links.get(id) else { return };
            match Call::receive(&link.socket) {
                Received::Message(call, ()) => events.extend(incoming(link, call)),
                Received::Nonsense => {}
                Received::Nothing => return,
                Received::Closed => return self.cut(poller, id),
            }
        }
    }

    /// The other machine is gone.
    fn cut(&mut self, poller: &Poller, id: Id) {
        let Some(link) = self.links.remove(id) else { return };
        let _ = poller.remove(&link.socket);
        if self.by_peer.get(&link.peer) == Some(&id) {
            self.by_peer.remove(&link.peer);
            // An older one may still be good.
            let other = self.links.ids().into_iter();
            let mut other =
                other.filter(|id| self.links.get(*id).is_some_and(|other| other.peer == link.peer));
            if let Some(id) = other.next() {
                self.by_peer.insert(link.peer, id);
            }
        }
    }
}

impl PeerSocket {
    /// Tells the machine that called that the guest has accepted; says whether it is still there.
    pub(crate) fn accept(socket: &OwnedFd) -> bool {
        send(socket, ACCEPTED, wire::SENDING).is_ok()
    }
}

fn interest(link: &Link) -> Interest {
    if link.outbox.is_empty() { Interest::Read } else { Interest::ReadWrite }
}

/// The call as the guest sees it, if its descriptors are what they should be.
fn incoming(link: &Link, call: Call) -> Option<PeerEvent> {
    let Call { protocol, from_port, to_port, descriptors } = call;
    let mut descriptors = descriptors.into_iter();
    let socket = descriptors.next()?;
    let fate = descriptors.next();
    let kind = if protocol == Protocol::Tcp { SocketType::STREAM } else { SocketType::SEQPACKET };
    let good = wire::is_unix(&socket, kind)
        && fate.as_ref().is_none_or(|fate| wire::is_unix(fate, SocketType::STREAM))
        && fate.is_some() == (protocol == Protocol::Tcp);
    let call = PeerCall {
        protocol,
        guest: SocketAddr::new(link.own.into(), to_port),
        peer: SocketAddr::new(link.peer.into(), from_port),
        end: PeerSocket { socket, fate: fate.map(Fate::new) },
    };
    good.then_some(PeerEvent::Call(call))
}

/// The guest's end, and the descriptors that the member gets.
fn pairs(protocol: Protocol) -> Result<(PeerSocket, Vec<OwnedFd>), Errno> {
    let pair = |kind| {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socketpair(AddressFamily::UNIX, kind, flags, None)
    };
    if protocol != Protocol::Tcp {
        let (socket, theirs) = pair(SocketType::SEQPACKET)?;
        return Ok((PeerSocket { socket, fate: None }, vec![theirs]));
    }
    let (socket, theirs) = pair(SocketType::STREAM)?;
    let (fate, their_fate) = pair(SocketType::STREAM)?;
    Ok((PeerSocket { socket, fate: Some(Fate::new(fate)) }, vec![theirs, their_fate]))
}

#[cfg(test)]
mod tests;
