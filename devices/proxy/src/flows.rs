//! Datagrams out of the guest: each pair of ends has a socket of the host's that is connected to the far one, so that nobody
//! else answers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use monocore_spec::Protocol;
use monocore_virtio::{Interest, Poller, ServiceError, receive_together};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, connect, recv, socket_with};

use crate::engine::{Engine, Route};
use crate::slab::{Id, Slab};
use crate::token::{TOKEN_FLOW, token};

/// How long a flow lasts after its last datagram, and once it was answered.
const LIFETIME: Duration = Duration::from_secs(30);
const ANSWERED_LIFETIME: Duration = Duration::from_secs(180);
/// How often old flows are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// The most datagrams of one flow before others come.
const TURN_DATAGRAMS: usize = 32;
/// Comes before every address.
const FIRST_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A pair of ends; `O` is the guest's.
#[derive(Debug)]
pub(crate) struct Flow<O> {
    pub(crate) owner: O,
    /// The other end, as the guest knows it.
    pub(crate) remote: SocketAddr,
    pub(crate) socket: OwnedFd,
    until: Instant,
    answered: bool,
    /// The other end of the socket is a member's machine.
    is_peer: bool,
    /// The poller does not watch the socket.
    paused: bool,
    /// Datagrams to take at the next turn. One where they come one by one: another look would only find that there is none.
    pub(crate) turn: usize,
}

/// Why there is no flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoFlow {
    /// It may not be.
    Denied,
    /// This host has no way there.
    Unreachable(Errno),
    /// This host has no sockets left.
    Exhausted,
}

/// All flows the guest began.
#[derive(Debug)]
pub(crate) struct Flows<O> {
    flows: Slab<Flow<O>>,
    by_ends: BTreeMap<(O, SocketAddr), Id>,
    /// Those that the guest had no room for.
    starved: Vec<Id>,
    sweep: Option<Instant>,
    /// Sockets of members' flows, to take out of the poller and to close: the other machine may have kept them open, too.
    leaving: Vec<OwnedFd>,
    /// Sockets of new flows give datagrams together that came together.
    together: bool,
}

impl<O> Default for Flows<O> {
    fn default() -> Self {
        Self {
            flows: Slab::default(),
            by_ends: BTreeMap::new(),
            starved: Vec::new(),
            sweep: None,
            leaving: Vec::new(),
            together: false,
        }
    }
}

impl<O: Copy + Ord> Flows<O> {
    /// Has the sockets of flows that begin from now on give datagrams together that came together, where the host can.
    pub(crate) fn receive_together(&mut self, together: bool) {
        self.together = together;
    }

    /// Watches every socket again, after a stop.
    pub(crate) fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        self.starved.clear();
        for id in self.flows.ids() {
            self.watch(poller, id)?;
        }
        Ok(())
    }

    /// The flow from `owner` to `remote`, which begins here if the engine lets it.
    ///
    /// # Errors
    /// The outer one where a socket cannot be watched; the inner one says what the guest is told.
    pub(crate) fn between(
        &mut self,
        engine: &mut Engine,
        poller: &Poller,
        (owner, local_port, remote): (O, u16, SocketAddr),
        now: Instant,
    ) -> Result<Result<&mut Flow<O>, NoFlow>, ServiceError> {
        let id = match self.by_ends.get(&(owner, remote)) {
            Some(id) => *id,
            None => {
                let (socket, is_peer) = match open(engine, poller, (local_port, remote), now) {
                    Ok(opened) => opened,
                    Err(why) => return Ok(Err(why)),
                };
                self.insert(engine, poller, (owner, remote), (socket, is_peer), now)?
            }
        };
        let Some(flow) = self.flows.get_mut(id) else { return Ok(Err(NoFlow::Exhausted)) };
        flow.used(now);
        Ok(Ok(flow))
    }

    /// A member began a flow from `remote` to `owner`; `socket` carries it. Another flow between the same ends goes on, but what
    /// the guest sends takes this one.
    pub(crate) fn accept(
        &mut self,
        engine: &mut Engine,
        poller: &Poller,
        ends: (O, SocketAddr),
        socket: OwnedFd,
        now: Instant,
    ) -> Result<(), ServiceError> {
        let id = self.insert(engine, poller, ends, (socket, true), now)?;
        if let Some(flow) = self.flows.get_mut(id) {
            flow.used(now);
        }
        Ok(())
    }

    fn insert(
        &mut self,
        engine: &mut Engine,
        poller: &Poller,
        (owner, remote): (O, SocketAddr),
        (socket, is_peer): (OwnedFd, bool),
        now: Instant,
    ) -> Result<Id, ServiceError> {
        if self.together && !is_peer {
            // Else each comes by itself.
            let _ = receive_together(&socket);
        }
        let flow =
            Flow { owner, remote, socket, until: now, answered: false, is_peer, paused: false, turn: 1 };
        let id = self.flows.insert(flow);
        self.by_ends.insert((owner, remote), id);
        self.watch(poller, id)?;
        engine.opened();
        self.sweep.get_or_insert(now + SWEEP);
        Ok(id)
    }

    /// The flow from `owner` to `remote`, if it has begun.
    pub(crate) fn begun(&mut self, ends: (O, SocketAddr), now: Instant) -> Option<&mut Flow<O>> {
        let flow = self.flows.get_mut(*self.by_ends.get(&ends)?)?;
        flow.used(now);
        Some(flow)
    }

    /// A flow by the number of its token.
    pub(crate) fn by_bits(&self, bits: u64) -> Option<Id> {
        self.flows.by_bits(bits)
    }

    pub(crate) fn get(&mut self, id: Id) -> Option<&mut Flow<O>> {
        self.flows.get_mut(id)
    }

    /// The guest has no room: the flow's socket is left alone until it has. It leaves the poller, which would otherwise report
    /// an error that waits in the socket without end.
    pub(crate) fn pause(&mut self, poller: &Poller, id: Id) -> Result<(), ServiceError> {
        self.starved.push(id);
        let Some(flow) = self.flows.get_mut(id) else { return Ok(()) };
        if !std::mem::replace(&mut flow.paused, true) {
            poller.remove(&flow.socket).map_err(ServiceError::host("leaving a flow"))?;
        }
        Ok(())
    }

    /// The flows that were paused; each is paused again or resumed.
    pub(crate) fn take_paused(&mut self) -> Vec<Id> {
        std::mem::take(&mut self.starved)
    }

    /// Has the flow's socket watched again.
    pub(crate) fn resume(&mut self, poller: &Poller, id: Id) -> Result<(), ServiceError> {
        if self.flows.get(id).is_some_and(|flow| flow.paused) { self.watch(poller, id) } else { Ok(()) }
    }

    /// Ends flows that are over.
    pub(crate) fn turn(&mut self, engine: &mut Engine, poller: &Poller, now: Instant) {
        for socket in self.leaving.drain(..) {
            // One that is paused is not there.
            let _ = poller.remove(&socket);
        }
        if self.sweep.is_none_or(|at| at > now) {
            return;
        }
        for id in self.flows.ids() {
            if self.flows.get_mut(id).is_some_and(|flow| flow.until <= now) {
                self.remove(engine, id);
            }
        }
        self.sweep = (self.flows.len() > 0).then(|| now + SWEEP);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.sweep
    }

    /// Ends flows to addresses that have become this host's: they were allowed as somebody else's.
    pub(crate) fn remove_host(&mut self, engine: &mut Engine) {
        for id in self.flows.ids() {
            if self.flows.get(id).is_some_and(|flow| engine.is_host(flow.remote.ip())) {
                self.remove(engine, id);
            }
        }
    }

    /// Ends all flows of `owner`.
    pub(crate) fn remove_all_of(&mut self, engine: &mut Engine, owner: O) {
        while let Some((&(_, remote), &id)) =
            self.by_ends.range((owner, FIRST_ADDRESS)..).next().filter(|((of, _), _)| *of == owner)
        {
            self.by_ends.remove(&(owner, remote));
            self.remove(engine, id);
        }
    }

    /// Ends the flow between `ends` if a member is at its other end.
    pub(crate) fn refuse(&mut self, engine: &mut Engine, ends: (O, SocketAddr)) {
        let id = self.by_ends.get(&ends).copied();
        if let Some(id) = id.filter(|id| self.flows.get(*id).is_some_and(|flow| flow.is_peer)) {
            self.remove(engine, id);
        }
    }

    /// Ends a flow.
    pub(crate) fn remove(&mut self, engine: &mut Engine, id: Id) {
        if let Some(flow) = self.flows.remove(id) {
            if self.by_ends.get(&(flow.owner, flow.remote)) == Some(&id) {
                self.by_ends.remove(&(flow.owner, flow.remote));
            }
            engine.closed();
            if flow.is_peer {
                self.leaving.push(flow.socket);
            }
        }
    }

    fn watch(&mut self, poller: &Poller, id: Id) -> Result<(), ServiceError> {
        let Some(flow) = self.flows.get_mut(id) else { return Ok(()) };
        flow.paused = false;
        poller
            .add(&flow.socket, token(TOKEN_FLOW, id), Interest::Read)
            .map_err(ServiceError::host("watching a flow"))
    }
}

impl<O> Flow<O> {
    /// Whether the other machine has closed the flow, which has an empty datagram or its end next. An empty datagram just
    /// before the end is lost.
    pub(crate) fn is_closed(&self) -> bool {
        if !self.is_peer {
            return false;
        }
        let mut look = [PollFd::new(&self.socket, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut look, Some(&now)).is_ok() && look[0].revents().contains(PollFlags::HUP)
    }

    /// The same, asked before the next datagram is received.
    pub(crate) fn is_over(&self) -> bool {
        let look = RecvFlags::PEEK | RecvFlags::TRUNC | RecvFlags::DONTWAIT;
        // Closed with datagrams unread, the socket says so once, as an error.
        self.is_peer
            && matches!(recv(&self.socket, &mut [0; 0], look), Ok((_, 0)) | Err(Errno::CONNRESET))
            && self.is_closed()
    }

    /// Whether nobody has ever answered on the flow.
    pub(crate) fn is_unanswered(&self) -> bool {
        !self.answered
    }

    fn used(&mut self, now: Instant) {
        self.until = now + if self.answered { ANSWERED_LIFETIME } else { LIFETIME };
    }

    /// The flow was answered: it lasts longer.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.answered = true;
        self.until = now + ANSWERED_LIFETIME;
    }

    /// A turn's datagrams are taken; `all` says whether there were no more.
    pub(crate) fn end_turn(&mut self, all: bool) {
        self.turn = if all { 1.max(self.turn / 2) } else { TURN_DATAGRAMS.min(self.turn * 2) };
    }
}

/// Asks whether a flow to `remote` may be and makes its socket; says whether a member's machine has its other end.
fn open(
    engine: &mut Engine,
    poller: &Poller,
    (local_port, remote): (u16, SocketAddr),
    now: Instant,
) -> Result<(OwnedFd, bool), NoFlow> {
    let Route { target, peer, .. } =
        engine.outbound(Protocol::Udp, remote, now).map_err(|_| NoFlow::Denied)?;
    if let Some(own) = peer {
        let dialed = engine.peers.dial(poller, Protocol::Udp, (own, local_port), target);
        return dialed.map(|end| (end.socket, true)).map_err(NoFlow::Unreachable);
    }
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::DGRAM, flags, None).map_err(|_| NoFlow::Exhausted)?;
    connect(&socket, &target).map_err(NoFlow::Unreachable)?;
    Ok((socket, false))
}
