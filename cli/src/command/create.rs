//! `create`: a sandbox that is kept, and what `run -d` makes first.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use monocore_orchestrator::spec::SandboxSpec;
use monocore_orchestrator::{Error, Home, KeptSandbox, Launcher, registry, this_program};

use super::run::{self, RunArgs};
use super::{output, rm};

pub(super) fn main(args: RunArgs) -> ExitCode {
    match create(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => run::failure(&error),
    }
}

fn create(args: RunArgs) -> anyhow::Result<()> {
    let (rm, cidfile) = (args.rm, args.cidfile.clone());
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    let images = args.images(&launcher.home);
    let replaces = args.replace;
    let spec = args.into_spec(|name| std::env::var_os(name))?;
    if replaces {
        make_room(&launcher.home, &spec)?;
    }
    let kept = launcher.create(spec, &images, rm)?;
    write_id(&kept, cidfile.as_deref())?;
    output::print(&format!("{}\n", kept.record().id))
}

/// Removes the sandbox that has the name of `spec`, running or not, as `--replace` asks.
///
/// # Errors
/// `spec` has no name, or the other sandbox cannot be removed.
pub(super) fn make_room(home: &Home, spec: &SandboxSpec) -> anyhow::Result<()> {
    let name = spec.name.as_deref().context("--replace: give the sandbox a name with --name")?;
    match registry::find(home, name) {
        Ok(entry) if entry.name == name => rm::remove(home, &entry, true),
        Ok(_) | Err(Error::NoSandbox(_) | Error::Ambiguous(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes the id of `kept` to a new file, as `--cidfile` asks.
///
/// # Errors
/// The file is there already, or cannot be written.
pub(super) fn write_id(kept: &KeptSandbox, path: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(|| format!("--cidfile {}", path.display()))?;
    file.write_all(kept.record().id.as_bytes()).with_context(|| format!("--cidfile {}", path.display()))
}
