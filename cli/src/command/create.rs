//! `create`: a sandbox that is kept, and what `run -d` makes first.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use monocore_orchestrator::{Home, KeptSandbox, Launcher, this_program};

use super::output;
use super::run::{self, RunArgs};

pub(super) fn main(args: RunArgs) -> ExitCode {
    match create(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => run::failure(&error),
    }
}

fn create(args: RunArgs) -> anyhow::Result<()> {
    let (networks, rm, cidfile) = (args.networks(), args.rm, args.cidfile.clone());
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    let images = args.images(&launcher.home);
    let spec = args.into_spec(|name| std::env::var_os(name))?;
    run::must_exist(&launcher.home, &networks)?;
    let kept = launcher.create(spec, &images, rm)?;
    write_id(&kept, cidfile.as_deref())?;
    output::print(&format!("{}\n", kept.record().id))
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
