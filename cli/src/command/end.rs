//! `stop`, `kill` and `wait`.

use monocore_orchestrator::{ControlClient, Error, Home, SandboxEntry, registry};

use super::args::{KillArgs, NamesArgs, StopArgs};
use super::{named, output};

/// The code of a sandbox that went without a word: 128 and SIGKILL's number.
const KILLED: u8 = 137;

pub(super) fn stop(args: &StopArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    let names = args.selection.resolve(&home, |entry| entry.running.is_some())?;
    each(&names, |wanted| {
        let entry = named::find(&home, wanted)?;
        // As in Docker, stopping what does not run changes nothing.
        if entry.running.is_some() {
            stop_one(&home, &entry, args)?;
        }
        output::print(&format!("{wanted}\n"))
    })
}

/// Stops a running sandbox and waits for its end.
///
/// # Errors
/// The control socket's.
pub(super) fn stop_one(home: &Home, entry: &SandboxEntry, args: &StopArgs) -> anyhow::Result<()> {
    let grace_ms = args.time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let signal = args.signal.map(monocore_orchestrator::spec::Signal::number);
    stop_with(home, entry, signal, grace_ms)
}

/// The same; without `signal` and `grace_ms` as the sandbox says.
pub(super) fn stop_with(
    home: &Home,
    entry: &SandboxEntry,
    signal: Option<u8>,
    grace_ms: Option<u64>,
) -> anyhow::Result<()> {
    let Some(record) = &entry.running else { return Ok(()) };
    match ControlClient::connect(home, record).and_then(|client| client.stop(signal, grace_ms)) {
        // It ended meanwhile.
        Ok(_) | Err(Error::NotRunning(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn kill(args: &KillArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    let names = args.selection.resolve(&home, |entry| entry.running.is_some())?;
    each(&names, |wanted| {
        let record = named::running(&home, wanted)?;
        let client = ControlClient::connect(&home, &record)?;
        // SIGKILL leaves nothing to a guest that does not answer: its machine goes, too.
        match args.signal.number() {
            9 => drop(client.stop(Some(9), None)?),
            signal => client.kill(signal)?,
        }
        output::print(&format!("{wanted}\n"))
    })
}

pub(super) fn wait(args: &NamesArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    each(&args.sandboxes, |wanted| {
        let entry = named::find(&home, wanted)?;
        let code = match &entry.running {
            None => entry.state.exit_code.unwrap_or(0),
            Some(record) => {
                let told = ControlClient::connect(&home, record).and_then(|client| client.wait());
                match told {
                    Ok(Some(code)) => code,
                    // It ended meanwhile, or its supervisor was killed: then the state is put right and read.
                    Ok(None) | Err(Error::NotRunning(_)) => after(&home, &entry),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        output::print(&format!("{code}\n"))
    })
}

fn after(home: &Home, entry: &SandboxEntry) -> u8 {
    registry::find(home, &entry.id).ok().and_then(|entry| entry.state.exit_code).unwrap_or(KILLED)
}

/// Does the same for each of `names`: what fails for one is told and does not keep the others from it.
///
/// # Errors
/// The last failure.
pub(super) fn each(
    names: &[String],
    mut action: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut failed = None;
    for name in names {
        if let Err(error) = action(name)
            && let Some(earlier) = failed.replace(error)
        {
            output::error(&earlier);
        }
    }
    failed.map_or(Ok(()), Err)
}
