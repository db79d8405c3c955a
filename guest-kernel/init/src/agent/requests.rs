//! What the host asks for.

use monocore_protocol::{
    Answer, ByteString, Configure, ConnectionId, Event, Exec, ExecId, FileKind, FileStat, Mount, MountSource,
    Opening, Purpose, Request, RequestId, Root, StreamId, VERSION,
};
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, lstat};
use rustix::process::{Pid, Signal, kill_process_group};

use super::child::{self, Failure, Started};
use super::command::Command;
use super::memory::MemoryWatch;
use super::poller::{Readiness, Token};
use super::slots::Plan;
use super::worker::{self, Job};
use super::{Agent, sockets, stats};
use crate::early::Early;
use crate::error::{Doing, Error};
use crate::setup::{self, System};
use crate::sys;

impl Agent {
    /// Does what a request says, or begins to; whatever is wrong with it is answered.
    pub(super) fn serve(&mut self, request: Request) {
        match request {
            Request::Configure(configure) => {
                if let Err(error) = self.configure(&configure) {
                    self.control.say(&Event::Failed { message: error.to_string(), fatal: true });
                }
            }
            Request::Exec(exec) => self.exec(&exec),
            Request::Signal { exec, signal } => {
                if let Some(pid) = self.running(exec).filter(|_| (1..=64).contains(&signal)) {
                    // Its end may be on its way here.
                    sys::pass_on(pid, i32::from(signal));
                }
            }
            Request::KillGroup { exec } => {
                if let Some(pid) = self.running(exec) {
                    // Every command leads a session and so a group of its own.
                    let _ = kill_process_group(pid, Signal::KILL);
                }
            }
            Request::Resize { exec, size } => {
                if let Some(terminal) = self.commands.get(&exec).and_then(|command| command.terminal.as_ref())
                {
                    // A terminal whose command has just ended has no size.
                    let _ = child::resize(terminal, size);
                }
            }
            Request::CloseStdin { exec } => self.slots.close_inputs(exec),
            Request::Leave { id, exec } => {
                let result = self.leave(exec);
                self.answer(id, result.map(done));
            }
            Request::Ping(id) => self.answer(id, Ok(Answer::Done)),
            Request::Stats(id) => self.answer(id, Ok(Answer::Stats(stats::read()))),
            Request::SetTime { id, unix_time_ns } => {
                self.answer(id, setup::set_time(unix_time_ns).map(done));
            }
            Request::Reseed { id, entropy } => {
                let seeded = sys::add_entropy(entropy.as_bytes());
                self.answer(id, seeded.doing("seed", "the random number generator").map(done));
            }
            Request::AddMount { id, mount } => self.mount(id, mount),
            Request::RemoveMount { id, target } => self.unmount(id, target),
            Request::StatFile { id, path } => self.answer(id, file_stat(path.as_bytes()).map(Answer::File)),
            Request::ReadFile { id, path } => self.work(id, &Job::Read { id, path }),
            Request::WriteFile { id, path, mode } => self.work(id, &Job::Write { id, path, mode }),
            Request::Connect { connection, path } => {
                let near = sockets::connect(path.as_bytes()).doing("connect to", path.as_bytes());
                self.connect(connection, near);
            }
            Request::ConnectPort { connection, port } => {
                let near = sockets::connect_port(port).doing("connect to port", port.to_string());
                self.connect(connection, near);
            }
            Request::Sync(id) => self.work(id, &Job::Sync),
            Request::SetLimits { id, limits } => self.work(id, &Job::Limit(limits)),
            Request::SetAddress { id, interface, address, prefix, is_wanted } => {
                self.work(id, &Job::Address { interface, address: (address, prefix), is_wanted });
            }
            Request::Shutdown(id) => {
                sys::kill_everything();
                self.work(id, &Job::Sync);
            }
        }
    }

    fn unmount(&mut self, id: RequestId, target: ByteString) {
        match self.configured() {
            Ok(_) => self.work(id, &Job::Unmount(target)),
            Err(error) => self.answer(id, Err(error)),
        }
    }

    /// The process of a command that has not ended.
    fn running(&self, exec: ExecId) -> Option<Pid> {
        self.commands.get(&exec).filter(|command| command.ended.is_none()).map(|command| command.pid)
    }

    fn configure(&mut self, configure: &Configure) -> Result<(), Error> {
        if configure.version != VERSION {
            let versions = format!("{}, this agent version {VERSION}", configure.version);
            return Err(Error::Refused(format!("the host speaks version {versions} of the protocol")));
        }
        if self.system.is_some() {
            return Err(Error::Refused("the guest is configured already".to_owned()));
        }
        self.system = Some(match (&self.early, &configure.root) {
            (Some(early), _) => setup::apply(configure, early)?,
            (None, Root::Current) => {
                let hostname = configure.hostname.clone().into_bytes();
                let mut system = System { hostname, ..System::default() };
                setup::make_sockets(&configure.mounts, &mut system)?;
                system
            }
            (None, _) => return Err(Error::Refused("an agent outside a machine mounts nothing".to_owned())),
        });
        // From here on the mounts hold themselves.
        self.early = None::<Early>;
        if let Some(file) = self.system.as_mut().and_then(System::take_memory_events) {
            let watch = MemoryWatch::new(file);
            self.poller.watch(&watch, Token::Memory, Readiness::Urgent)?;
            self.memory = Some(watch);
        }
        self.serve_sockets()
    }

    /// Begins to accept at the sockets that were just made.
    fn serve_sockets(&mut self) -> Result<(), Error> {
        let fresh = self.system.as_mut().map(|system| std::mem::take(&mut system.sockets.fresh));
        fresh.into_iter().flatten().try_for_each(|listening| self.slots.listen(listening, &self.poller))
    }

    /// Connects to a socket in the guest for a program of the host.
    fn connect(&mut self, connection: ConnectionId, near: Result<OwnedFd, Error>) {
        let dialled = near.and_then(|near| {
            let socket = self.dialer.dial().map_err(|error| Error::NoHost(error.into()))?;
            self.slots.carry(socket, StreamId::Connection(connection), near, &self.poller)
        });
        if let Err(error) = dialled {
            self.control.say(&Event::NotConnected { connection, message: error.to_string() });
        }
    }

    /// Mounts something in a process of its own if that may have to wait for the host's files.
    fn mount(&mut self, id: RequestId, mount: Mount) {
        let waits = matches!(mount.source, MountSource::Share { .. } | MountSource::SharedFile { .. });
        let ready = self.configured().and_then(|system| match waits {
            true => system.shares.prepare(),
            false => setup::mount(&mount, system),
        });
        match ready {
            Ok(()) if waits => self.work(id, &Job::Mount(mount)),
            Ok(()) => {
                let result = self.serve_sockets();
                self.answer(id, result.map(done));
            }
            Err(error) => self.answer(id, Err(error)),
        }
    }

    fn configured(&mut self) -> Result<&mut System, Error> {
        self.system.as_mut().ok_or_else(|| Error::Refused("the guest is not configured yet".to_owned()))
    }

    fn exec(&mut self, exec: &Exec) {
        match self.start(exec) {
            Ok(pid) => self.control.say(&Event::Started { exec: exec.id, pid }),
            Err(Failure { code, message }) => {
                self.control.say(&Event::ExecFailed { exec: exec.id, code, message });
            }
        }
    }

    fn start(&mut self, exec: &Exec) -> Result<u32, Failure> {
        if self.commands.contains_key(&exec.id) {
            return Err(Failure::ours("a command of that name is running"));
        }
        let system = self.system.as_mut().ok_or_else(|| Failure::ours("the guest is not configured yet"))?;
        let Started { pid, streams, terminal } = child::start(exec, system)?;
        let lives_for_guest = exec.purpose == Purpose::Main;
        let command = Command { pid, lives_for_guest, ended: None, terminal, held: Vec::new() };
        self.commands.insert(exec.id, command);
        for ends in streams {
            let plan = Plan { exec: exec.id, ends };
            // A stream the host does not take is a closed pipe to the command, which runs already.
            let dialled = self.dialer.dial().map_err(|error| Error::NoHost(error.into()));
            if let Err(error) = dialled.and_then(|socket| self.slots.dial(socket, plan, &self.poller)) {
                self.control.say(&Event::Failed { message: error.to_string(), fatal: false });
            }
        }
        Ok(pid.as_raw_nonzero().get().unsigned_abs())
    }

    fn leave(&mut self, exec: ExecId) -> Result<(), Error> {
        let held = self.slots.leave(exec, &self.poller)?;
        if let Some(command) = self.commands.get_mut(&exec) {
            command.held.extend(held);
        }
        Ok(())
    }

    fn answer(&mut self, id: RequestId, result: Result<Answer, Error>) {
        self.control.say(&Event::Answer { id, result: result.map_err(|error| error.to_string()) });
    }

    fn work(&mut self, id: RequestId, job: &Job) {
        match worker::spawn(id, job, &self.dialer, self.system.as_mut()) {
            Ok(worker) => self.workers.push(worker),
            Err(error) => self.answer(id, Err(error).doing("start", "a process")),
        }
    }
}

impl Job {
    /// How the job's connection introduces itself, if it has one.
    pub(super) fn opening(&self) -> Option<Opening> {
        match self {
            Self::Read { id, .. } | Self::Write { id, .. } => Some(Opening::Stream(StreamId::File(*id))),
            Self::Mount(_) | Self::Unmount(_) | Self::Sync | Self::Limit(_) | Self::Address { .. } => None,
        }
    }
}

fn done((): ()) -> Answer {
    Answer::Done
}

fn file_stat(path: &[u8]) -> Result<FileStat, Error> {
    let stat = lstat(path).doing("look at", path)?;
    Ok(FileStat {
        kind: match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FileKind::Regular,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Symlink,
            _ => FileKind::Special,
        },
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: stat
            .st_mtime
            .saturating_mul(1_000_000_000)
            .saturating_add(i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
    })
}
