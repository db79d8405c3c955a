//! The session's thread: accepts what the guest dials, pairs streams with commands, carries requests and events.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};

use monocore_protocol::{
    Configure, Decoder, Event, Exec, ExecId, Opening, Request, RequestId, SocketId, Stdin, Stdio, Stream,
    StreamId, VERSION, encode, encode_into,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::complaints::{Complaints, MESSAGE_BYTES, printable};
use super::connections::Connections;
use super::opening::{Opened, Unopened};
use super::process::{Progress, raise};
use super::pump::{self, Endpoint};
use super::sockets::Sockets;
use super::streams::{Input, Remote, Streams};
use super::{OnReply, SessionError, Transfer};
use crate::{HostSocket, PublishedSocket, Timeline};

/// Most connections that have not said what they are for; the guest's next one waits in the backlog.
const MAX_UNOPENED: usize = 64;
/// Most bytes of requests a guest may leave unread.
const MAX_UNSENT_BYTES: usize = 8 << 20;
const READ_BYTES: usize = 16 << 10;

/// What callers ask of the driver.
#[derive(Debug)]
pub(super) enum Command {
    /// Run a command.
    Exec { exec: Box<Exec>, streams: Streams, progress: Arc<Progress> },
    /// Send a request that has no answer.
    Tell(Box<Request>),
    /// Send a request and pass its answer on; a transfer's result follows on its own channel.
    Ask {
        id: RequestId,
        request: Box<Request>,
        reply: OnReply,
        transfer: Option<(Transfer, Sender<io::Result<()>>)>,
    },
    /// Let the guest connect to a socket.
    Offer(SocketId, HostSocket),
    /// Pass on what connects to a socket.
    Publish(Arc<PublishedSocket>),
    /// Connect to a port of the guest for a caller.
    ConnectPort(u16, Arc<dyn Remote>),
    /// End the session.
    Close,
}

/// The state of a session; owned by its thread.
pub(super) struct Driver {
    connections: Option<Box<dyn Connections>>,
    inbox: Receiver<Command>,
    wake: OwnedFd,
    unopened: Vec<Unopened>,
    control: Option<(OwnedFd, Decoder)>,
    unsent: Vec<u8>,
    awaited: BTreeMap<StreamId, Endpoint>,
    running: BTreeMap<ExecId, Arc<Progress>>,
    questions: BTreeMap<RequestId, OnReply>,
    sockets: Sockets,
    complaints: Complaints,
    timeline: Timeline,
    /// Counts processes of the guest that ended because memory was out.
    out_of_memory: OwnedFd,
    /// How many more are told of.
    more_out_of_memory: u32,
}

/// How often a session tells that memory was out: a guest must not fill the host's events.
const OUT_OF_MEMORY: u32 = 100;

/// Whether the session goes on.
enum Flow {
    Continue,
    Closed,
}

impl Driver {
    pub(super) fn new(
        connections: Box<dyn Connections>,
        configure: Configure,
        inbox: Receiver<Command>,
        (wake, out_of_memory): (OwnedFd, OwnedFd),
        timeline: Timeline,
    ) -> Result<Self, SessionError> {
        let unsent = encode(&Request::Configure(Box::new(configure))).map_err(SessionError::TooLong)?;
        let sockets = Sockets::new(&wake)?;
        Ok(Self {
            connections: Some(connections),
            inbox,
            wake,
            unopened: Vec::new(),
            control: None,
            unsent,
            awaited: BTreeMap::new(),
            running: BTreeMap::new(),
            questions: BTreeMap::new(),
            sockets,
            complaints: Complaints::default(),
            timeline,
            out_of_memory,
            more_out_of_memory: OUT_OF_MEMORY,
        })
    }

    /// Serves the session until it is closed or fails.
    pub(super) fn run(mut self) {
        let error = loop {
            match self.turn() {
                Ok(Flow::Continue) => {}
                Ok(Flow::Closed) => break SessionError::Lost,
                Err(error) => break error,
            }
        };
        tracing::debug!(%error, "the session ends");
        self.fail(&error);
    }

    /// Waits for something to happen and deals with all that has.
    fn turn(&mut self) -> Result<Flow, SessionError> {
        self.wait()?;
        if let Flow::Closed = self.take_commands()? {
            return Ok(Flow::Closed);
        }
        self.accept()?;
        self.open()?;
        self.receive()?;
        if self.control.is_some() {
            self.sockets.accept(&mut self.unsent).map_err(SessionError::TooLong)?;
        }
        self.flush()?;
        Ok(Flow::Continue)
    }

    fn wait(&self) -> Result<(), SessionError> {
        let mut fds = Vec::with_capacity(3 + self.unopened.len());
        fds.push(PollFd::new(&self.wake, PollFlags::IN));
        if let Some(connections) = self.connections.as_ref().filter(|_| self.unopened.len() < MAX_UNOPENED) {
            fds.push(PollFd::from_borrowed_fd(connections.as_fd(), PollFlags::IN));
        }
        if let Some((socket, _)) = &self.control {
            let out = if self.unsent.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            fds.push(PollFd::new(socket, PollFlags::IN | out));
        }
        if self.control.is_some() {
            fds.extend(self.sockets.listeners().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        }
        fds.extend(self.unopened.iter().map(|c| PollFd::from_borrowed_fd(c.as_fd(), PollFlags::IN)));
        match poll(&mut fds, self.sockets.retry().as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(SessionError::io("waiting for the guest", error)),
        }
    }

    fn take_commands(&mut self) -> Result<Flow, SessionError> {
        let mut count = [0; 8];
        match rustix::io::read(&self.wake, &mut count) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(SessionError::io("reading an event", error)),
        }
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Exec { exec, streams, progress }) => self.begin(exec, streams, progress),
                Ok(Command::Tell(request)) => {
                    encode_into(&*request, &mut self.unsent).map_err(SessionError::TooLong)?;
                }
                Ok(Command::Ask { id, request, reply, transfer }) => {
                    self.question(id, &request, reply, transfer);
                }
                Ok(Command::Offer(id, socket)) => self.sockets.offer(id, socket),
                Ok(Command::Publish(socket)) => self.sockets.publish(socket),
                Ok(Command::ConnectPort(port, caller)) => {
                    let asked = self.sockets.connect_port(port, caller, &mut self.unsent);
                    asked.map_err(SessionError::TooLong)?;
                }
                Ok(Command::Close) | Err(TryRecvError::Disconnected) => return Ok(Flow::Closed),
                Err(TryRecvError::Empty) => break,
            }
        }
        if self.control.is_some() && self.unsent.len() > MAX_UNSENT_BYTES {
            return Err(SessionError::Stuck);
        }
        Ok(Flow::Continue)
    }

    fn begin(&mut self, exec: Box<Exec>, streams: Streams, progress: Arc<Progress>) {
        let id = exec.id;
        if let Err(error) = encode_into(&Request::Exec(exec), &mut self.unsent) {
            return progress.ends(Err(SessionError::TooLong(error)));
        }
        let name = |stream| StreamId::Exec { exec: id, stream };
        match streams {
            Streams::Pipes { stdin, stdout, stderr } => {
                if !matches!(stdin, Input::Empty) {
                    let end = Endpoint::Stdin(stdin, Arc::clone(&progress));
                    self.awaited.insert(name(Stream::Stdin), end);
                }
                progress.output_opens();
                let end = Endpoint::Output(stdout, Arc::clone(&progress));
                self.awaited.insert(name(Stream::Stdout), end);
                progress.output_opens();
                let end = Endpoint::Output(stderr, Arc::clone(&progress));
                self.awaited.insert(name(Stream::Stderr), end);
            }
            Streams::Remote { stdio, peer } => {
                for stream in streams_of(stdio) {
                    self.awaited.insert(name(*stream), Endpoint::Remote(*stream, Arc::clone(&peer)));
                }
            }
            Streams::Terminal { size: _, input, output } => {
                progress.output_opens();
                let end = Endpoint::Terminal(input, output, Arc::clone(&progress));
                self.awaited.insert(name(Stream::Terminal), end);
            }
        }
        self.running.insert(id, progress);
    }

    fn question(
        &mut self,
        id: RequestId,
        request: &Request,
        reply: OnReply,
        transfer: Option<(Transfer, Sender<io::Result<()>>)>,
    ) {
        if let Err(error) = encode_into(request, &mut self.unsent) {
            return reply.call(Err(SessionError::TooLong(error)));
        }
        self.questions.insert(id, reply);
        match transfer {
            Some((Transfer::Read(output), done)) => {
                self.awaited.insert(StreamId::File(id), Endpoint::FileOutput(output, done));
            }
            Some((Transfer::Write(input), done)) => {
                self.awaited.insert(StreamId::File(id), Endpoint::FileInput(input, done));
            }
            None => {}
        }
    }

    fn accept(&mut self) -> Result<(), SessionError> {
        while self.unopened.len() < MAX_UNOPENED
            && let Some(connections) = &self.connections
        {
            match connections.accept() {
                Ok(socket) => self.unopened.push(Unopened::new(socket)),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => break,
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
                        // What the control connection still holds must be read before the end is told.
                        self.connections = None;
                    }
                    _ => return Err(SessionError::io("accepting the guest's connection", error)),
                },
            }
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), SessionError> {
        for connection in std::mem::take(&mut self.unopened) {
            match connection.advance() {
                Opened::Waiting(connection) => self.unopened.push(connection),
                Opened::Dropped => {}
                Opened::As(Opening::Control { version }, socket) => {
                    if version != VERSION {
                        return Err(SessionError::Version { guest: version, host: VERSION });
                    }
                    self.timeline.record("connected");
                    // A second one is the guest's mistake: it is closed.
                    self.control.get_or_insert_with(|| (socket, Decoder::default()));
                }
                Opened::As(Opening::Stream(StreamId::Socket(id)), socket) => {
                    self.sockets.connect_out(id, socket)
                }
                Opened::As(Opening::Stream(StreamId::Connection(id)), socket) => {
                    self.sockets.connect_in(id, socket)
                }
                Opened::As(Opening::Stream(id), socket) => {
                    if let Some(endpoint) = self.awaited.remove(&id) {
                        pump::spawn(endpoint, socket)
                            .map_err(|error| SessionError::io("spawning a stream's thread", error))?;
                    }
                }
            }
        }
        let over = self.connections.is_none() && self.unopened.is_empty() && self.control.is_none();
        if over { Err(SessionError::Lost) } else { Ok(()) }
    }

    /// Reads the control connection once; poll tells if there is more.
    fn receive(&mut self) -> Result<(), SessionError> {
        let Some((socket, decoder)) = &mut self.control else { return Ok(()) };
        let mut buffer = [0; READ_BYTES];
        match recv(&*socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::CONNRESET) => return Err(SessionError::Lost),
            Ok((count, _)) => decoder.push(&buffer[..count]),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(SessionError::io("reading from the guest's agent", error)),
        }
        while let Some((_, decoder)) = &mut self.control
            && let Some(event) = decoder.take::<Event>()?
        {
            self.event(event)?;
        }
        Ok(())
    }

    /// Takes in what the guest says; names it made up are ignored.
    fn event(&mut self, event: Event) -> Result<(), SessionError> {
        match event {
            Event::Started { exec, pid } => {
                self.timeline.record("started");
                if let Some(progress) = self.running.get(&exec) {
                    progress.started(pid);
                }
            }
            Event::ExecFailed { exec, code, message } => {
                let message = printable(&message, MESSAGE_BYTES);
                self.end(exec, Err(SessionError::Exec { code, message }));
                self.forget_streams(exec);
            }
            Event::Exited { exec, status } => {
                self.timeline.record("exited");
                self.end(exec, Ok(status));
            }
            Event::OutOfMemory => {
                if let Some(more) = self.more_out_of_memory.checked_sub(1) {
                    self.more_out_of_memory = more;
                    raise(&self.out_of_memory);
                }
            }
            Event::NotConnected { connection, message } => self.sockets.refused(connection, &message),
            Event::Answer { id, result } => {
                if result.is_err() {
                    self.awaited.remove(&StreamId::File(id));
                }
                if let Some(reply) = self.questions.remove(&id) {
                    reply.call(result.map_err(|text| SessionError::Refused(printable(&text, MESSAGE_BYTES))));
                }
            }
            Event::Failed { message, fatal: true } => {
                return Err(SessionError::Setup(printable(&message, MESSAGE_BYTES)));
            }
            Event::Failed { message, fatal: false } => self.complaints.warn(&message),
        }
        Ok(())
    }

    fn end(&mut self, exec: ExecId, result: Result<monocore_protocol::ExitStatus, SessionError>) {
        if let Some(progress) = self.running.remove(&exec) {
            progress.ends(result);
        }
    }

    /// The streams of a command that never ran will not be dialled.
    fn forget_streams(&mut self, exec: ExecId) {
        for stream in [Stream::Stdin, Stream::Stdout, Stream::Stderr, Stream::Terminal] {
            if let Some(endpoint) = self.awaited.remove(&StreamId::Exec { exec, stream }) {
                endpoint.abandon();
            }
        }
    }

    fn flush(&mut self) -> Result<(), SessionError> {
        let Some((socket, _)) = &self.control else { return Ok(()) };
        let mut sent = 0;
        while sent < self.unsent.len() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(socket.as_fd(), &self.unsent[sent..], flags) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // The reading side tells what the guest said last.
                Err(Errno::PIPE | Errno::CONNRESET) => sent = self.unsent.len(),
                Err(error) => return Err(SessionError::io("writing to the guest's agent", error)),
            }
        }
        self.unsent.drain(..sent);
        Ok(())
    }

    /// Tells everyone who waits.
    fn fail(self, error: &SessionError) {
        for progress in self.running.into_values() {
            progress.ends(Err(error.clone()));
        }
        for endpoint in self.awaited.into_values() {
            endpoint.abandon();
        }
        for reply in self.questions.into_values() {
            reply.call(Err(error.clone()));
        }
        // Commands sent from here on find the channel closed; those already in it hold what wakes their senders.
        while let Ok(command) = self.inbox.try_recv() {
            match command {
                Command::Exec { progress, .. } => progress.ends(Err(error.clone())),
                Command::Ask { reply, .. } => reply.call(Err(error.clone())),
                Command::ConnectPort(_, caller) => caller.ended(&Err(error.clone())),
                Command::Tell(_) | Command::Offer(..) | Command::Publish(_) | Command::Close => {}
            }
        }
    }
}

/// The streams that a guest dials for a command.
fn streams_of(stdio: Stdio) -> &'static [Stream] {
    match stdio {
        Stdio::Pipes { stdin: Stdin::Empty } => &[Stream::Stdout, Stream::Stderr],
        Stdio::Pipes { stdin: Stdin::Stream } => &[Stream::Stdin, Stream::Stdout, Stream::Stderr],
        Stdio::Terminal(_) => &[Stream::Terminal],
        Stdio::Null => &[],
    }
}
