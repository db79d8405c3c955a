//! The asking side: commands in a running sandbox, its end, its use of resources.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use monocore_protocol::{ExitStatus, Stdin, Stdio, Stream, TermSize};
use monocore_spec::PublishedPort;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, shutdown};

use super::message::{
    Condition, Conflict, ControlReply, ControlRequest, ExecCall, LiveMount, PeerLink, SandboxStats,
};
use super::socket;
use super::wire::{self, Received};
use crate::JoinedGroup;
use crate::live::{LifeSettings, MachineLimits};
use crate::session::{
    Endpoint, Input, LeaveEvent, Outcome, Progress, SessionError, SignalKind, Signals, Streams, Terminal,
    spawn_pump,
};
use crate::spec::MountSpec;
use crate::{Awaited, Error, Home, Record, mounts, publish};

/// How long a supervisor that asks another one waits to be accepted.
const LINK_PATIENCE: Duration = Duration::from_secs(1);

/// Hands `end` to the supervisor in `run_dir`, as one end of `link`.
///
/// # Errors
/// The supervisor is gone or does not accept.
pub(crate) fn hand_link(run_dir: &Path, link: PeerLink, end: BorrowedFd<'_>) -> io::Result<()> {
    let socket = socket::connect_within(run_dir, Some(LINK_PATIENCE))?;
    wire::send(&socket, &ControlRequest::PeerLink(link), Some(end), SendFlags::DONTWAIT)
}

/// Tells the supervisor in `run_dir` that the member at the other end of `link` has left the group.
///
/// # Errors
/// The supervisor is gone or does not accept.
pub(crate) fn tell_gone(run_dir: &Path, link: PeerLink) -> io::Result<()> {
    let socket = socket::connect_within(run_dir, Some(LINK_PATIENCE))?;
    wire::send(&socket, &ControlRequest::PeerGone(link), None, SendFlags::DONTWAIT)
}

/// A connection to a running sandbox's supervisor; one request at a time.
#[derive(Debug)]
pub struct ControlClient {
    socket: OwnedFd,
    name: String,
}

impl ControlClient {
    /// Connects to the supervisor of the sandbox with this record.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when nobody listens any more.
    pub fn connect(home: &Home, record: &Record) -> Result<Self, Error> {
        match socket::connect(&home.run().join(&record.id)) {
            Ok(socket) => Ok(Self { socket, name: record.name.clone() }),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    Err(Error::NotRunning(record.name.clone()))
                }
                _ => Err(Error::Control { name: record.name.clone(), problem: error.to_string() }),
            },
        }
    }

    /// Starts one more command, which goes on when this process ends. Its output is discarded.
    ///
    /// # Errors
    /// [`Error::NotStarted`] when the command could not be started, else the connection's.
    pub fn exec_detached(&self, call: ExecCall) -> Result<u32, Error> {
        self.send(&ControlRequest::Exec(Box::new(ExecCall { detach: true, ..call })))?;
        loop {
            match self.receive()? {
                Some((ControlReply::Started { pid }, _)) => return Ok(pid),
                Some((ControlReply::NotStarted { code, message }, _)) => {
                    return Err(Error::NotStarted { code, message });
                }
                other => self.unexpected(other.map(|(reply, _)| reply))?,
            }
        }
    }

    /// Starts one more command with these streams; it is killed when this process ends before it.
    ///
    /// # Errors
    /// The connection's. That the command could not be started is told by [`RemoteCommand::run_to_end`].
    pub fn exec(self, mut call: ExecCall, streams: Streams) -> Result<RemoteCommand, Error> {
        call.detach = false;
        let progress = Arc::new(Progress::new(None)?);
        let (stdio, awaited) = endpoints(streams, &progress);
        call.stdio = stdio;
        self.send(&ControlRequest::Exec(Box::new(call)))?;
        Ok(RemoteCommand { client: self, progress, awaited })
    }

    /// Stops the sandbox and waits for its end; its exit code. `None` for what the sandbox itself says about signal and
    /// time.
    ///
    /// # Errors
    /// The connection's.
    pub fn stop(&self, signal: Option<u8>, grace_ms: Option<u64>) -> Result<Option<u8>, Error> {
        self.send(&ControlRequest::Stop { signal, grace_ms })?;
        self.ended()
    }

    /// Sends a signal to the sandbox's command.
    ///
    /// # Errors
    /// The connection's.
    pub fn kill(&self, signal: u8) -> Result<(), Error> {
        self.send(&ControlRequest::Signal(signal))?;
        loop {
            match self.receive()? {
                Some((ControlReply::Done, _)) | None => return Ok(()),
                other => self.unexpected(other.map(|(reply, _)| reply))?,
            }
        }
    }

    /// Waits for the sandbox's end; its exit code, or nothing if its supervisor went without a word.
    ///
    /// # Errors
    /// The connection's.
    pub fn wait(&self) -> Result<Option<u8>, Error> {
        self.send(&ControlRequest::Wait)?;
        self.ended()
    }

    /// Waits until `condition` holds or cannot hold any more, at most until `deadline`.
    ///
    /// # Errors
    /// The connection's; [`Error::NotRunning`] if the supervisor went without a word.
    pub fn wait_for(&self, condition: Condition, deadline: Option<Instant>) -> Result<Awaited, Error> {
        self.send(&ControlRequest::WaitFor(condition))?;
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], left.as_ref()) {
                Ok(0) => return Ok(Awaited::TimedOut),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(self.failed(&errno.into())),
                Ok(_) => {}
            }
            match self.receive()? {
                Some((ControlReply::Reached, _)) => return Ok(Awaited::Reached),
                Some((ControlReply::Unhealthy, _)) => return Ok(Awaited::Unhealthy),
                Some((ControlReply::Ended { code }, _)) => return Ok(Awaited::Ended { code }),
                other => self.unexpected(other.map(|(reply, _)| reply))?,
            }
        }
    }

    /// Pauses the sandbox: nothing in it runs until [`Self::unpause`].
    ///
    /// # Errors
    /// It is paused already, or the connection's.
    pub fn pause(&self) -> Result<(), Error> {
        self.send(&ControlRequest::Pause)?;
        self.done()
    }

    /// Lets a paused sandbox go on.
    ///
    /// # Errors
    /// It is not paused, or the connection's.
    pub fn unpause(&self) -> Result<(), Error> {
        self.send(&ControlRequest::Unpause)?;
        self.done()
    }

    /// Mounts a directory, file or volume in the sandbox while it runs.
    ///
    /// # Errors
    /// The source is missing, the sandbox takes no mounts, or the guest cannot mount it.
    pub fn add_mount(&self, home: &Home, spec: &MountSpec) -> Result<(), Error> {
        let (call, root) = mounts::open_live(home, spec)?;
        let request = ControlRequest::AddMount(Box::new(call));
        let sent = wire::send(&self.socket, &request, Some(root.as_fd()), SendFlags::empty());
        sent.map_err(|error| self.failed(&error))?;
        self.mount_done(&spec.target)
    }

    /// Unmounts what [`Self::add_mount`] mounted at `target`. Nothing of it is served any more then, also not to a
    /// program that has it open.
    ///
    /// # Errors
    /// [`Error::NoMount`]; else the machine's or the connection's.
    pub fn remove_mount(&self, target: &str) -> Result<(), Error> {
        self.send(&ControlRequest::RemoveMount(target.to_owned()))?;
        self.mount_done(target)
    }

    /// What was mounted while the sandbox ran.
    ///
    /// # Errors
    /// The connection's.
    pub fn mounts(&self) -> Result<Vec<LiveMount>, Error> {
        self.send(&ControlRequest::Mounts)?;
        loop {
            match self.receive()? {
                Some((ControlReply::Mounts(mounts), _)) => return Ok(mounts),
                other => self.unexpected(other.map(|(reply, _)| reply))?,
            }
        }
    }

    /// Publishes a port of the guest while the sandbox runs; the port as it is bound.
    ///
    /// # Errors
    /// The port is taken, or the sandbox publishes none.
    pub fn add_port(&self, port: PublishedPort) -> Result<PublishedPort, Error> {
        let (port, socket) = publish::open_live(port)?;
        let request = ControlRequest::AddPort(port);
        let sent = wire::send(&self.socket, &request, Some(socket.as_fd()), SendFlags::empty());
        sent.map_err(|error| self.failed(&error))?;
        self.port_done(port).map(|()| port)
    }

    /// Closes a published port. Nobody is accepted there any more; connections stay.
    ///
    /// # Errors
    /// [`Error::NoPort`]; else the machine's or the connection's.
    pub fn remove_port(&self, port: PublishedPort) -> Result<(), Error> {
        self.send(&ControlRequest::RemovePort(port))?;
        self.port_done(port)
    }

    /// Gives the guest's commands other limits, within what the machine has.
    ///
    /// # Errors
    /// The sandbox is paused, its processes use more memory, or the connection's.
    pub(crate) fn set_limits(&self, limits: MachineLimits) -> Result<(), Error> {
        self.send(&ControlRequest::SetLimits(limits))?;
        loop {
            match self.receive()? {
                Some((ControlReply::Done, _)) => return Ok(()),
                Some((ControlReply::Conflict(Conflict::Paused), _)) => {
                    return Err(Error::Paused { name: self.name.clone(), before: "update" });
                }
                other => self.unexpected(other.map(|(reply, _)| reply))?,
            }
        }
    }

    /// Has the supervisor follow other settings.
    ///
    /// # Errors
    /// The connection's.
    pub(crate) fn set_life(&self, settings: LifeSettings) -> Result<(), Error> {
        self.send(&ControlRequest::SetLife(Box::new(settings)))?;
        self.done()
    }

    /// Makes the machine a member of a group.
    ///
    /// # Errors
    /// The sandbox is paused, its machine takes no groups, or the connection's.
    pub(crate) fn join_group(&self, group: JoinedGroup) -> Result<(), Error> {
        self.send(&ControlRequest::JoinGroup(Box::new(group)))?;
        self.regrouped("network connect")
    }

    /// Takes the machine out of a group.
    ///
    /// # Errors
    /// As [`Self::join_group`].
    pub(crate) fn leave_group(&self, project: Option<&str>, group: &str) -> Result<(), Error> {
        let (project, group) = (project.map(str::to_owned), group.to_owned());
        self.send(&ControlRequest::LeaveGroup { project, group })?;
        self.regrouped("network disconnect")
    }

    fn regrouped(&self, before: &'static str) -> Result<(), Error> {
        loop {
            match self.receive()? {
                Some((ControlReply::Done, _)) => return Ok(()),
                Some((ControlReply::Conflict(Conflict::Paused), _)) => {
                    return Err(Error::Paused { name: self.name.clone(), before });
                }
                other => self.unexpected(other.map(|(reply, _)| reply))?,
            }
        }
    }

    fn port_done(&self, port: PublishedPort) -> Result<(), Error> {
        loop {
            match self.receive()? {
                Some((ControlReply::Done, _)) => return Ok(()),
                Some((ControlReply::Conflict(Conflict::NoPort), _)) => {
                    return Err(Error::NoPort { name: self.name.clone(), port });
                }
                Some((ControlReply::Refused(problem), _)) => return Err(Error::PortFailed { port, problem }),
                other => self.unexpected(other.map(|(reply, _)| reply))?,
            }
        }
    }

    fn mount_done(&self, target: &str) -> Result<(), Error> {
        let name = || self.name.clone();
        loop {
            match self.receive()? {
                Some((ControlReply::Done, _)) => return Ok(()),
                Some((ControlReply::Conflict(Conflict::Paused), _)) => {
                    return Err(Error::Paused { name: name(), before: "mount" });
                }
                Some((ControlReply::Conflict(Conflict::NoMount), _)) => {
                    return Err(Error::NoMount { name: name(), target: target.to_owned() });
                }
                Some((ControlReply::Refused(problem), _)) => return Err(Error::MountFailed(problem)),
                other => self.unexpected(other.map(|(reply, _)| reply))?,
            }
        }
    }

    /// The use of resources. A part whose source does not answer is missing.
    ///
    /// # Errors
    /// Neither guest nor machine answers, or the connection's.
    pub fn stats(&self) -> Result<SandboxStats, Error> {
        self.send(&ControlRequest::Stats)?;
        loop {
            match self.receive()? {
                Some((ControlReply::Stats(stats), _)) => return Ok(*stats),
                None => return Err(Error::NotRunning(self.name.clone())),
                other => self.unexpected(other.map(|(reply, _)| reply))?,
            }
        }
    }

    fn done(&self) -> Result<(), Error> {
        loop {
            match self.receive()? {
                Some((ControlReply::Done, _)) => return Ok(()),
                other => self.unexpected(other.map(|(reply, _)| reply))?,
            }
        }
    }

    fn ended(&self) -> Result<Option<u8>, Error> {
        loop {
            match self.receive()? {
                Some((ControlReply::Ended { code }, _)) => return Ok(Some(code)),
                None => return Ok(None),
                other => self.unexpected(other.map(|(reply, _)| reply))?,
            }
        }
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    pub(super) fn send(&self, request: &ControlRequest) -> Result<(), Error> {
        wire::send(&self.socket, request, None, SendFlags::empty()).map_err(|error| self.failed(&error))
    }

    pub(super) fn receive(&self) -> Result<Option<(ControlReply, Option<OwnedFd>)>, Error> {
        match wire::receive(&self.socket, RecvFlags::empty()) {
            Ok(Received::Message(reply, descriptor)) => Ok(Some((reply, descriptor))),
            Ok(Received::Closed | Received::Nothing) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// A reply to something else is passed over; a refusal and the connection's end are errors.
    pub(super) fn unexpected(&self, reply: Option<ControlReply>) -> Result<(), Error> {
        match reply {
            Some(ControlReply::Refused(problem)) => Err(Error::Control { name: self.name.clone(), problem }),
            Some(ControlReply::Conflict(conflict)) => Err(self.conflict(conflict)),
            Some(_) => Ok(()),
            None => Err(Error::NotRunning(self.name.clone())),
        }
    }

    fn conflict(&self, conflict: Conflict) -> Error {
        let name = self.name.clone();
        match conflict {
            Conflict::Paused => Error::Paused { name, before: "exec" },
            Conflict::AlreadyPaused => Error::AlreadyPaused(name),
            Conflict::NotPaused => Error::NotPaused(name),
            Conflict::Stopping => Error::Stopping(name),
            Conflict::FixedMounts => Error::FixedMounts(name),
            Conflict::NoMount => Error::NoMount { name, target: String::new() },
            Conflict::NoPort => Error::Control { name, problem: "no such port is published".to_owned() },
        }
    }

    fn failed(&self, error: &io::Error) -> Error {
        if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
            // The sandbox ended between the connection and the request.
            return Error::NotRunning(self.name.clone());
        }
        Error::Control { name: self.name.clone(), problem: error.to_string() }
    }
}

/// A command in a running sandbox that this process carries the streams of.
#[derive(Debug)]
pub struct RemoteCommand {
    client: ControlClient,
    progress: Arc<Progress>,
    /// What the streams that have not arrived yet will be connected to.
    awaited: BTreeMap<Stream, Endpoint>,
}

impl RemoteCommand {
    /// Waits for the command's end and meanwhile passes signals on, as
    /// [`run_to_end`](crate::session::run_to_end) does. When `leave` says that the detach keys were typed, the command is
    /// left to itself.
    ///
    /// # Errors
    /// [`SessionError::Exec`] when the command could not be started; [`SessionError::Lost`] when the sandbox ended
    /// first.
    pub fn run_to_end(
        mut self,
        signals: &Signals,
        terminal: Option<Terminal<'_>>,
        leave: Option<&LeaveEvent>,
    ) -> Result<Outcome, SessionError> {
        let mut asked = false;
        let mut connected = true;
        loop {
            if let Some(result) = self.progress.result() {
                return result.map(Outcome::Exited);
            }
            while let Some(signal) = signals.take() {
                match SignalKind::of(signal) {
                    SignalKind::WindowChange => {
                        if let Some(size) = terminal.and_then(Terminal::size) {
                            self.tell(&ControlRequest::Resize(size));
                        }
                    }
                    SignalKind::End if asked || signals.insist() => return Ok(Outcome::Insisted(signal)),
                    kind => {
                        asked |= kind == SignalKind::End;
                        self.tell(&ControlRequest::Signal(signal));
                    }
                }
            }
            let mut fds = vec![
                PollFd::from_borrowed_fd(self.progress.ended(), PollFlags::IN),
                PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            ];
            if connected {
                fds.push(PollFd::new(&self.client.socket, PollFlags::IN));
            }
            // Looked at last: what came before the keys counts.
            fds.extend(leave.map(|leave| PollFd::from_borrowed_fd(leave.as_fd(), PollFlags::IN)));
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(SessionError::io("waiting for the command", error)),
            }
            let readable = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
            let (replied, left) =
                (connected && readable(2), leave.is_some() && readable(2 + usize::from(connected)));
            if replied {
                connected = self.take_reply()?;
            }
            if left {
                return self.leave();
            }
        }
    }

    /// Has the supervisor leave the command to itself, and waits until it is.
    fn leave(self) -> Result<Outcome, SessionError> {
        self.tell(&ControlRequest::Leave);
        loop {
            let received = wire::receive::<ControlReply>(&self.client.socket, RecvFlags::empty());
            match received.map_err(|error| SessionError::io("asking the sandbox", error))? {
                Received::Message(ControlReply::Done, _) => return Ok(Outcome::Left),
                Received::Message(ControlReply::Exited(status), _) => return Ok(Outcome::Exited(status)),
                Received::Message(ControlReply::Refused(problem), _) => {
                    return Err(SessionError::Refused(problem));
                }
                Received::Message(_, _) => {}
                Received::Closed | Received::Nothing => return Err(SessionError::Lost),
            }
        }
    }

    /// Takes in one reply; false when there will be no more.
    fn take_reply(&mut self) -> Result<bool, SessionError> {
        let received = wire::receive::<ControlReply>(&self.client.socket, RecvFlags::DONTWAIT);
        match received.map_err(|error| SessionError::io("asking the sandbox", error))? {
            Received::Nothing => {}
            Received::Closed => {
                self.fail(SessionError::Lost);
                return Ok(false);
            }
            Received::Message(ControlReply::Stream(stream), Some(connection)) => {
                if let Some(endpoint) = self.awaited.remove(&stream) {
                    spawn_pump(endpoint, connection)
                        .map_err(|error| SessionError::io("spawning a stream's thread", error))?;
                }
            }
            Received::Message(ControlReply::Exited(status), _) => self.progress.ends(Ok(status)),
            Received::Message(ControlReply::NotStarted { code, message }, _) => {
                self.fail(SessionError::Exec { code, message });
            }
            Received::Message(ControlReply::Refused(problem), _) => self.fail(SessionError::Refused(problem)),
            Received::Message(ControlReply::Conflict(conflict), _) => {
                self.fail(SessionError::Refused(self.client.conflict(conflict).to_string()));
            }
            Received::Message(_, _) => {}
        }
        Ok(true)
    }

    /// The command's result, and no stream that has not arrived will.
    fn fail(&mut self, error: SessionError) {
        self.progress.ends(Err(error));
        for endpoint in std::mem::take(&mut self.awaited).into_values() {
            endpoint.abandon();
        }
    }

    fn tell(&self, request: &ControlRequest) {
        // When the supervisor is gone, its socket says so at the next look.
        let _ = wire::send(&self.client.socket, request, None, SendFlags::DONTWAIT);
    }
}

/// The same connection in another thread's hands: signals, sizes, and its end.
#[derive(Debug)]
pub struct ControlHandle {
    socket: OwnedFd,
}

impl ControlHandle {
    /// Sends a signal, 1 to 64, to the connection's command; to the sandbox's own if none was asked for.
    pub fn signal(&self, signal: u8) {
        self.tell(&ControlRequest::Signal(signal));
    }

    /// Gives the terminal of the connection's command a new size.
    pub fn resize(&self, size: TermSize) {
        self.tell(&ControlRequest::Resize(size));
    }

    /// Ends the connection: a command is killed, and a thread that waits for a reply is told that none will come.
    pub fn hang_up(&self) {
        // The only possible failure is that the connection has ended.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }

    fn tell(&self, request: &ControlRequest) {
        // When the supervisor is gone, whoever waits for the command learns of it.
        let _ = wire::send(&self.socket, request, None, SendFlags::DONTWAIT);
    }
}

impl ControlClient {
    /// The connection for another thread.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn handle(&self) -> Result<ControlHandle, Error> {
        let socket = self.socket.try_clone().map_err(|error| self.failed(&error))?;
        Ok(ControlHandle { socket })
    }
}

impl RemoteCommand {
    /// The connection for another thread, which sends this command signals and sizes.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn handle(&self) -> Result<ControlHandle, Error> {
        self.client.handle()
    }

    /// Waits for the command's end. Signals and sizes come by a [`ControlHandle`].
    ///
    /// # Errors
    /// As [`Self::run_to_end`]; [`SessionError::Lost`] also after [`ControlHandle::hang_up`].
    pub fn wait(mut self) -> Result<ExitStatus, SessionError> {
        let mut connected = true;
        loop {
            if let Some(result) = self.progress.result() {
                return result;
            }
            let mut fds = vec![PollFd::from_borrowed_fd(self.progress.ended(), PollFlags::IN)];
            if connected {
                fds.push(PollFd::new(&self.client.socket, PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(SessionError::io("waiting for the command", error)),
            }
            if fds.get(1).is_some_and(|socket| !socket.revents().is_empty()) {
                connected = self.take_reply()?;
            }
        }
    }
}

/// What a command's streams are, and where each of them leads.
fn endpoints(streams: Streams, progress: &Arc<Progress>) -> (Stdio, BTreeMap<Stream, Endpoint>) {
    let shared = || Arc::clone(progress);
    let mut awaited = BTreeMap::new();
    let stdio = match streams {
        Streams::Pipes { stdin, stdout, stderr } => {
            let reads = if matches!(stdin, Input::Empty) { Stdin::Empty } else { Stdin::Stream };
            if reads == Stdin::Stream {
                awaited.insert(Stream::Stdin, Endpoint::Stdin(stdin, shared()));
            }
            for (stream, output) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
                progress.output_opens();
                awaited.insert(stream, Endpoint::Output(output, shared()));
            }
            Stdio::Pipes { stdin: reads }
        }
        Streams::Terminal { size, input, output } => {
            progress.output_opens();
            awaited.insert(Stream::Terminal, Endpoint::Terminal(input, output, shared()));
            Stdio::Terminal(size)
        }
        Streams::Remote { stdio, .. } => stdio,
    };
    (stdio, awaited)
}
