//! The clients of a control socket, and what they ask.

use std::sync::Arc;
use std::time::{Duration, Instant};

use monocore_protocol::{ByteString, Exec, Purpose, Stream};
use rustix::fd::{AsFd, BorrowedFd};

use crate::control::wire::Received;
use crate::control::{ControlPeer, ControlReply, ControlRequest, ControlSocket, ExecCall};
use crate::sandbox::{Attached, Sandbox};
use crate::session::{Process, SessionError, Streams};

/// Most clients at a time; the next one waits.
const MAX_CLIENTS: usize = 512;
/// How long the socket is left alone when no descriptor is free.
const REST: Duration = Duration::from_millis(100);
/// How long the guest's agent may take for its figures.
const STATS_GRACE: Duration = Duration::from_secs(2);

/// One client.
#[derive(Debug)]
struct Client {
    peer: Arc<ControlPeer>,
    /// The command it started.
    command: Option<Process>,
    /// Its command goes on without it.
    detached: bool,
    waits: bool,
    gone: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Clients {
    all: Vec<Client>,
    /// No client is accepted before this time: no descriptor was free, and no event tells when one is.
    rests_until: Option<Instant>,
}

/// A request to stop the sandbox; what is absent is as the sandbox says.
#[derive(Clone, Copy, Debug)]
pub(super) struct StopRequest {
    pub(super) signal: Option<u8>,
    pub(super) grace_ms: Option<u64>,
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
                Received::Message(ControlRequest::Wait | ControlRequest::Stop { .. }, _) => self.0.push(peer),
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
    pub(super) fn has_room(&self) -> bool {
        self.all.len() < MAX_CLIENTS && self.rests_until.is_none_or(|time| time <= Instant::now())
    }

    /// When clients are accepted again, if they are not now.
    pub(super) fn next_time(&self) -> Option<Instant> {
        self.rests_until.filter(|time| *time > Instant::now())
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.all.iter().map(|client| client.peer.as_fd())
    }

    /// Takes in those that have connected.
    pub(super) fn accept(&mut self, socket: &ControlSocket) {
        while self.has_room() {
            match socket.accept() {
                Ok(connection) => self.all.push(Client {
                    peer: Arc::new(ControlPeer::new(connection)),
                    command: None,
                    detached: false,
                    waits: false,
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
    pub(super) fn serve(&mut self, sandbox: &Sandbox) -> Vec<StopRequest> {
        let mut stops = Vec::new();
        for client in &mut self.all {
            client.serve(sandbox, &mut stops);
        }
        self.all.retain(|client| !client.gone);
        stops
    }

    pub(super) fn into_waiting(self) -> Waiting {
        Waiting(self.all.into_iter().filter(|client| client.waits).map(|client| client.peer).collect())
    }
}

impl Client {
    fn serve(&mut self, sandbox: &Sandbox, stops: &mut Vec<StopRequest>) {
        loop {
            match self.peer.receive() {
                Received::Nothing => return,
                Received::Message(request, _) => self.request(request, sandbox, stops),
                Received::Closed => {
                    self.gone = true;
                    if let Some(command) = self.command.take().filter(|_| !self.detached) {
                        // Nobody is there any more to see how it ends.
                        let _ = command.kill_group();
                    }
                    return;
                }
            }
        }
    }

    fn request(&mut self, request: ControlRequest, sandbox: &Sandbox, stops: &mut Vec<StopRequest>) {
        match request {
            ControlRequest::Exec(call) => self.exec(*call, sandbox),
            ControlRequest::Signal(signal) => {
                let process = self.command.as_ref().unwrap_or(&sandbox.process);
                self.answer(process.signal(signal));
            }
            ControlRequest::Resize(size) => {
                let process = self.command.as_ref().unwrap_or(&sandbox.process);
                self.answer(process.resize(size));
            }
            ControlRequest::Stop { signal, grace_ms } => {
                self.waits = true;
                stops.push(StopRequest { signal, grace_ms });
            }
            ControlRequest::Leave => self.leave(sandbox),
            ControlRequest::Attach => self.attach(sandbox),
            ControlRequest::Wait => self.waits = true,
            ControlRequest::Stats => match sandbox.session.stats(STATS_GRACE) {
                Ok(stats) => self.peer.reply(&ControlReply::Stats(stats)),
                Err(error) => self.answer(Err(error)),
            },
        }
    }

    fn exec(&mut self, call: ExecCall, sandbox: &Sandbox) {
        if self.command.is_some() {
            return self.peer.reply(&ControlReply::Refused("one command a connection".to_owned()));
        }
        self.detached = call.detach;
        let streams = Streams::Remote { stdio: call.stdio, peer: Arc::<ControlPeer>::clone(&self.peer) };
        match sandbox.session.exec(beside(&sandbox.main, call), streams) {
            Ok(process) => self.command = Some(process),
            Err(error) => self.answer(Err(error)),
        }
    }

    fn leave(&mut self, sandbox: &Sandbox) {
        let Some(command) = &self.command else {
            return self.peer.reply(&ControlReply::Refused("there is no command to leave".to_owned()));
        };
        let left = sandbox.session.leave(command, STATS_GRACE);
        self.detached |= left.is_ok();
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
