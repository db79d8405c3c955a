//! A running sandbox: its machine, the session with its agent, and how both end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use monocore_protocol::ExitStatus;
use monocore_spec::VmExit;

use crate::session::{
    Handoff, Outcome, Process, Session, SessionError, Signals, Streams, Terminal, printable, run_to_end,
};
use crate::sockets::PublishedSockets;
use crate::spec::StopSpec;
use crate::{Error, Plan, RunDir, VmmProcess};

/// How long a machine whose session broke off may take to say why.
const REPORT_GRACE: Duration = Duration::from_secs(5);
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

/// A running sandbox; dropping it ends its machine and removes its directory.
#[derive(Debug)]
pub struct Sandbox {
    // Fields drop in this order: the guest's streams, the machine, then its directory.
    process: Process,
    session: Session,
    vmm: VmmProcess,
    _run_dir: RunDir,
    _published: PublishedSockets,
    stop: StopSpec,
    stop_signal: u8,
}

impl Sandbox {
    /// Starts the machine, as `program vmm`, and its command.
    ///
    /// # Errors
    /// The process or the session cannot be started. What fails in the machine is told by [`Self::run`].
    pub fn start(
        plan: Plan,
        run_dir: RunDir,
        program: &Path,
        stop: StopSpec,
        streams: Streams,
    ) -> Result<Self, Error> {
        let vmm = VmmProcess::start(program, &plan.vm, &plan.descriptors())?;
        plan.timeline.record("spawned");
        // The machine has the files now; a pipe's or socket's end is seen only when this copy of it is closed too.
        drop(plan.files);
        let session = Session::start_timed(Handoff::new(plan.handoff), plan.configure, plan.timeline)?;
        let published = PublishedSockets(plan.published_sockets.into_iter().map(Arc::new).collect());
        session.connect_sockets(plan.sockets, &published.0)?;
        let process = session.exec(plan.exec, streams)?;
        let stop_signal = plan.stop_signal.number();
        Ok(Self { process, session, vmm, _run_dir: run_dir, _published: published, stop, stop_signal })
    }

    /// Waits for the command, passing on the signals that arrive, and ends the machine.
    ///
    /// # Errors
    /// The machine or the session with it failed.
    pub fn run(self, signals: &Signals, terminal: Option<Terminal<'_>>) -> Result<Ended, Error> {
        let deadline = self.stop.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let outcome = run_to_end(&self.process, signals, terminal, deadline);
        match outcome {
            Ok(Outcome::Exited(status)) => Ok(Ended::Command(status)),
            Ok(Outcome::Insisted(_)) => Ok(Ended::Killed),
            Ok(Outcome::TimedOut) => {
                self.ask_to_end(signals, terminal);
                Ok(Ended::TimedOut)
            }
            Err(SessionError::Exec { code, message }) => Ok(Ended::NotStarted(code, message)),
            Err(SessionError::Lost) => self.explain(),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends the stop signal and gives the command its time; however that goes, the machine ends next.
    fn ask_to_end(&self, signals: &Signals, terminal: Option<Terminal<'_>>) {
        let deadline = Instant::now().checked_add(self.stop.grace);
        let asked = self.process.signal(self.stop_signal);
        let ended = asked.and_then(|()| run_to_end(&self.process, signals, terminal, deadline));
        tracing::debug!(?ended, "the command was asked to end");
    }

    /// The session broke off: what the machine says about that.
    fn explain(self) -> Result<Ended, Error> {
        let Self { process, session, vmm, .. } = self;
        drop((process, session));
        match vmm.wait(REPORT_GRACE) {
            VmExit::PowerOff | VmExit::Reboot => Ok(Ended::PoweredOff),
            VmExit::Killed => Err(Error::Machine("it was ended from outside".into())),
            VmExit::TripleFault => Err(Error::Machine("the guest's kernel crashed (triple fault)".into())),
            VmExit::Panic { text } => {
                let text = printable(text.trim_end(), PANIC_BYTES);
                Err(Error::Machine(format!("the guest's kernel panicked:\n{text}")))
            }
            VmExit::InternalError { detail } => Err(Error::Machine(detail)),
        }
    }
}
