//! `start` and `restart`.

use std::process::ExitCode;

use anyhow::Context;
use monocore_orchestrator::{
    Home, Launcher, SandboxEntry, events, registry, start_in_background, this_program,
};

use super::args::{NamesArgs, StopArgs};
use super::{end, output, run};

pub(super) fn main(args: &NamesArgs) -> ExitCode {
    match start_all(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => run::failure(&error),
    }
}

fn start_all(args: &NamesArgs) -> anyhow::Result<()> {
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    end::each(&args.sandboxes, |wanted| {
        let entry = registry::find(&launcher.home, wanted)?;
        // As in Docker, starting what runs changes nothing.
        if entry.running.is_none() {
            start(&launcher, &entry)?;
        }
        output::print(&format!("{wanted}\n"))
    })
}

pub(super) fn restart(args: &StopArgs) -> anyhow::Result<()> {
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    end::each(&args.sandboxes, |wanted| {
        let entry = registry::find(&launcher.home, wanted)?;
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
