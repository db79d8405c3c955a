//! `start` and `restart`.

use std::process::ExitCode;

use anyhow::{Context, bail};
use monocore_orchestrator::session::Signals;
use monocore_orchestrator::{
    Error, Home, Launcher, LogReader, SandboxEntry, events, registry, start_in_background, this_program,
};

use super::args::{StartArgs, StopArgs};
use super::attach::AttachOptions;
use super::{attach, end, named, output, project, run};

pub(super) fn main(args: &StartArgs) -> ExitCode {
    // No sandbox's name has a colon.
    if let [word] = &args.selection.sandboxes[..]
        && word.contains(':')
    {
        return project::start_script(word);
    }
    let started =
        if args.attach || args.interactive { start_attached(args) } else { start_all(args).map(|()| 0) };
    match started {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.downcast_ref().is_some_and(is_of_command) => run::failure(&error),
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

/// The command could not be started: then the status is a shell's.
fn is_of_command(error: &Error) -> bool {
    matches!(error, Error::NotStarted { .. })
}

/// Starts one sandbox and stays with it to its end.
fn start_attached(args: &StartArgs) -> anyhow::Result<u8> {
    let [wanted] = &args.selection.resolve(&Home::locate()?, |entry| entry.running.is_none())?[..] else {
        bail!("you cannot start and attach multiple sandboxes at once");
    };
    let signals = Signals::block()?;
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    let entry = named::find(&launcher.home, wanted)?;
    let kept = attach::kept(&entry)?;
    let mut log = LogReader::open_at_end(&launcher.home, kept)?;
    if entry.running.is_none() {
        start(&launcher, &entry)?;
        log.follow(&launcher.home, kept)?;
    }
    let options =
        AttachOptions { stdin: args.interactive, sig_proxy: true, detach_keys: args.detach_keys.clone() };
    attach::to_end(&launcher.home, &registry::find(&launcher.home, &entry.id)?, log, &signals, options)
}

fn start_all(args: &StartArgs) -> anyhow::Result<()> {
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    let names = args.selection.resolve(&launcher.home, |entry| entry.running.is_none())?;
    end::each(&names, |wanted| {
        let entry = named::find(&launcher.home, wanted)?;
        // As in Docker, starting what runs changes nothing.
        if entry.running.is_none() {
            start(&launcher, &entry)?;
        }
        output::print(&format!("{wanted}\n"))
    })
}

pub(super) fn restart(args: &StopArgs) -> anyhow::Result<()> {
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    let names = args.selection.resolve(&launcher.home, |entry| entry.running.is_some())?;
    end::each(&names, |wanted| {
        let entry = named::find(&launcher.home, wanted)?;
        let kept = entry.kept.as_ref().with_context(|| format!("sandbox {wanted} ends with its command"))?;
        if entry.running.is_some() {
            end::stop_one(&launcher.home, &entry, args)?;
        }
        start(&launcher, &entry)?;
        events::note(&launcher.home, &kept.into(), "restart", &[]);
        output::print(&format!("{wanted}\n"))
    })
}

fn start(launcher: &Launcher, entry: &SandboxEntry) -> anyhow::Result<()> {
    let kept =
        entry.kept.as_ref().with_context(|| format!("sandbox {} ends with its command", entry.name))?;
    Ok(start_in_background(launcher, kept)?)
}
