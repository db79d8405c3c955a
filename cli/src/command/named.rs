//! Which sandbox a word names: its own name or ID, or a service of the project in this directory.

use monocore_orchestrator::config::load;
use monocore_orchestrator::{Error, Home, Record, SandboxEntry, find_service, registry};

use super::project::{ProjectArgs, load_options};

/// The sandbox that `wanted` names: by name or ID, else the only sandbox of that service of the project here, else by the
/// beginning of its ID.
///
/// # Errors
/// There is none, or there are several.
pub(super) fn find(home: &Home, wanted: &str) -> Result<SandboxEntry, Error> {
    let found = registry::find(home, wanted);
    if found.as_ref().is_ok_and(|entry| entry.name == wanted || entry.id == wanted) {
        return found;
    }
    match project_here() {
        Ok(Some(project)) => find_service(home, &project, wanted)?.map_or(found, Ok),
        Ok(None) => found,
        // A file with faults is a reason only where nothing else was found.
        Err(error) => match found {
            Err(Error::NoSandbox(_)) => Err(error),
            found => found,
        },
    }
}

/// The record of the running sandbox that `wanted` names.
///
/// # Errors
/// As [`find`]; or it does not run.
pub(super) fn running(home: &Home, wanted: &str) -> Result<Record, Error> {
    let entry = find(home, wanted)?;
    entry.running.ok_or(Error::NotRunning(entry.name))
}

/// The name of the project that a verb without flags is about, if there is one.
fn project_here() -> Result<Option<String>, Error> {
    if let Ok(name) = std::env::var("MONOCORE_PROJECT") {
        return Ok(Some(name));
    }
    let options = load_options(&ProjectArgs::default());
    if !options.has_files() {
        return Ok(None);
    }
    Ok(Some(load(&options)?.name))
}
