//! The server: one request in, one reply out.
//!
//! It is a plain object without threads or queues; the device feeds it. Whoever calls [`Server::handle`] does the
//! blocking.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use monocore_virtio::{Buffers, GuestFault};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::error::FsError;
use crate::handles::Handles;
use crate::locks::{OwnerLocks, Results, Waiters};
use crate::nodes::{NodeLimits, Nodes};
use crate::owners::{OwnerPolicy, Owners};
use crate::share::{FsHandle, FsShare, Registry};
use crate::sync::Dirty;
use crate::wire::{Args, InHeader, Opcode, OutHeader, PATH_MAX, WriteIn, XATTR_MAX};

/// Longest arguments of a request, WRITE's data not counted: a value of an extended attribute with its name.
const MAX_ARGS: usize = XATTR_MAX + PATH_MAX;
const IN_HEADER: usize = size_of::<InHeader>();
const OUT_HEADER: usize = size_of::<OutHeader>();

/// What a guest may make the server hold, and how it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Whose the files are.
    pub owners: OwnerPolicy,
    /// Let the guest keep written data and write it back later: faster, and wrong as soon as the host writes too.
    pub writeback: bool,
    /// Most memory for the files known to the guest at once, in bytes. One takes about 250, with a name of up to 23
    /// characters.
    pub max_node_bytes: usize,
    /// Most descriptors held for the guest: half of them for open files.
    pub max_descriptors: usize,
}

impl ServerConfig {
    /// What fits this process: see [`OwnerPolicy::for_this_process`]; three quarters of the descriptors it may have now, 65536
    /// at most; 256 MiB of memory for the files that the guest knows, about a million.
    pub fn for_this_process() -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let descriptors = usize::try_from(limit / 4 * 3).unwrap_or(usize::MAX).min(65536);
        Self {
            owners: OwnerPolicy::for_this_process(),
            writeback: false,
            max_node_bytes: 256 << 20,
            max_descriptors: descriptors,
        }
    }
}

/// Counters of one device; only ever growing but for the last two.
#[derive(Debug, Default)]
pub struct FsMetrics {
    /// Requests answered, refused ones included.
    pub requests: AtomicU64,
    /// Requests refused with an error, "no such file" included.
    pub errors: AtomicU64,
    /// Requests that were none.
    pub malformed: AtomicU64,
    /// Bytes of file content read.
    pub read_bytes: AtomicU64,
    /// Bytes of file content written.
    pub written_bytes: AtomicU64,
    /// Breaches of the rules by the driver, each ended by a reset.
    pub guest_faults: AtomicU64,
    /// Files the guest knows now.
    pub nodes: AtomicU64,
    /// Handles the guest has open now.
    pub handles: AtomicU64,
}

monocore_virtio::device_counters!(FsMetrics {
    requests,
    errors,
    malformed,
    read_bytes,
    written_bytes,
    guest_faults,
    nodes,
    handles
});

/// A request that cannot even be answered: its driver is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It has only so many bytes.
    #[error("a request of {0} bytes is shorter than a header")]
    NoHeader(usize),
    /// So many bytes are no room for the reply's header.
    #[error("{0} bytes have no room for a reply")]
    NoRoom(usize),
}

impl From<Malformed> for GuestFault {
    fn from(malformed: Malformed) -> Self {
        Self::Request(match malformed {
            Malformed::NoHeader(_) => "shorter than its header",
            Malformed::NoRoom(_) => "no room for a reply",
        })
    }
}

/// What the guest and the server agreed on with INIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Session {
    pub(crate) minor: u32,
    pub(crate) flags: u64,
}

/// What a server is made of before it serves anybody; settled once, when the device is made.
#[derive(Clone, Debug)]
pub(crate) struct ServerParts {
    pub(crate) config: ServerConfig,
    pub(crate) owners: Owners,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<FsMetrics>,
    pub(crate) results: Arc<Results>,
}

impl ServerParts {
    /// # Errors
    /// [`FsError::Os`].
    pub(crate) fn new(config: ServerConfig, registry: Arc<Registry>) -> Result<Self, FsError> {
        let os = |what| move |source| FsError::Os { what, source };
        crate::locks::sys::handle_interrupts()
            .map_err(os("handling the signal that ends waits for locks"))?;
        let results = Results::new().map_err(os("making a server's event"))?;
        Ok(Self { config, owners: Owners::new(config.owners), registry, metrics: Arc::default(), results })
    }
}

/// Serves one device's shares.
#[derive(Debug)]
pub struct Server {
    pub(crate) config: ServerConfig,
    pub(crate) owners: Owners,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<FsMetrics>,
    pub(crate) session: Option<Session>,
    pub(crate) nodes: Nodes,
    pub(crate) handles: Handles,
    pub(crate) dirty: Dirty,
    pub(crate) locks: OwnerLocks,
    pub(crate) waiters: Waiters,
    /// Requests that waited for a lock when the device was stopped.
    pub(crate) parked: Vec<Parked>,
    /// Memory for a request's arguments and a reply, kept between requests.
    args: Vec<u8>,
    out: Vec<u8>,
}

/// One request on its way through an operation.
pub(crate) struct Call<'r> {
    pub(crate) op: Opcode,
    pub(crate) head: InHeader,
    pub(crate) args: Args<'r>,
    /// The whole request; WRITE's data lies behind its arguments.
    request: &'r Buffers<'r>,
    /// The room for the whole reply.
    reply: &'r Buffers<'r>,
    /// The reply behind its header.
    pub(crate) out: &'r mut Vec<u8>,
}

impl<'r> Call<'r> {
    /// WRITE's data, in the guest's memory.
    pub(crate) fn data(&self) -> Buffers<'r> {
        let mut data = Buffers::new();
        data.append_range(self.request, IN_HEADER + size_of::<WriteIn>(), usize::MAX);
        data
    }

    /// The room for the reply behind its header, in the guest's memory, at most `len_bytes` of it.
    pub(crate) fn room(&self, len_bytes: usize) -> Buffers<'r> {
        let mut room = Buffers::new();
        room.append_range(self.reply, OUT_HEADER, len_bytes);
        room
    }

    /// How much room there is for the reply behind its header, in bytes.
    pub(crate) fn room_bytes(&self) -> usize {
        self.reply.len_bytes().saturating_sub(OUT_HEADER)
    }

    /// Appends a structure to the reply.
    pub(crate) fn reply(&mut self, value: &(impl IntoBytes + Immutable)) {
        self.out.extend_from_slice(value.as_bytes());
    }
}

/// How an operation ended well.
pub(crate) enum Done {
    /// The reply is in [`Call::out`].
    Reply,
    /// So many bytes are in the room for the reply already.
    Data(usize),
    /// The answer comes when the wait with this ticket has ended.
    Later(u64),
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was answered with so many bytes; 0 for what knows no reply.
    Written(u32),
    /// It waits for a lock, under this ticket.
    Later(u64),
}

/// A request that waits for a lock: the queue it came by, and the first descriptor of its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Parked {
    pub(crate) ring: u16,
    pub(crate) head: u16,
}

impl Server {
    /// A server on its own, without a device, and the way to change its shares.
    ///
    /// # Errors
    /// [`FsError`] where a share is impossible.
    pub fn new(config: ServerConfig, shares: Vec<FsShare>) -> Result<(Self, FsHandle), FsError> {
        let registry =
            Registry::new().map_err(|source| FsError::Os { what: "making a server's event", source })?;
        let handle = FsHandle(Arc::clone(&registry));
        shares.into_iter().try_for_each(|share| handle.add(share))?;
        Ok((Self::from_parts(ServerParts::new(config, registry)?), handle))
    }

    pub(crate) fn from_parts(parts: ServerParts) -> Self {
        let ServerParts { config, owners, registry, metrics, results } = parts;
        let descriptors = config.max_descriptors.max(64);
        let limits = NodeLimits { bytes: config.max_node_bytes.max(4096), pins: descriptors / 2 };
        Self {
            config,
            owners,
            registry,
            metrics,
            session: None,
            nodes: Nodes::new(limits),
            handles: Handles::new(descriptors / 2),
            dirty: Dirty::default(),
            locks: OwnerLocks::new(descriptors / 8),
            waiters: Waiters::new(results),
            parked: Vec::new(),
            args: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Serves one request.
    ///
    /// # Errors
    /// [`Malformed`]; nothing was done then.
    pub fn handle(&mut self, request: &Buffers<'_>, reply: &Buffers<'_>) -> Result<Answer, Malformed> {
        let counted = self.handle_uncounted(request, reply);
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        count(if counted.is_ok() { &self.metrics.requests } else { &self.metrics.malformed });
        self.metrics.nodes.store(self.nodes.len() as u64, Ordering::Relaxed);
        self.metrics.handles.store(self.handles.len() as u64, Ordering::Relaxed);
        counted
    }

    /// Lets go of what belongs to shares that were removed.
    pub(crate) fn sweep(&mut self) {
        self.nodes.sweep();
        let nodes = &self.nodes;
        self.handles.retain(|node| nodes.get(node).is_ok());
        self.locks.retain(|node| nodes.get(node).is_ok());
        self.dirty.retain(|node| nodes.get(node).is_ok());
    }

    /// The requests whose wait for a lock has ended: ticket, number, and what the guest is told.
    pub(crate) fn ended_waits(&mut self) -> Vec<(u64, u64, Result<(), Errno>)> {
        let ended = self.waiters.ended();
        let told = ended
            .into_iter()
            .map(|(ticket, waiter, result)| (ticket, waiter.unique, self.lock_wait_ended(&waiter, result)));
        told.collect()
    }

    /// Writes the reply to request number `unique`, which waited, and returns its length in bytes.
    pub(crate) fn finish_wait(&self, unique: u64, result: Result<(), Errno>, reply: &Buffers<'_>) -> u32 {
        let head = InHeader { unique, ..InHeader::default() };
        self.finish(&head, result.map(|()| Done::Reply), reply, &[])
    }

    fn handle_uncounted(&mut self, request: &Buffers<'_>, reply: &Buffers<'_>) -> Result<Answer, Malformed> {
        let mut head = [0; IN_HEADER];
        let copied = request.copy_to(0, &mut head);
        let head = InHeader::read_from_bytes(head.get(..copied).unwrap_or_default());
        let head = head.map_err(|_| Malformed::NoHeader(copied))?;
        let mut args = std::mem::take(&mut self.args);
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let written = self.answer(head, request, reply, &mut args, &mut out);
        (self.args, self.out) = (args, out);
        written
    }

    fn answer(
        &mut self,
        head: InHeader,
        request: &Buffers<'_>,
        reply: &Buffers<'_>,
        args: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Answer, Malformed> {
        let op = Opcode::from_raw(head.opcode);
        let silent = op.is_some_and(Opcode::is_silent);
        if !silent && reply.len_bytes() < OUT_HEADER {
            return Err(Malformed::NoRoom(reply.len_bytes()));
        }
        // What is looked at is copied, once; WRITE's data is not looked at.
        let body = request.len_bytes().saturating_sub(IN_HEADER);
        let looked_at = if op == Some(Opcode::Write) { body.min(size_of::<WriteIn>()) } else { body };
        let whole = usize::try_from(head.len).is_ok_and(|len| len == request.len_bytes());
        let done = match op {
            None => Err(Errno::NOSYS),
            Some(_) if !whole || looked_at > MAX_ARGS => Err(Errno::INVAL),
            Some(op) => {
                args.resize(looked_at, 0);
                request.copy_to(IN_HEADER, args);
                self.dispatch(&mut Call { op, head, args: Args::new(args), request, reply, out })
            }
        };
        if silent {
            return Ok(Answer::Written(0));
        }
        if let Ok(Done::Later(ticket)) = done {
            return Ok(Answer::Later(ticket));
        }
        Ok(Answer::Written(self.finish(&head, done, reply, out)))
    }

    /// Writes the reply's header, and its body where it is not there yet.
    fn finish(&self, head: &InHeader, done: Result<Done, Errno>, reply: &Buffers<'_>, out: &[u8]) -> u32 {
        let room = reply.len_bytes().saturating_sub(OUT_HEADER);
        let (error, body) = match done {
            Ok(Done::Data(len)) => (0, len),
            Ok(Done::Reply) if out.len() <= room => (0, reply.copy_from(OUT_HEADER, out)),
            Ok(Done::Reply | Done::Later(_)) => (-Errno::INVAL.raw_os_error(), 0),
            Err(e) => (-e.raw_os_error(), 0),
        };
        if error != 0 {
            self.metrics.errors.fetch_add(1, Ordering::Relaxed);
        }
        let len = u32::try_from(OUT_HEADER + body).unwrap_or(u32::MAX);
        tracing::trace!(opcode = head.opcode, node = head.nodeid, error, len, "request");
        reply.copy_from(0, OutHeader { len, error, unique: head.unique }.as_bytes());
        len
    }
}
