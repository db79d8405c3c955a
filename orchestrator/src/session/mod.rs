//! A session with the agent in a guest: its connections, the commands it runs, their streams and how they end.
//!
//! ```text
//!  caller ── Session, Process ──▶ driver thread ◀─▶ control connection ─▶ agent
//!  local descriptors ◀─▶ one pump thread per stream ◀─▶ stream connection ─▶ agent
//! ```
//!
//! [`Session::start`] spawns the driver thread; it owns every connection until a stream's is paired with the
//! command it belongs to and moves into a pump thread of its own. The caller's threads never touch a connection.
//! The guest is not trusted: what it dials without being asked for is closed, what it says is bounded, and nothing
//! it does can block more than its own session.

mod complaints;
mod connections;
mod driver;
mod error;
mod keys;
mod opening;
mod process;
mod pump;
mod relay;
mod signals;
mod sockets;
mod streams;
mod sys;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use monocore_protocol::{
    Answer, ByteString, Configure, Exec, ExecId, FileStat, Mount, Request, RequestId, SocketId, Stats, Stdin,
    Stdio,
};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

pub(crate) use complaints::printable;
pub use connections::{Connections, Handoff, Listener};
pub use error::SessionError;
pub use keys::{DetachKeys, KeyedInput, LeaveEvent};
pub use process::{Process, Waited};
pub use signals::{Outcome, Signals, Terminal, run_to_end};
pub use streams::{Input, Output, Remote, Streams};

use driver::{Command, Driver};
pub(crate) use process::Progress;
pub(crate) use pump::{Endpoint, spawn as spawn_pump};
pub use sys::SignalKind;

use crate::{HostSocket, PublishedSocket, Timeline};

/// A session with one guest, usable from any thread. Dropping it ends the session; the guest is not told.
#[derive(Debug)]
pub struct Session {
    link: Arc<Link>,
}

/// The callers' way to the driver.
#[derive(Debug)]
struct Link {
    commands: Sender<Command>,
    wake: OwnedFd,
    out_of_memory: OwnedFd,
    next_id: AtomicU32,
}

impl Session {
    /// Begins a session: the guest that dials through `connections` is told to become what `configure` says. Returns
    /// at once; commands may be given before the guest is there.
    ///
    /// # Errors
    /// No descriptor or thread is to be had.
    pub fn start(
        connections: impl Connections + 'static,
        configure: Configure,
    ) -> Result<Self, SessionError> {
        Self::start_timed(connections, configure, Timeline::default())
    }

    /// The same; what happens when goes to `timeline`.
    ///
    /// # Errors
    /// No descriptor or thread is to be had.
    pub fn start_timed(
        connections: impl Connections + 'static,
        configure: Configure,
        timeline: Timeline,
    ) -> Result<Self, SessionError> {
        let event = || {
            let ours = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let drivers = ours.try_clone()?;
            Ok((ours, drivers))
        };
        let failed = |error: std::io::Error| SessionError::io("making an event", error);
        let (wake, driver_wake) = event().map_err(failed)?;
        let (out_of_memory, told) = event().map_err(failed)?;
        let (commands, inbox) = mpsc::channel();
        let driver = Driver::new(Box::new(connections), configure, inbox, (driver_wake, told), timeline)?;
        std::thread::Builder::new()
            .name("session".to_owned())
            .stack_size(128 << 10)
            .spawn(move || driver.run())
            .map_err(|error| SessionError::io("spawning the session's thread", error))?;
        Ok(Self { link: Arc::new(Link { commands, wake, out_of_memory, next_id: AtomicU32::new(1) }) })
    }

    /// Readable when the guest's kernel has ended processes because memory was out, until
    /// [`Session::take_out_of_memory`].
    pub(crate) fn out_of_memory(&self) -> BorrowedFd<'_> {
        self.link.out_of_memory.as_fd()
    }

    /// Whether the guest's kernel has ended processes because memory was out since the last call.
    pub(crate) fn take_out_of_memory(&self) -> bool {
        let mut count = [0; 8];
        rustix::io::read(&self.link.out_of_memory, &mut count).is_ok()
    }

    /// Runs a command in the guest. Its `id` and `stdio` are the session's to choose, the latter by `streams`.
    ///
    /// # Errors
    /// The session has ended, or no descriptor is to be had. That the guest refuses the command is told by
    /// [`Process::wait`].
    pub fn exec(&self, mut exec: Exec, streams: Streams) -> Result<Process, SessionError> {
        exec.id = ExecId(self.link.next_id());
        exec.stdio = match &streams {
            Streams::Pipes { stdin: Input::Empty, .. } => Stdio::Pipes { stdin: Stdin::Empty },
            Streams::Pipes { .. } => Stdio::Pipes { stdin: Stdin::Stream },
            Streams::Terminal { size, .. } => Stdio::Terminal(*size),
            Streams::Remote { stdio, .. } => *stdio,
        };
        let remote = match &streams {
            Streams::Remote { peer, .. } => Some(Arc::clone(peer)),
            Streams::Pipes { .. } | Streams::Terminal { .. } => None,
        };
        let progress = Arc::new(Progress::new(remote)?);
        let id = exec.id;
        let command = Command::Exec { exec: Box::new(exec), streams, progress: Arc::clone(&progress) };
        self.link.send(command)?;
        Ok(Process::new(id, progress, Arc::clone(&self.link)))
    }

    /// Lets the guest connect to a socket of this host, under the name its configuration gives that. To be called before
    /// the first command: what the guest dials under an unknown name is closed.
    ///
    /// # Errors
    /// The session has ended.
    pub fn offer(&self, id: SocketId, socket: HostSocket) -> Result<(), SessionError> {
        self.link.send(Command::Offer(id, socket))
    }

    /// Connects what arrives at a socket of this host with a socket in the guest.
    ///
    /// # Errors
    /// The session has ended.
    pub fn publish(&self, socket: Arc<PublishedSocket>) -> Result<(), SessionError> {
        self.link.send(Command::Publish(socket))
    }

    /// Both, for the sockets of a plan.
    ///
    /// # Errors
    /// The session has ended.
    pub fn connect_sockets(
        &self,
        offered: Vec<HostSocket>,
        published: &[Arc<PublishedSocket>],
    ) -> Result<(), SessionError> {
        for (id, socket) in (0..).map(SocketId).zip(offered) {
            self.offer(id, socket)?;
        }
        published.iter().try_for_each(|socket| self.publish(Arc::clone(socket)))
    }

    /// Connects to a TCP port of the guest's loopback interface. `caller` gets the connection, which does not block,
    /// as a stream, or is told why there is none.
    ///
    /// # Errors
    /// The session has ended.
    pub(crate) fn connect_port(&self, port: u16, caller: Arc<dyn Remote>) -> Result<(), SessionError> {
        self.link.send(Command::ConnectPort(port, caller))
    }

    /// Asks whether the agent is there.
    ///
    /// # Errors
    /// It is not, or said nothing within `timeout`.
    pub fn ping(&self, timeout: Duration) -> Result<(), SessionError> {
        self.ask(timeout, Request::Ping).map(drop)
    }

    /// The guest's use of resources.
    ///
    /// # Errors
    /// The guest's, or it said nothing within `timeout`.
    pub fn stats(&self, timeout: Duration) -> Result<Stats, SessionError> {
        match self.ask(timeout, Request::Stats)? {
            Answer::Stats(stats) => Ok(stats),
            other => Err(SessionError::Answer(format!("{other:?}"))),
        }
    }

    /// A file's metadata.
    ///
    /// # Errors
    /// The guest's, or it said nothing within `timeout`.
    pub fn stat_file(
        &self,
        path: impl Into<ByteString>,
        timeout: Duration,
    ) -> Result<FileStat, SessionError> {
        let path = path.into();
        match self.ask(timeout, |id| Request::StatFile { id, path })? {
            Answer::File(stat) => Ok(stat),
            other => Err(SessionError::Answer(format!("{other:?}"))),
        }
    }

    /// Reads a file of the guest into `output`; returns when all of it is there.
    ///
    /// # Errors
    /// The guest's, or it took longer than `timeout`.
    pub fn read_file(
        &self,
        path: impl Into<ByteString>,
        output: Output,
        timeout: Duration,
    ) -> Result<(), SessionError> {
        let path = path.into();
        self.transfer(timeout, Transfer::Read(output), |id| Request::ReadFile { id, path })
    }

    /// Writes `input` into a file of the guest, made with permissions `mode` or replaced.
    ///
    /// # Errors
    /// The guest's, or it took longer than `timeout`.
    pub fn write_file(
        &self,
        path: impl Into<ByteString>,
        mode: u32,
        input: Input,
        timeout: Duration,
    ) -> Result<(), SessionError> {
        let path = path.into();
        self.transfer(timeout, Transfer::Write(input), |id| Request::WriteFile { id, path, mode })
    }

    /// Mounts something more in the guest.
    ///
    /// # Errors
    /// The guest's, or it said nothing within `timeout`.
    pub fn add_mount(&self, mount: Mount, timeout: Duration) -> Result<(), SessionError> {
        self.ask(timeout, |id| Request::AddMount { id, mount }).map(drop)
    }

    /// Leaves a command to itself: its input stays open, its output is discarded from here on.
    ///
    /// # Errors
    /// The guest's, or it said nothing within `timeout`.
    pub fn leave(&self, process: &Process, timeout: Duration) -> Result<(), SessionError> {
        let exec = process.id();
        self.ask(timeout, |id| Request::Leave { id, exec }).map(drop)
    }

    /// Unmounts what is at `target` in the guest.
    ///
    /// # Errors
    /// The guest's, or it said nothing within `timeout`.
    pub fn remove_mount(&self, target: impl Into<ByteString>, timeout: Duration) -> Result<(), SessionError> {
        let target = target.into();
        self.ask(timeout, |id| Request::RemoveMount { id, target }).map(drop)
    }

    /// Sets the guest's wall clock, nanoseconds since 1970.
    ///
    /// # Errors
    /// The guest's, or it said nothing within `timeout`.
    pub fn set_time(&self, unix_time_ns: u64, timeout: Duration) -> Result<(), SessionError> {
        self.ask(timeout, |id| Request::SetTime { id, unix_time_ns }).map(drop)
    }

    /// Stirs the guest's random number generator with at most 512 bytes.
    ///
    /// # Errors
    /// The guest's, or it said nothing within `timeout`.
    pub fn reseed(&self, entropy: impl Into<ByteString>, timeout: Duration) -> Result<(), SessionError> {
        let entropy = entropy.into();
        self.ask(timeout, |id| Request::Reseed { id, entropy }).map(drop)
    }

    /// Has the guest write everything down.
    ///
    /// # Errors
    /// The guest's, or it was not done within `timeout`.
    pub fn sync(&self, timeout: Duration) -> Result<(), SessionError> {
        self.ask(timeout, Request::Sync).map(drop)
    }

    /// Has the guest end every process and write everything down; then the machine may be ended.
    ///
    /// # Errors
    /// The guest's, or it was not done within `timeout`.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), SessionError> {
        self.ask(timeout, Request::Shutdown).map(drop)
    }

    /// Asks without waiting: `then` is called on the session's thread when the guest has answered or is lost.
    ///
    /// # Errors
    /// The session has ended; `then` is not called.
    pub(crate) fn ask_then(
        &self,
        request: impl FnOnce(RequestId) -> Request,
        then: impl FnOnce(Reply) + Send + 'static,
    ) -> Result<(), SessionError> {
        let id = RequestId(self.link.next_id());
        let reply = OnReply(Box::new(then));
        self.link.send(Command::Ask { id, request: Box::new(request(id)), reply, transfer: None })
    }

    fn ask(
        &self,
        timeout: Duration,
        request: impl FnOnce(RequestId) -> Request,
    ) -> Result<Answer, SessionError> {
        let (reply, answer) = OnReply::channel();
        let id = RequestId(self.link.next_id());
        self.link.send(Command::Ask { id, request: Box::new(request(id)), reply, transfer: None })?;
        receive(&answer, timeout)
    }

    fn transfer(
        &self,
        timeout: Duration,
        transfer: Transfer,
        request: impl FnOnce(RequestId) -> Request,
    ) -> Result<(), SessionError> {
        let (reply, answer) = OnReply::channel();
        let (done, copied) = mpsc::channel();
        let id = RequestId(self.link.next_id());
        let command =
            Command::Ask { id, request: Box::new(request(id)), reply, transfer: Some((transfer, done)) };
        self.link.send(command)?;
        receive(&answer, timeout)?;
        // The answer is the guest's; ours is whether the bytes also reached their local end.
        match copied.recv_timeout(timeout) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(SessionError::io("copying a file", error)),
            Err(_) => Err(SessionError::Timeout),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // An error says that the driver has already ended.
        let _ = self.link.send(Command::Close);
    }
}

/// The local end of a file's stream.
#[derive(Debug)]
enum Transfer {
    Read(Output),
    Write(Input),
}

/// A request's result.
pub(crate) type Reply = Result<Answer, SessionError>;

/// What happens with a request's result, on the session's thread.
struct OnReply(Box<dyn FnOnce(Reply) + Send>);

impl OnReply {
    /// One that passes the result to a thread that waits for it.
    fn channel() -> (Self, Receiver<Reply>) {
        let (reply, answer) = mpsc::channel();
        // Who asked may have stopped waiting.
        (Self(Box::new(move |result| drop(reply.send(result)))), answer)
    }

    fn call(self, result: Reply) {
        (self.0)(result);
    }
}

impl std::fmt::Debug for OnReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnReply")
    }
}

fn receive(answer: &Receiver<Reply>, timeout: Duration) -> Reply {
    match answer.recv_timeout(timeout) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(SessionError::Timeout),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(SessionError::Lost),
    }
}

impl Link {
    fn next_id(&self) -> u32 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn send(&self, command: Command) -> Result<(), SessionError> {
        self.commands.send(command).map_err(|_| SessionError::Lost)?;
        match rustix::io::write(&self.wake, &1u64.to_ne_bytes()) {
            // A counter that is full has long woken the driver.
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(error) => Err(SessionError::io("waking the session's thread", error)),
        }
    }
}
