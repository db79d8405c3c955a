//! A running sandbox: its machine, the session with its agent, its control socket, and how all of them end.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use monocore_protocol::{Exec, ExitStatus};
use monocore_spec::VmExit;

use crate::life::Life;
use crate::live::MachineSize;
use crate::peers::PeerLine;
use crate::session::{Handoff, Process, Session, SessionError, Streams, printable};
use crate::sockets::PublishedSockets;
use crate::supervisor::{Front, Jobs, Supervisor};
use crate::{Error, Plan, VmmProcess};

/// How long a machine whose session broke off may take to say why.
const REPORT_GRACE: Duration = Duration::from_secs(5);
/// How long a guest may take to write everything to a disk that is kept.
const FLUSH_GRACE: Duration = Duration::from_secs(10);
/// The same for a guest whose command did not end by SIGKILL: it is stuck, or its disk is.
const STUCK_FLUSH_GRACE: Duration = Duration::from_secs(2);
/// The status of a command whose time was up, as timeout(1) has it.
const TIMED_OUT: u8 = 124;
/// The status of a command that was killed: 128 and SIGKILL's number.
const KILLED: u8 = 137;
/// The status of a sandbox that failed: Docker's for failures that are not the command's.
const FAILED: u8 = 125;
/// Most bytes shown of a kernel's last words.
const PANIC_BYTES: usize = 16 << 10;

/// How a sandbox came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its command ended.
    Command(ExitStatus),
    /// Its command could not be started: the status a shell would report, and why.
    NotStarted(u8, String),
    /// Its time was up; whatever ran was ended.
    TimedOut,
    /// The user insisted on its end.
    Killed,
    /// The guest powered itself off.
    PoweredOff,
}

impl Ended {
    /// The exit code that tells of this end.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Command(status) => status.code(),
            Self::NotStarted(code, _) => *code,
            Self::TimedOut => TIMED_OUT,
            Self::Killed => KILLED,
            Self::PoweredOff => 0,
        }
    }
}

/// What clients attach to: the log for the output, and this for the input.
#[derive(Debug)]
pub(crate) struct Attached {
    /// What writes to the command's standard input, if that is open.
    pub(crate) stdin: Option<OwnedFd>,
}

/// The exit code of a sandbox that ended or failed like this.
pub(crate) fn exit_code(ended: &Result<Ended, Error>) -> u8 {
    ended.as_ref().map_or(FAILED, Ended::code)
}

/// A running sandbox's machine and its command; dropping it ends the machine.
#[derive(Debug)]
pub(crate) struct Sandbox {
    // Fields drop in this order: the guest's streams, then the machine.
    pub(crate) process: Process,
    pub(crate) session: Session,
    pub(crate) vmm: VmmProcess,
    /// The way to the other members of its groups.
    pub(crate) peers: Option<PeerLine>,
    _published: PublishedSockets,
    /// What the machine was started with; its commands may have less.
    pub(crate) size: MachineSize,
    /// What further commands are like where they say nothing else.
    pub(crate) main: Exec,
    /// What clients attach to, if the sandbox runs in the background.
    pub(crate) attached: Option<Attached>,
    /// The disk outlives the machine.
    keeps_disk: bool,
    /// The machine takes shares while it runs.
    pub(crate) live_mounts: bool,
    /// The way to the machine's process, until the supervisor has it.
    channel: Option<OwnedFd>,
}

impl Sandbox {
    /// Starts the machine, as `program vmm`, and its command.
    ///
    /// # Errors
    /// The process or the session cannot be started. What fails in the machine is told by [`Self::run`].
    pub(crate) fn start(plan: Plan, program: &Path, streams: Streams) -> Result<Self, Error> {
        let vmm = VmmProcess::start(program, &plan.vm, &plan.descriptors())?;
        plan.timeline.record("spawned");
        // The machine has the files now; a pipe's or socket's end is seen only when this copy of it is closed too.
        drop(plan.files);
        let session = Session::start_timed(Handoff::new(plan.handoff), plan.configure, plan.timeline)?;
        let published = PublishedSockets(plan.published_sockets.into_iter().map(Arc::new).collect());
        session.connect_sockets(plan.sockets, &published.0)?;
        let main = plan.exec.clone();
        let process = session.exec(plan.exec, streams)?;
        Ok(Self {
            process,
            session,
            vmm,
            peers: plan.peers,
            _published: published,
            size: plan.size,
            main,
            attached: None,
            keeps_disk: plan.keeps_disk,
            live_mounts: plan.live_mounts,
            channel: Some(plan.channel),
        })
    }

    /// Supervises the command until it ends: passes signals on, serves the control socket, ends the machine.
    ///
    /// # Errors
    /// The machine or the session with it failed.
    pub(crate) fn run(mut self, life: &mut Life, front: &mut Front<'_>) -> Result<Ended, Error> {
        let jobs = Jobs::new(self.channel.take(), life.run_dir().path())?;
        let (outcome, is_stuck) = Supervisor::new(&self, life, front, jobs).run();
        life.notice_memory(&self.session);
        life.command_over();
        let Self { process, session, vmm, keeps_disk, .. } = self;
        let lost = matches!(outcome, Err(SessionError::Lost));
        if keeps_disk && !lost {
            // The machine's end cuts what is not written by then.
            let grace = if is_stuck { STUCK_FLUSH_GRACE } else { FLUSH_GRACE };
            if let Err(error) = session.shutdown(grace) {
                tracing::warn!(%error, "the guest did not say that its disk is written");
            }
        }
        drop((process, session));
        let ended = match outcome {
            Ok(ended) => {
                vmm.end();
                Ok(ended)
            }
            Err(SessionError::Exec { code, message }) => Ok(Ended::NotStarted(code, message)),
            Err(SessionError::Lost) => explain(vmm.wait(REPORT_GRACE)),
            Err(error) => Err(error.into()),
        };
        life.command_ended(exit_code(&ended));
        ended
    }
}

/// A sandbox that was started in this process and ends with its command.
#[derive(Debug)]
pub struct LaunchedSandbox {
    // The machine ends before its directory goes.
    pub(crate) sandbox: Sandbox,
    pub(crate) life: Life,
}

impl LaunchedSandbox {
    /// Its identity.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.life.run_dir().record().id
    }

    /// Supervises the sandbox until it ends. `record` is called when the machine is gone and before the sandbox counts
    /// as ended.
    ///
    /// # Errors
    /// The machine or the session with it failed.
    pub fn run(
        self,
        mut front: Front<'_>,
        record: impl FnOnce(&Result<Ended, Error>),
    ) -> Result<Ended, Error> {
        let Self { sandbox, mut life } = self;
        let ended = sandbox.run(&mut life, &mut front);
        record(&ended);
        life.end(exit_code(&ended));
        ended
    }
}

/// What the machine says about its end.
fn explain(exit: VmExit) -> Result<Ended, Error> {
    match exit {
        VmExit::PowerOff | VmExit::Reboot => Ok(Ended::PoweredOff),
        VmExit::Killed => Err(Error::Machine("it was ended from outside".into())),
        VmExit::TripleFault => Err(Error::Machine("the guest's kernel crashed (triple fault)".into())),
        VmExit::Panic { text } => {
            Err(Error::Machine(format!("the guest's kernel panicked:\n{}", last_words(&text))))
        }
        VmExit::InternalError { detail } => Err(Error::Machine(detail)),
    }
}

/// The end of a kernel's log, which says why it panicked, for a terminal.
fn last_words(log: &str) -> String {
    let log = log.trim_end();
    let start = log.ceil_char_boundary(log.len().saturating_sub(PANIC_BYTES));
    printable(&log[start..], PANIC_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_panics_log_is_shown() {
        let log = format!("{}\u{1b}[2Jé why\n\n", "é".repeat(PANIC_BYTES));
        let shown = last_words(&log);
        assert!(shown.ends_with("\u{fffd}[2Jé why") && shown.len() <= PANIC_BYTES + 2, "{}", shown.len());
        assert_eq!(last_words("short\n"), "short");
    }
}
