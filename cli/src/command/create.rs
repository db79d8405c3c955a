//! `create`: a sandbox that is kept, and what `run -d` makes first.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use monocore_orchestrator::spec::{RootSource, SandboxSpec};
use monocore_orchestrator::{Home, KeptSandbox, NewSandbox, command_line, registry};

use super::run::{self, RunArgs, Wanted};
use super::{output, store};

pub(super) fn main(args: RunArgs) -> ExitCode {
    match create(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => run::failure(&error),
    }
}

fn create(args: RunArgs) -> anyhow::Result<()> {
    let (wanted, networks, rm, cidfile) = (args.wanted(), args.networks(), args.rm, args.cidfile.clone());
    let spec = args.into_spec(|name| std::env::var_os(name))?;
    let home = Home::locate()?;
    run::must_exist(&home, &networks)?;
    let kept = keep(&home, spec, &wanted, rm)?;
    write_id(&kept, cidfile.as_deref())?;
    output::print(&format!("{}\n", kept.record().id))
}

/// Writes the sandbox of `spec` down, with the image that its reference leads to now.
///
/// # Errors
/// The image cannot be had, the name is taken, there is no command to run.
pub(super) fn keep(
    home: &Home,
    mut spec: SandboxSpec,
    wanted: &Wanted,
    auto_remove: bool,
) -> anyhow::Result<KeptSandbox> {
    spec.make_absolute()?;
    let command = run::with_root(home, &spec, wanted, |root, _| Ok(command_line(&spec, root)))?;
    let (root, image) = match &spec.root.source {
        RootSource::Directory(path) => (path.display().to_string(), None),
        RootSource::Image(image) => {
            let found = store::open(home)?.find(&image.reference)?;
            (image.reference.clone(), Some(found.id.to_string()))
        }
    };
    if command.first().is_none_or(String::is_empty) {
        return Err(monocore_orchestrator::Error::NoCommand.into());
    }
    Ok(registry::create(home, NewSandbox { spec, root, image, command, auto_remove })?)
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
