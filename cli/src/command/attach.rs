//! `attach`: the input and output of a command in the background.

use std::io::{self, IsTerminal, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::mpsc;

use anyhow::Context;
use monocore_orchestrator::session::{DetachKeys, KeyedInput, LeaveEvent, Signals, Terminal};
use monocore_orchestrator::{
    ControlClient, Detached, Error, Home, KeptSandbox, LogReader, SandboxEntry, registry,
};

use super::args::AttachArgs;
use super::logs::Printer;
use super::terminal::RawMode;
use super::{named, output};

/// The code of a sandbox that went without a word: 128 and SIGKILL's number.
const KILLED: u8 = 137;
const BUFFER_BYTES: usize = 16 << 10;

/// How a client attaches.
#[derive(Clone, Debug)]
pub(super) struct AttachOptions {
    pub(super) stdin: bool,
    pub(super) sig_proxy: bool,
    pub(super) detach_keys: DetachKeys,
}

pub(super) fn main(args: AttachArgs) -> ExitCode {
    let attached = || {
        // Before any thread, so that every signal comes here.
        let signals = Signals::block()?;
        let home = Home::locate()?;
        let entry = named::find(&home, &args.sandbox)?;
        let kept = kept(&entry)?;
        if entry.running.is_none() {
            return Err(Error::NotRunning(entry.name.clone()).into());
        }
        let log = LogReader::open_at_end(&home, kept)?;
        let options = AttachOptions {
            stdin: !args.no_stdin,
            sig_proxy: args.sig_proxy,
            detach_keys: args.detach_keys.clone(),
        };
        to_end(&home, &entry, log, &signals, options)
    };
    match attached() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

/// The directory of a sandbox in the background.
///
/// # Errors
/// It runs in the foreground.
pub(super) fn kept(entry: &SandboxEntry) -> anyhow::Result<&KeptSandbox> {
    entry.kept.as_ref().with_context(|| {
        format!(
            "sandbox {} runs in the foreground: its input and output are where it was started",
            entry.name
        )
    })
}

/// Attaches to a running sandbox and shows what `log` gets until its end; the command's exit code.
///
/// # Errors
/// The control socket's, or the log's.
pub(super) fn to_end(
    home: &Home,
    entry: &SandboxEntry,
    log: LogReader,
    signals: &Signals,
    options: AttachOptions,
) -> anyhow::Result<u8> {
    let process = &kept(entry)?.record().spec.process;
    let shown = show(log)?;
    let record = entry.running.as_ref().ok_or_else(|| Error::NotRunning(entry.name.clone()));
    let attachment =
        record.and_then(|record| ControlClient::connect(home, record)).and_then(ControlClient::attach);
    let mut attachment = match attachment {
        // It ended meanwhile; its output is in the log.
        Err(Error::NotRunning(_)) => {
            // The thread may have ended already.
            let _ = shown.recv();
            return Ok(ended(home, entry));
        }
        other => other?,
    };
    let uses_stdin = options.stdin && process.stdin;
    let stdin = io::stdin();
    let raw = if process.tty && uses_stdin { RawMode::enter()? } else { None };
    let leave = match attachment.take_stdin().filter(|_| uses_stdin) {
        Some(pipe) => type_into(pipe, options.detach_keys)?,
        None => None,
    };
    let terminal = process.tty.then(|| Terminal::new(stdin.as_fd()));
    let end = attachment.run_to_end(signals, terminal, options.sig_proxy, leave.as_ref());
    if matches!(end, Ok(Detached::Ended(_))) {
        // What it said last is shown before its end is told.
        let _ = shown.recv();
    }
    // Messages are for a terminal in its usual mode.
    drop(raw);
    match end? {
        Detached::Ended(Some(code)) => Ok(code),
        Detached::Ended(None) => Ok(ended(home, entry)),
        Detached::Left => anyhow::bail!("read escape sequence"),
        Detached::Signal(signal) => Ok(128u8.saturating_add(signal)),
    }
}

/// Shows the log on a thread of its own; the receiver is closed at the log's end.
fn show(mut log: LogReader) -> anyhow::Result<mpsc::Receiver<()>> {
    let (done, shown) = mpsc::channel();
    let work = move || {
        let mut printer = Printer::new(false);
        while let Ok(Some(entry)) = log.next_entry() {
            if !printer.print(&entry).unwrap_or(false) {
                break;
            }
        }
        drop(done);
    };
    std::thread::Builder::new().name("output".to_owned()).spawn(work).context("spawning a thread")?;
    Ok(shown)
}

/// Passes standard input on. The command's input stays open at its end, as in Docker.
fn type_into(pipe: OwnedFd, keys: DetachKeys) -> anyhow::Result<Option<LeaveEvent>> {
    let stdin = io::stdin();
    let typed = stdin.as_fd().try_clone_to_owned().context("duplicating standard input")?;
    let (input, leave): (Box<dyn Read + Send>, _) = if stdin.is_terminal() {
        let (keyed, leave) = KeyedInput::new(typed, keys)?;
        (Box::new(keyed), Some(leave))
    } else {
        (Box::new(std::fs::File::from(typed)), None)
    };
    let mut pipe = std::fs::File::from(pipe);
    let mut input = io::BufReader::with_capacity(BUFFER_BYTES, input);
    let work = move || {
        // The command may have closed its input.
        let _ = io::copy(&mut input, &mut pipe);
    };
    std::thread::Builder::new().name("typing".to_owned()).spawn(work).context("spawning a thread")?;
    Ok(leave)
}

fn ended(home: &Home, entry: &SandboxEntry) -> u8 {
    let found = registry::find(home, &entry.id).ok();
    found.and_then(|entry| entry.state.exit_code).unwrap_or(KILLED)
}
