//! The guest's name server: questions are judged by name, passed on to this host's servers, and answers judged by address.
//!
//! An answer is passed on as it came, byte for byte; only the question, the addresses and the chain of aliases between
//! them are read ([`message`]). An answer with an address that no rule opens is replaced by an empty one, so that a name
//! never leads inside.
//!
//! The names of the guest's groups come first: the supervisor knows them. A name of a group is never passed on.

pub mod message;
pub(crate) mod resolvers;
mod stream;
mod upstream;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use monocore_virtio::{Poller, Ready};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::engine::Engine;
use crate::policy::translators;
use crate::slab::{Id, Slab};
use crate::token::{TOKEN_DNS_STREAM, TOKEN_DNS_UPSTREAM, token};
use message::{Answer, Code, Question};
use stream::Stream;
use upstream::{Upstream, Way};

/// The port of name servers.
pub(crate) const PORT: u16 = 53;
/// Questions passed on and not answered yet; more are refused.
const MAX_PENDING: usize = 256;
/// The guest's connections to the name server.
const MAX_STREAMS: usize = 64;
/// How long a server has to answer before the next is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many servers are asked before the guest is told that none answered.
const MAX_TRIES: usize = 3;
/// The longest datagram for a guest that says nothing (RFC 1035 §4.2.1).
const PLAIN_BYTES: usize = 512;
/// The longest datagram whatever the guest says.
const MAX_DATAGRAM_BYTES: usize = 4096;

/// Who asked.
#[derive(Clone, Copy, Debug)]
enum Asker<D> {
    /// By a datagram.
    Datagram(D),
    /// Over a connection.
    Stream(Id),
    /// We, to find the network's translators.
    Us,
}

/// A question that was passed on.
#[derive(Debug)]
struct Pending<D> {
    asker: Asker<D>,
    query: Vec<u8>,
    question: Question,
    upstream: Upstream,
    tries: usize,
    deadline: Instant,
}

/// A question that may be for a name of the guest's groups.
#[derive(Debug)]
struct Asked<D> {
    asker: Asker<D>,
    query: Vec<u8>,
    question: Question,
}

/// An answer for who asked by datagram.
#[derive(Debug)]
pub(crate) struct Reply<D> {
    pub(crate) to: D,
    pub(crate) bytes: Vec<u8>,
}

/// The name server; `D` is what its front end knows of who asks by datagram.
#[derive(Debug)]
pub(crate) struct Forwarder<D> {
    servers: Vec<SocketAddr>,
    /// Questions that the supervisor has.
    asked: Slab<Asked<D>>,
    pending: Slab<Pending<D>>,
    streams: Slab<Stream>,
    /// Answers on their way to the guest.
    pub(crate) replies: Vec<Reply<D>>,
}

impl<D: Copy> Forwarder<D> {
    /// A name server that asks `servers`, in order.
    pub(crate) fn new(servers: &[IpAddr]) -> Self {
        Self::with_servers(servers.iter().map(|address| SocketAddr::new(*address, PORT)).collect())
    }

    /// The same, which asks servers at ports of their own.
    pub(crate) fn with_servers(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            asked: Slab::default(),
            pending: Slab::default(),
            streams: Slab::default(),
            replies: Vec::new(),
        }
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::with_servers(std::mem::take(&mut self.servers));
    }

    /// Looks for the network's translators, if need be (RFC 7050).
    pub(crate) fn look_for_translators(&mut self, engine: &mut Engine, poller: &Poller, now: Instant) {
        if !engine.looks_for_translators() {
            return;
        }
        let query = message::query_v6(translators::NAME);
        let asked = Question::parse(&query).is_ok_and(|question| {
            self.pass_on(poller, Asked { asker: Asker::Us, query, question }, now).is_ok()
        });
        if !asked {
            engine.found_translators(None);
        }
    }

    /// A question in a datagram of `from`.
    pub(crate) fn datagram(
        &mut self,
        engine: &mut Engine,
        poller: &Poller,
        from: D,
        query: Vec<u8>,
        now: Instant,
    ) {
        self.ask(engine, poller, Asker::Datagram(from), query, now);
    }

    /// A connection of the guest's to the name server: its other end.
    pub(crate) fn accept(&mut self, poller: &Poller) -> Option<OwnedFd> {
        if self.streams.len() >= MAX_STREAMS {
            return None;
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (theirs, ours) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
        let id = self.streams.insert(Stream::new(ours));
        let watched =
            self.streams.get_mut(id).is_some_and(|stream| stream.begin(poller, token(TOKEN_DNS_STREAM, id)));
        if watched {
            Some(theirs)
        } else {
            self.streams.remove(id);
            None
        }
    }

    /// A connection of the guest's has something, or has room.
    pub(crate) fn stream_ready(
        &mut self,
        engine: &mut Engine,
        poller: &Poller,
        bits: u64,
        ready: Ready,
        now: Instant,
    ) {
        let Some(id) = self.streams.by_bits(bits) else { return };
        let Some(stream) = self.streams.get_mut(id) else { return };
        let queries = stream.ready(ready);
        for query in queries {
            self.ask(engine, poller, Asker::Stream(id), query, now);
        }
        self.settle(poller, id);
    }

    /// A server has answered, or a connection to it got further.
    pub(crate) fn upstream_ready(&mut self, engine: &mut Engine, poller: &Poller, bits: u64, now: Instant) {
        let Some(id) = self.pending.by_bits(bits) else { return };
        let Some(pending) = self.pending.get_mut(id) else { return };
        match pending.upstream.turn(poller, token(TOKEN_DNS_UPSTREAM, id)) {
            Ok(Some(answer)) => {
                let Some(read) =
                    Answer::parse(&answer).filter(|read| read.is_to(&pending.question, pending.upstream.id))
                else {
                    // A datagram may be somebody else's, and the right one still come. Over a connection it is the server's.
                    if pending.upstream.way() == Way::Stream {
                        self.next_server(engine, poller, id, now);
                    }
                    return;
                };
                if let Some(pending) = self.pending.remove(id) {
                    self.judge(engine, poller, pending, answer, &read, now);
                }
            }
            Ok(None) => {}
            Err(_) => self.next_server(engine, poller, id, now),
        }
    }

    /// Goes on with questions whose servers did not answer in time.
    pub(crate) fn turn(&mut self, engine: &mut Engine, poller: &Poller, now: Instant) {
        self.look_for_translators(engine, poller, now);
        if self.deadline().is_none_or(|at| at > now) {
            return;
        }
        for id in self.pending.ids() {
            if self.pending.get_mut(id).is_some_and(|pending| pending.deadline <= now) {
                self.next_server(engine, poller, id, now);
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.pending.iter().map(|pending| pending.deadline).min()
    }

    fn ask(&mut self, engine: &mut Engine, poller: &Poller, asker: Asker<D>, query: Vec<u8>, now: Instant) {
        let question = match Question::parse(&query) {
            Ok(question) => question,
            Err(Some(code)) => return self.reply(engine, poller, asker, message::failure(&query, code)),
            Err(None) => return,
        };
        if engine.peers.is_member() && self.asked.len() < MAX_PENDING {
            let name = question.name.clone();
            let id = self.asked.insert(Asked { asker, query, question });
            if engine.peers.resolve(id.to_bits(), &name) {
                return;
            }
            // The supervisor does not listen.
            let Some(asked) = self.asked.remove(id) else { return };
            return self.ask_outside(engine, poller, asked, now);
        }
        self.ask_outside(engine, poller, Asked { asker, query, question }, now);
    }

    /// The supervisor has answered the question of number `bits`: the members that have the name, or nothing where it is not a
    /// name of the guest's groups.
    pub(crate) fn resolved(
        &mut self,
        engine: &mut Engine,
        poller: &Poller,
        bits: u64,
        addresses: Option<&[Ipv4Addr]>,
        now: Instant,
    ) {
        let asked = self.asked.by_bits(bits).and_then(|id| self.asked.remove(id));
        let Some(asked) = asked else { return };
        let Some(addresses) = addresses else { return self.ask_outside(engine, poller, asked, now) };
        let Asked { asker, query, question } = asked;
        engine.asked_group(&question.name);
        for address in addresses {
            engine.learn(&question.name, (*address).into(), Duration::ZERO, now);
        }
        let most = match asker {
            Asker::Datagram(..) => question.datagram_bytes.clamp(PLAIN_BYTES, MAX_DATAGRAM_BYTES),
            Asker::Stream(..) | Asker::Us => MAX_DATAGRAM_BYTES,
        };
        let answer = message::addresses(&query, &question, addresses, most);
        self.reply(engine, poller, asker, answer);
    }

    fn ask_outside(&mut self, engine: &mut Engine, poller: &Poller, asked: Asked<D>, now: Instant) {
        let Asked { asker, query, question } = asked;
        if !engine.ask(&question.name) {
            return self.reply(engine, poller, asker, message::failure(&query, Code::Refused));
        }
        if let Err(Asked { asker, query, .. }) = self.pass_on(poller, Asked { asker, query, question }, now) {
            self.reply(engine, poller, asker, message::failure(&query, Code::ServerFailure));
        }
    }

    /// Asks the first server; gives the question back where that cannot be.
    fn pass_on(&mut self, poller: &Poller, asked: Asked<D>, now: Instant) -> Result<(), Asked<D>> {
        if self.pending.len() >= MAX_PENDING {
            return Err(asked);
        }
        let way = if matches!(asked.asker, Asker::Stream(_)) { Way::Stream } else { Way::Datagram };
        let Some(upstream) =
            self.servers.first().and_then(|server| Upstream::new(*server, way, &asked.query))
        else {
            return Err(asked);
        };
        let Asked { asker, query, question } = asked;
        let pending = Pending { asker, query, question, upstream, tries: 1, deadline: now + PATIENCE };
        let id = self.pending.insert(pending);
        self.watch(poller, id);
        Ok(())
    }

    /// Passes an answer on, or what takes its place.
    fn judge(
        &mut self,
        engine: &mut Engine,
        poller: &Poller,
        pending: Pending<D>,
        mut answer: Vec<u8>,
        read: &Answer,
        now: Instant,
    ) {
        if let Asker::Us = pending.asker {
            return engine.found_translators(Some(&read.all_addresses));
        }
        let inside = read.all_addresses.iter().find(|address| !engine.may_resolve_to(**address));
        if let Some(address) = inside {
            tracing::info!(device = "net", name = pending.question.name, %address, "an answer leads inside and is not passed on");
            return self.reply(
                engine,
                poller,
                pending.asker,
                message::failure(&pending.query, Code::NoError),
            );
        }
        if !engine.may_answer(&pending.question.name, &read.aliases) {
            return self.reply(
                engine,
                poller,
                pending.asker,
                message::failure(&pending.query, Code::Refused),
            );
        }
        for (address, ttl) in &read.addresses {
            let ttl = Duration::from_secs((*ttl).into());
            engine.learn(&pending.question.name, *address, ttl, now);
            for alias in &read.aliases {
                engine.learn_alias(alias, *address, ttl, now);
            }
        }
        if let (Some(to), Some(from)) = (answer.get_mut(..2), pending.query.get(..2)) {
            to.copy_from_slice(from);
        }
        if let Asker::Datagram(..) = pending.asker {
            let most = pending.question.datagram_bytes.clamp(PLAIN_BYTES, MAX_DATAGRAM_BYTES);
            if answer.len() > most {
                answer = message::truncated(&pending.query);
            }
        }
        self.reply(engine, poller, pending.asker, answer);
    }

    fn next_server(&mut self, engine: &mut Engine, poller: &Poller, id: Id, now: Instant) {
        let Some(mut pending) = self.pending.remove(id) else { return };
        let server = self.servers.get(pending.tries % self.servers.len().max(1)).copied();
        let next = server.filter(|_| pending.tries < MAX_TRIES);
        match next.and_then(|server| Upstream::new(server, pending.upstream.way(), &pending.query)) {
            Some(upstream) => {
                pending.upstream = upstream;
                pending.tries += 1;
                pending.deadline = now + PATIENCE;
                let id = self.pending.insert(pending);
                self.watch(poller, id);
            }
            None => self.reply(
                engine,
                poller,
                pending.asker,
                message::failure(&pending.query, Code::ServerFailure),
            ),
        }
    }

    fn watch(&mut self, poller: &Poller, id: Id) {
        if let Some(pending) = self.pending.get_mut(id) {
            pending.upstream.begin(poller, token(TOKEN_DNS_UPSTREAM, id));
        }
    }

    fn reply(&mut self, engine: &mut Engine, poller: &Poller, asker: Asker<D>, bytes: Vec<u8>) {
        match asker {
            Asker::Datagram(to) => self.replies.push(Reply { to, bytes }),
            Asker::Stream(id) => {
                if let Some(stream) = self.streams.get_mut(id) {
                    stream.answer(&bytes);
                    self.settle(poller, id);
                }
            }
            // No server answered.
            Asker::Us => engine.found_translators(None),
        }
    }

    /// Watches a connection for what it waits for, or forgets it when it is over.
    fn settle(&mut self, poller: &Poller, id: Id) {
        let is_its = |asker: &Asker<D>| matches!(asker, Asker::Stream(of) if *of == id);
        let waits = self.pending.iter().any(|pending| is_its(&pending.asker))
            || self.asked.iter().any(|asked| is_its(&asked.asker));
        let over = self
            .streams
            .get_mut(id)
            .is_some_and(|stream| !stream.watch(poller, token(TOKEN_DNS_STREAM, id), waits));
        if over {
            self.streams.remove(id);
        }
    }
}

#[cfg(test)]
mod tests;
