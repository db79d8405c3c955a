//! The clients of a control socket, and what they ask.

use std::sync::Arc;
use std::time::{Duration, Instant};

use monocore_protocol::{ByteString, Exec, Purpose, Stream};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use super::jobs::Jobs;
use crate::control::wire::Received;
use crate::control::{
    Condition, Conflict, ControlPeer, ControlReply, ControlRequest, ControlSocket, ExecCall,
};
use crate::events::Journal;
use crate::health::HealthStatus;
use crate::live::LifeSettings;
use crate::sandbox::{Attached, Sandbox};
use crate::session::{Process, SessionError, Streams};

/// How long the guest's agent may take to let a command go on without its client.
const LEAVE_GRACE: Duration = Duration::from_secs(2);
/// Most clients at a time; the next one waits.
const MAX_CLIENTS: usize = 512;
/// How long the socket is left alone when no descriptor is free.
const REST: Duration = Duration::from_millis(100);

const SIGKILL: u8 = 9;

/// One client.
#[derive(Debug)]
struct Client {
    peer: Arc<ControlPeer>,
    /// The command it started.
    command: Option<Command>,
    /// It asked for a command, whether or not that was started.
    asked_for_a_command: bool,
    awaits: Awaits,
    gone: bool,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Nothing,
    /// The command's end.
    Exit,
    /// The sandbox's end, which it asked for.
    End,
    Condition(Condition),
}

/// A command that a client started.
#[derive(Debug)]
struct Command {
    process: Process,
    /// Its name in events.
    id: String,
    /// It goes on without its client.
    is_detached: bool,
    /// Its end was noted.
    has_ended: bool,
}

impl Command {
    /// Notes the end of a command that has ended.
    fn notice_end(&mut self, journal: &Journal) {
        if let Some(result) = self.process.result().filter(|_| !self.has_ended) {
            self.has_ended = true;
            let code = result.map_or_else(|error| error.exit_code(), |status| status.code());
            journal.note("exec_die", &[("execID", &self.id), ("exitCode", &code.to_string())]);
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    all: Vec<Client>,
    /// Commands that go on without their clients.
    detached: Vec<Command>,
    /// How many commands were started.
    started: u64,
    /// One of them has asked for the end by another signal than SIGKILL.
    was_stopped: bool,
    /// No client is accepted before this time: no descriptor was free, and no event tells when one is.
    rests_until: Option<Instant>,
}

/// A request to stop the sandbox; what is absent is as the sandbox says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopRequest {
    pub(super) signal: Option<u8>,
    pub(super) grace_ms: Option<u64>,
}

/// What came of a look at the clients.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) stops: Vec<StopRequest>,
    /// One of them sent the command the signal that asks it to end: the user wants no restart.
    pub(super) is_ended: bool,
    /// One of them used the sandbox, or ceased to.
    pub(super) was_used: bool,
    /// Settings that hold from here on; each peer is to be told.
    pub(super) settings: Vec<(Arc<ControlPeer>, LifeSettings)>,
}

/// What came of a look at the clients while there is no machine.
#[derive(Debug, Default)]
pub(crate) struct ServedIdle {
    /// One of them asks for the end.
    pub(crate) is_ended: bool,
    /// Settings that hold from here on; each peer is to be told.
    pub(crate) settings: Vec<(Arc<ControlPeer>, LifeSettings)>,
}

/// Clients that wait for the sandbox's end.
#[derive(Debug)]
pub(crate) struct Waiting(Vec<Arc<ControlPeer>>);

impl Waiting {
    /// Adds those of the clients still waiting to be accepted by `socket` that ask for the sandbox's end.
    pub(crate) fn join(mut self, socket: &ControlSocket) -> Self {
        while let Ok(connection) = socket.accept() {
            let peer = Arc::new(ControlPeer::new(connection));
            match peer.receive() {
                Received::Message(
                    ControlRequest::Wait | ControlRequest::WaitFor(_) | ControlRequest::Stop { .. },
                    _,
                ) => self.0.push(peer),
                Received::Message(..) => peer.reply(&ControlReply::Refused("it is ending".to_owned())),
                Received::Nothing | Received::Closed => {}
            }
        }
        self
    }

    /// Tells all of them.
    pub(crate) fn tell(self, code: u8) {
        for peer in self.0 {
            peer.reply(&ControlReply::Ended { code });
        }
    }
}

impl Clients {
    /// Whether another client can be accepted now.
    pub(crate) fn has_room(&self) -> bool {
        self.all.len() < MAX_CLIENTS && self.rests_until.is_none_or(|time| time <= Instant::now())
    }

    /// When clients are accepted again, if they are not now.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        self.rests_until.filter(|time| *time > Instant::now())
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.all.iter().map(|client| client.peer.as_fd())
    }

    /// Takes in those that have connected.
    pub(crate) fn accept(&mut self, socket: &ControlSocket) {
        while self.has_room() {
            match socket.accept() {
                Ok(connection) => self.all.push(Client {
                    peer: Arc::new(ControlPeer::new(connection)),
                    command: None,
                    asked_for_a_command: false,
                    awaits: Awaits::Nothing,
                    gone: false,
                }),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "a client is not accepted");
                    self.rests_until = Instant::now().checked_add(REST);
                    return;
                }
            }
        }
    }

    /// Does what clients ask; gives back what is the supervisor's to do.
    pub(super) fn serve(
        &mut self,
        (sandbox, stop_signal): (&Sandbox, u8),
        jobs: &mut Jobs,
        journal: &Journal,
    ) -> Served {
        let mut served = Served::default();
        let mut desk =
            Desk { sandbox, stop_signal, jobs, journal, started: &mut self.started, served: &mut served };
        for client in &mut self.all {
            client.serve(&mut desk);
        }
        for client in self.all.extract_if(.., |client| client.gone) {
            served.was_used |= client.uses_the_sandbox();
            self.detached.extend(client.command.filter(|command| command.is_detached));
        }
        self.detached.iter_mut().for_each(|command| command.notice_end(journal));
        self.detached.retain(|command| !command.has_ended);
        self.was_stopped |= served.stops.iter().any(|stop| stop.signal != Some(SIGKILL));
        served
    }

    /// Answers what clients ask while there is no machine.
    pub(crate) fn serve_without_machine(&mut self) -> ServedIdle {
        let mut stops = Vec::new();
        let mut settings = Vec::new();
        for client in &mut self.all {
            client.serve_without_machine(&mut stops, &mut settings);
        }
        self.all.retain(|client| !client.gone);
        self.was_stopped |= stops.iter().any(|stop| stop.signal != Some(SIGKILL));
        ServedIdle { is_ended: !stops.is_empty(), settings }
    }

    /// Whether one of them has asked for the end by another signal than SIGKILL.
    pub(crate) fn was_stopped(&self) -> bool {
        self.was_stopped
    }

    /// What becomes readable when a command of theirs ends.
    pub(super) fn commands(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let attached = self.all.iter().filter_map(|client| client.command.as_ref());
        let running = attached.chain(&self.detached).filter(|command| !command.has_ended);
        running.map(|command| command.process.ended_fd())
    }

    /// Whether one of them does anything but wait, or a command of theirs runs.
    pub(super) fn use_the_sandbox(&self) -> bool {
        !self.detached.is_empty() || self.all.iter().any(Client::uses_the_sandbox)
    }

    /// Tells clients that wait for a condition what is so.
    pub(crate) fn answer_waiting(&mut self, started: bool, health: Option<HealthStatus>) {
        for client in &mut self.all {
            let reply = match (client.awaits, health) {
                (Awaits::Condition(Condition::Started), _) if started => ControlReply::Reached,
                (Awaits::Condition(Condition::Healthy), Some(HealthStatus::Healthy)) => ControlReply::Reached,
                (Awaits::Condition(Condition::Healthy), Some(HealthStatus::Unhealthy)) => {
                    ControlReply::Unhealthy
                }
                _ => continue,
            };
            client.awaits = Awaits::Nothing;
            client.peer.reply(&reply);
        }
    }

    /// The machine has ended, and its command with `code`.
    pub(crate) fn machine_ended(&mut self, journal: &Journal, code: u8) {
        for client in &mut self.all {
            if let Some(mut command) = client.command.take() {
                command.notice_end(journal);
            }
            if client.awaits == Awaits::Exit {
                client.awaits = Awaits::Nothing;
                client.peer.reply(&ControlReply::Ended { code });
            }
        }
        for mut command in self.detached.drain(..) {
            command.notice_end(journal);
        }
    }

    pub(crate) fn into_waiting(self) -> Waiting {
        let waiting = self.all.into_iter().filter(|client| client.awaits != Awaits::Nothing);
        Waiting(waiting.map(|client| client.peer).collect())
    }
}

/// What requests are served with.
struct Desk<'a> {
    sandbox: &'a Sandbox,
    /// What asks the command to end.
    stop_signal: u8,
    jobs: &'a mut Jobs,
    journal: &'a Journal,
    started: &'a mut u64,
    served: &'a mut Served,
}

impl Client {
    /// Whether it does anything but wait.
    fn uses_the_sandbox(&self) -> bool {
        self.awaits == Awaits::Nothing || self.command.as_ref().is_some_and(|command| !command.has_ended)
    }

    fn serve(&mut self, desk: &mut Desk<'_>) {
        loop {
            if let Some(command) = &mut self.command {
                command.notice_end(desk.journal);
            }
            match self.peer.receive() {
                Received::Nothing => return,
                Received::Message(ControlRequest::PeerLink(link), end) => {
                    if let (Some(line), Some(end)) = (&desk.sandbox.peers, end) {
                        line.take_link(&link, end.as_fd());
                    }
                }
                Received::Message(request, descriptor) => self.request(request, descriptor, desk),
                Received::Closed => {
                    self.gone = true;
                    let attached = self.command.as_ref().filter(|command| !command.is_detached);
                    if let Some(command) = attached {
                        // Nobody is there any more to see how it ends.
                        let _ = command.process.kill_group();
                    }
                    return;
                }
            }
        }
    }

    fn request(&mut self, request: ControlRequest, descriptor: Option<OwnedFd>, desk: &mut Desk<'_>) {
        let sandbox = desk.sandbox;
        self.asked_for_a_command |= matches!(request, ControlRequest::Exec(_));
        match request {
            _ if desk.jobs.is_paused() && needs_the_agent(&request) => {
                self.peer.reply(&ControlReply::Conflict(Conflict::Paused));
            }
            ControlRequest::Exec(call) => self.exec(*call, desk),
            ControlRequest::Signal(_) | ControlRequest::Resize(_) => self.tell_command(&request, desk),
            ControlRequest::Stop { signal, grace_ms } => {
                self.awaits = Awaits::End;
                desk.served.stops.push(StopRequest { signal, grace_ms });
            }
            ControlRequest::Leave => self.leave(sandbox),
            ControlRequest::Attach => self.attach(sandbox),
            // Served with its descriptor.
            ControlRequest::PeerLink(_) => {}
            ControlRequest::Wait => self.awaits = Awaits::Exit,
            ControlRequest::WaitFor(condition) => self.awaits = Awaits::Condition(condition),
            ControlRequest::Pause => desk.jobs.pause(Arc::clone(&self.peer)),
            ControlRequest::Unpause => desk.jobs.resume(Some(Arc::clone(&self.peer))),
            ControlRequest::Stats => {
                desk.jobs.stats(Arc::clone(&self.peer), &sandbox.session, sandbox.vmm.resident_bytes());
            }
            ControlRequest::Mounts => self.peer.reply(&ControlReply::Mounts(desk.jobs.mounts())),
            ControlRequest::AddMount(_) if !sandbox.live_mounts => {
                self.peer.reply(&ControlReply::Conflict(Conflict::FixedMounts));
            }
            ControlRequest::AddMount(call) => match descriptor {
                Some(root) => desk.jobs.add_mount(Arc::clone(&self.peer), *call, &root),
                None => self.peer.reply(&ControlReply::Refused("nothing to mount came along".to_owned())),
            },
            ControlRequest::AddPort(port) => match descriptor {
                Some(socket) => desk.jobs.add_port(Arc::clone(&self.peer), port, &socket),
                None => self.peer.reply(&ControlReply::Refused("no socket came along".to_owned())),
            },
            ControlRequest::RemovePort(port) => desk.jobs.remove_port(Arc::clone(&self.peer), port),
            ControlRequest::PeerGone(link) => {
                if let Some(line) = &sandbox.peers {
                    line.drop_links(&link);
                }
            }
            ControlRequest::JoinGroup(group) => {
                desk.jobs.join_group(Arc::clone(&self.peer), sandbox, *group);
            }
            ControlRequest::LeaveGroup { project, group } => {
                desk.jobs.leave_group(Arc::clone(&self.peer), sandbox, (project.as_deref(), &group));
            }
            ControlRequest::SetLimits(limits) => {
                let limits = sandbox.size.guest_limits(&limits);
                desk.jobs.limit(Arc::clone(&self.peer), &sandbox.session, limits);
            }
            ControlRequest::SetLife(settings) => {
                desk.served.settings.push((Arc::clone(&self.peer), *settings));
            }
            ControlRequest::RemoveMount(target) => {
                desk.jobs.remove_mount(Arc::clone(&self.peer), &target, &sandbox.session);
            }
        }
    }

    fn serve_without_machine(
        &mut self,
        stops: &mut Vec<StopRequest>,
        settings: &mut Vec<(Arc<ControlPeer>, LifeSettings)>,
    ) {
        loop {
            match self.peer.receive() {
                Received::Nothing => return,
                Received::Closed => {
                    self.gone = true;
                    return;
                }
                Received::Message(ControlRequest::Stop { signal, grace_ms }, _) => {
                    self.awaits = Awaits::End;
                    stops.push(StopRequest { signal, grace_ms });
                }
                Received::Message(ControlRequest::Wait, _) => self.awaits = Awaits::Exit,
                Received::Message(ControlRequest::WaitFor(condition), _) => {
                    self.awaits = Awaits::Condition(condition);
                }
                Received::Message(ControlRequest::SetLife(new), _) => {
                    settings.push((Arc::clone(&self.peer), *new));
                }
                Received::Message(..) => {
                    let problem = "it is restarting: wait until it runs".to_owned();
                    self.peer.reply(&ControlReply::Refused(problem));
                }
            }
        }
    }

    fn exec(&mut self, call: ExecCall, desk: &mut Desk<'_>) {
        if self.command.is_some() {
            return self.peer.reply(&ControlReply::Refused("one command a connection".to_owned()));
        }
        let is_detached = call.detach;
        let line = call.argv.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        *desk.started += 1;
        let id = format!("{:016x}", *desk.started);
        for action in ["exec_create", "exec_start"] {
            desk.journal.note(&format!("{action}: {line}"), &[("execID", &id)]);
        }
        let streams = Streams::Remote { stdio: call.stdio, peer: Arc::<ControlPeer>::clone(&self.peer) };
        match desk.sandbox.session.exec(beside(&desk.sandbox.main, call), streams) {
            Ok(process) => self.command = Some(Command { process, id, is_detached, has_ended: false }),
            Err(error) => self.answer(Err(error)),
        }
    }

    /// A signal or a size for the client's command; for the main command if it asked for none of its own.
    fn tell_command(&self, request: &ControlRequest, desk: &mut Desk<'_>) {
        let process = match &self.command {
            Some(command) => &command.process,
            None if self.asked_for_a_command => {
                return self.peer.reply(&ControlReply::Refused("its command was not started".to_owned()));
            }
            None => &desk.sandbox.process,
        };
        self.answer(match *request {
            ControlRequest::Signal(signal) => {
                if self.command.is_none() {
                    desk.journal.note("kill", &[("signal", &signal.to_string())]);
                    desk.served.is_ended |= signal == desk.stop_signal || signal == SIGKILL;
                }
                process.signal(signal)
            }
            ControlRequest::Resize(size) => process.resize(size),
            _ => Ok(()),
        });
    }

    fn leave(&mut self, sandbox: &Sandbox) {
        let Some(command) = &mut self.command else {
            return self.peer.reply(&ControlReply::Refused("there is no command to leave".to_owned()));
        };
        let left = sandbox.session.leave(&command.process, LEAVE_GRACE);
        command.is_detached |= left.is_ok();
        self.answer(left);
    }

    fn attach(&self, sandbox: &Sandbox) {
        match &sandbox.attached {
            None => self.peer.reply(&ControlReply::Refused(
                "it runs in the foreground: its input and output are where it was started".to_owned(),
            )),
            Some(Attached { stdin }) => {
                if let Some(stdin) = stdin {
                    self.peer.pass(&ControlReply::Stream(Stream::Stdin), stdin.as_fd());
                }
                self.peer.reply(&ControlReply::Done);
            }
        }
    }

    fn answer(&self, result: Result<(), SessionError>) {
        self.peer.reply(&match result {
            Ok(()) => ControlReply::Done,
            Err(error) => ControlReply::Refused(error.to_string()),
        });
    }
}

/// The command of `call`; what it leaves open is as it is for the main command.
fn beside(main: &Exec, call: ExecCall) -> Exec {
    let name = |variable: &ByteString| {
        let bytes = variable.as_bytes();
        bytes.iter().position(|byte| *byte == b'=').map_or(bytes.len(), |end| end)
    };
    let same = |a: &ByteString, b: &ByteString| a.as_bytes()[..name(a)] == b.as_bytes()[..name(b)];
    let mut exec = main.clone();
    exec.purpose = Purpose::Extra;
    exec.argv = call.argv;
    if call.privileged {
        exec.capabilities = None;
        exec.no_new_privileges = false;
    }
    if call.tool.is_some() {
        // The agent's own work is root's.
        exec.user = String::new();
        exec.groups.clear();
        exec.tool = call.tool;
    }
    for variable in call.env {
        match exec.env.iter_mut().find(|known| same(known, &variable)) {
            Some(known) => *known = variable,
            None => exec.env.push(variable),
        }
    }
    if let Some(workdir) = call.workdir {
        exec.cwd = workdir;
    }
    if let Some(user) = call.user {
        exec.user = user;
    }
    exec
}

/// Whether the guest has to do something for it, which one that stands still cannot.
fn needs_the_agent(request: &ControlRequest) -> bool {
    use ControlRequest::{AddMount, Exec, JoinGroup, LeaveGroup, RemoveMount, SetLimits};
    matches!(
        request,
        Exec(_) | AddMount(_) | RemoveMount(_) | SetLimits(_) | JoinGroup(_) | LeaveGroup { .. }
    )
}

#[cfg(test)]
mod tests {
    use monocore_protocol::ExecId;

    use super::*;

    fn call() -> ExecCall {
        ExecCall::new(vec!["id".into()])
    }

    #[test]
    fn a_further_command_is_like_the_main_one_where_it_says_nothing() {
        let mut main = Exec::new(ExecId(1), ["server"]);
        main.env = vec!["PATH=/bin".into(), "A=1".into()];
        main.cwd = "/app".into();
        main.user = "app".to_owned();
        let plain = beside(&main, call());
        assert_eq!((plain.purpose, plain.argv), (Purpose::Extra, vec!["id".into()]));
        assert_eq!(
            (plain.env, plain.cwd, plain.user),
            (main.env.clone(), main.cwd.clone(), main.user.clone())
        );
        let other = ExecCall {
            env: vec!["A=2".into(), "B=".into(), "AB=3".into()],
            workdir: Some("/tmp".into()),
            user: Some("0".to_owned()),
            ..call()
        };
        let other = beside(&main, other);
        let env: Vec<_> = other.env.iter().map(ToString::to_string).collect();
        assert_eq!(env, ["PATH=/bin", "A=2", "B=", "AB=3"]);
        assert_eq!((other.cwd.to_string().as_str(), other.user.as_str()), ("/tmp", "0"));
    }
}
