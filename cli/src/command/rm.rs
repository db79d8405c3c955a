//! `rm`: removes sandboxes.

use monocore_orchestrator::{Error, Home, SandboxEntry, SandboxStatus, registry};

use super::args::RmArgs;
use super::{end, named, output};

const SIGKILL: u8 = 9;

pub(super) fn main(args: &RmArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    let names = args.selection.resolve(&home, |entry| args.force || entry.running.is_none())?;
    end::each(&names, |wanted| {
        match named::find(&home, wanted) {
            Err(Error::NoSandbox(_)) if args.force => return Ok(()),
            found => remove(&home, &found?, args.force)?,
        }
        output::print(&format!("{wanted}\n"))
    })
}

/// Removes a sandbox, with `force` also one that runs.
///
/// # Errors
/// It runs, or something of it cannot be removed.
pub(super) fn remove(home: &Home, entry: &SandboxEntry, force: bool) -> anyhow::Result<()> {
    let has_ended = entry.state.status == SandboxStatus::Exited;
    if entry.running.is_some() && !has_ended {
        if !force {
            return Err(Error::StillRunning(entry.name.clone()).into());
        }
        end::stop_with(home, entry, Some(SIGKILL), None)?;
    }
    let Some(kept) = &entry.kept else { return Ok(()) };
    match registry::remove(home, kept) {
        // It was to go with its command, and has.
        Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => Ok(other?),
    }
}
