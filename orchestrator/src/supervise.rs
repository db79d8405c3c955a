//! A sandbox in the background: `monocore supervise ID FD`, and starting that.
//!
//! Whoever starts a sandbox waits for one report over the socket FD: the command runs, or why it does not. After that
//! the supervisor depends on nobody.

use std::cell::Cell;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use monocore_oci::Store;
use monocore_protocol::TermSize;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, waitpid};
use serde::{Deserialize, Serialize};

use crate::control::wire::{self, Received};
use crate::home::make_private_dir;
use crate::kept::{KeptSandbox, SandboxState, SandboxStatus, now_ms};
use crate::life::{Ending, Life};
use crate::logs::{LogStream, LogWriter};
use crate::sandbox::{Attached, Ended, LaunchedSandbox, exit_code};
use crate::secrets::SecretVariables;
use crate::session::{Input, Output, Signals, Streams};
use crate::spec::RootSource;
use crate::supervisor::Front;
use crate::{Error, Home, Launcher, RootFiles, registry, spawn};

/// The supervisor's own messages, and its machine's.
const LOG: &str = "supervisor.log";
/// A longer one is begun anew, bytes.
const LOG_BYTES: u64 = 1 << 20;
/// The size of a terminal that nobody looks at: the field's usual one.
const UNSEEN: TermSize = TermSize { rows: 24, columns: 80 };
/// Docker's status for failures that are not the command's.
const FAILED: u8 = 125;

/// What a supervisor says to whoever started it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Report {
    Started,
    Failed { code: u8, message: String },
}

/// Starts `kept` in the background and waits until its command runs.
///
/// # Errors
/// [`Error::NotStarted`] with the reason when it does not run; else its supervisor could not be started.
pub fn start(launcher: &Launcher, kept: &KeptSandbox) -> Result<(), Error> {
    // What is wrong with them fails here, before there is anything to undo.
    let variables = SecretVariables::of_this_process(&kept.record().spec.process.secrets)?;
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(|errno| Error::Spawn(errno.into()))?;
    spawn_supervisor(launcher, kept, &theirs).map_err(Error::Spawn)?;
    drop(theirs);
    // A supervisor that ended at once is told of below.
    let _ = wire::send(&ours, &variables, None, SendFlags::empty());
    match wire::receive(&ours, RecvFlags::empty()) {
        Ok(Received::Message(Report::Started, _)) => Ok(()),
        Ok(Received::Message(Report::Failed { code, message }, _)) => {
            Err(Error::NotStarted { code, message })
        }
        Ok(Received::Closed | Received::Nothing) => Err(Error::NotStarted {
            code: FAILED,
            message: format!("the supervisor ended at once; see {}", kept.log().join(LOG).display()),
        }),
        Err(error) => Err(Error::Spawn(error)),
    }
}

fn spawn_supervisor(launcher: &Launcher, kept: &KeptSandbox, report: &OwnedFd) -> io::Result<()> {
    let log = own_log(kept).map_err(io::Error::other)?;
    let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::other);
    let args = [
        c"monocore".to_owned(),
        c"supervise".to_owned(),
        text(kept.record().id.as_bytes())?,
        text(report.as_raw_fd().to_string().as_bytes())?,
    ];
    let mut environment = spawn::environment()?;
    let home = [b"MONOCORE_HOME=", launcher.home.root().as_os_str().as_bytes()].concat();
    environment.push(text(&home)?);
    let program = text(launcher.program.as_os_str().as_bytes())?;
    let pid = spawn::sys::spawn(
        &program,
        &args,
        &environment,
        &[report.as_fd()],
        log.as_fd(),
        spawn::sys::Blocked::None,
    )?;
    // The supervisor goes on in a child of that process; a long-lived caller has no zombie at its end.
    match retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty())) {
        // A caller that ignores SIGCHLD has no children to wait for.
        Ok(_) | Err(Errno::CHILD) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn own_log(kept: &KeptSandbox) -> Result<File, Error> {
    make_private_dir(&kept.log())?;
    let path = kept.log().join(LOG);
    let is_long = path.metadata().is_ok_and(|metadata| metadata.len() > LOG_BYTES);
    let mut options = OpenOptions::new();
    let file =
        options.append(true).create(true).mode(0o600).open(&path).map_err(Error::file("open", &path))?;
    if is_long {
        file.set_len(0).map_err(Error::file("empty", &path))?;
    }
    Ok(file)
}

/// Supervises the kept sandbox `id` in this process until it ends; what comes of its start is told over the inherited
/// descriptor number `report`. The process has one thread; it ends, and a child of it is the supervisor.
///
/// # Errors
/// The sandbox could not be started, or its machine failed. It is told over `report` and written down as well.
pub fn supervise(launcher: &Launcher, id: &str, report: i32) -> Result<Ended, Error> {
    spawn::sys::leave_parent().map_err(Error::Spawn)?;
    let report = spawn::sys::inherited(report).map_err(Error::Spawn)?;
    let variables = match wire::receive(&report, RecvFlags::empty()) {
        Ok(Received::Message(variables, _)) => variables,
        Ok(Received::Closed | Received::Nothing) => SecretVariables::default(),
        Err(error) => return Err(Error::Spawn(error)),
    };
    let mut report = Some(report);
    let mut say = |what: &Report| {
        if let Some(report) = report.take() {
            // Who started this may be gone.
            let _ = wire::send(&report, what, None, SendFlags::DONTWAIT);
        }
    };
    let started = registry::open_kept(&launcher.home, id).and_then(|kept| {
        let result = run(launcher, &kept, &variables, &mut || say(&Report::Started));
        // A sandbox that runs already is another supervisor's to write about.
        if !matches!(result, Err(Error::AlreadyRunning(_))) {
            write_end(&launcher.home, &kept, &result)?;
        }
        result
    });
    match &started {
        Ok(Ended::NotStarted(code, message)) => {
            say(&Report::Failed { code: *code, message: message.clone() });
        }
        // The command ran, for however short a time.
        Ok(_) => say(&Report::Started),
        Err(error) => say(&Report::Failed { code: FAILED, message: error.to_string() }),
    }
    started
}

fn run(
    launcher: &Launcher,
    kept: &KeptSandbox,
    variables: &SecretVariables,
    told: &mut dyn FnMut(),
) -> Result<Ended, Error> {
    let signals = Signals::block()?;
    let log = LogWriter::open(&kept.log())?;
    let (first, stdin) = streams(kept, &log)?;
    let launched = with_root(&launcher.home, kept, |root| launcher.start_kept(kept, root, first, variables))?;
    let LaunchedSandbox { sandbox, mut life } = launched;
    life.watch_log(log.clone());
    let restarts = Cell::new(0);
    // It may be changed by `update` while it runs.
    let mut current = kept.clone();
    let mut started = || {
        if let Err(error) = write_start(kept, restarts.get()) {
            tracing::warn!(%error, "the sandbox's state is not written");
        }
        told();
    };
    let mut front = Front::Background { signals: &signals, started: &mut started };
    let mut next = Ok((sandbox, stdin));
    let ended = loop {
        let ended = next.and_then(|(mut sandbox, stdin)| {
            // The command's standard input stays open while it runs.
            sandbox.attached = Some(Attached { stdin });
            sandbox.run(&mut life, &mut front)
        });
        if let Ok(now) = registry::open_kept(&launcher.home, &kept.record().id) {
            life.restarts.set_policy(now.record().spec.restart);
        }
        let Some(delay) = next_start(&mut life, &ended) else { break ended };
        note_state(kept, &ended_state(kept, &life, SandboxStatus::Restarting, &ended));
        if !life.rest(&front, delay) {
            break if life.ending == Some(Ending::MaxDuration) { Ok(Ended::TimedOut) } else { ended };
        }
        restarts.set(life.restarts.count());
        if let Ok(now) = registry::open_kept(&launcher.home, &kept.record().id) {
            current = now;
        }
        let kept = &current;
        next = streams(kept, &log).and_then(|(streams, stdin)| {
            let start = |root: &RootFiles<'_>| launcher.start_again(kept, root, streams, (&life, variables));
            Ok((with_root(&launcher.home, kept, start)?, stdin))
        });
    };
    note_state(kept, &ended_state(kept, &life, SandboxStatus::Exited, &ended));
    life.end(exit_code(&ended));
    ended
}

/// The delay until the sandbox is started again, unless it has ended for good.
fn next_start(life: &mut Life, ended: &Result<Ended, Error>) -> Option<Duration> {
    // A command that never ran is the user's to put right.
    if life.ending.is_some() || !life.has_started() {
        return None;
    }
    let ran = std::mem::take(&mut life.ran);
    life.restarts.after(exit_code(ended), ran)
}

fn note_state(kept: &KeptSandbox, state: &SandboxState) {
    if let Err(error) = kept.write_state(state) {
        tracing::warn!(%error, "the sandbox's state is not written");
    }
}

/// Calls `then` with the root of `kept`, opened.
pub(crate) fn with_root<T>(
    home: &Home,
    kept: &KeptSandbox,
    then: impl FnOnce(&RootFiles<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let record = kept.record();
    match (&record.spec.root.source, &record.image) {
        (RootSource::Directory(path), _) => then(&RootFiles::Directory(path)),
        (RootSource::Image(image), digest) => {
            let name = digest.as_ref().unwrap_or(&image.reference);
            let found = Store::open(home.root()).and_then(|store| store.find(name))?;
            let root = found.root()?;
            then(&RootFiles::Image(&found.config, root))
        }
    }
}

/// The command's streams, which lead into the log; and what keeps its standard input open, if it has one.
fn streams(kept: &KeptSandbox, log: &LogWriter) -> Result<(Streams, Option<OwnedFd>), Error> {
    let output = |stream| Output::Writer(Box::new(log.stream(stream)));
    let process = &kept.record().spec.process;
    let (input, held) = if process.stdin {
        let (reads, writes) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Error::Spawn(errno.into()))?;
        (Input::Fd(reads), Some(writes))
    } else {
        (Input::Empty, None)
    };
    let streams = if process.tty {
        Streams::Terminal { size: UNSEEN, input, output: output(LogStream::Stdout) }
    } else {
        let (stdout, stderr) = (output(LogStream::Stdout), output(LogStream::Stderr));
        Streams::Pipes { stdin: input, stdout, stderr }
    };
    Ok((streams, held))
}

fn write_start(kept: &KeptSandbox, restart_count: u32) -> Result<(), Error> {
    kept.write_state(&SandboxState {
        status: SandboxStatus::Running,
        started_ms: Some(now_ms()),
        pid: Some(std::process::id()),
        restart_count,
        ..SandboxState::default()
    })
}

fn ended_state(
    kept: &KeptSandbox,
    life: &Life,
    status: SandboxStatus,
    ended: &Result<Ended, Error>,
) -> SandboxState {
    SandboxState {
        restart_count: life.restarts.count(),
        is_stopped: matches!(life.ending, Some(Ending::User | Ending::Idle | Ending::MaxDuration)),
        health: life.last_health().cloned(),
        oom_killed: life.oom_killed,
        pid: (status == SandboxStatus::Restarting).then(std::process::id),
        ..failed_state(kept, status, ended)
    }
}

fn failed_state(kept: &KeptSandbox, status: SandboxStatus, ended: &Result<Ended, Error>) -> SandboxState {
    let before = kept.state().unwrap_or_default();
    let error = match ended {
        Ok(Ended::NotStarted(_, message)) => Some(message.clone()),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    };
    SandboxState {
        status,
        exit_code: Some(exit_code(ended)),
        error,
        started_ms: before.started_ms,
        finished_ms: Some(now_ms()),
        ..SandboxState::default()
    }
}

/// Writes down a sandbox that could not be started, and removes one that is not to be kept.
fn write_end(home: &Home, kept: &KeptSandbox, result: &Result<Ended, Error>) -> Result<(), Error> {
    if kept.record().auto_remove {
        return registry::remove(home, kept);
    }
    if result.is_err() && kept.state().is_ok_and(|state| state.status != SandboxStatus::Exited) {
        kept.write_state(&failed_state(kept, SandboxStatus::Exited, result))?;
    }
    Ok(())
}
