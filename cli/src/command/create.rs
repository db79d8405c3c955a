//! `create`: a sandbox that is kept, and what `run -d` makes first.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use monocore_orchestrator::spec::{MountSource, MountSpec, SandboxSpec};
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
    let (networks, rm, cidfile) = (args.networks(), args.rm, args.cidfile.clone());
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    let images = args.images(&launcher.home);
    let (replaces, others) = (args.replace, args.volumes_from.clone());
    let spec = args.into_spec(|name| std::env::var_os(name))?;
    run::must_exist(&launcher.home, &networks)?;
    let spec = with_mounts_of(&launcher.home, spec, &others)?;
    let file = cidfile.as_deref().map(new_id_file).transpose()?;
    if replaces {
        make_room(&launcher.home, &spec)?;
    }
    let kept = launcher.create(spec, &images, rm)?;
    write_id(&kept, file)?;
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

/// `spec` with the mounts of other kept sandboxes at places where it has none (`--volumes-from`).
///
/// # Errors
/// There is no such sandbox, or it ends with its command.
pub(super) fn with_mounts_of(
    home: &Home,
    mut spec: SandboxSpec,
    others: &[String],
) -> anyhow::Result<SandboxSpec> {
    for text in others {
        let (name, read_only) = match text.split_once(':') {
            Some((name, "ro")) => (name, true),
            Some((name, "rw")) => (name, false),
            Some(_) => bail!("--volumes-from: {text}: give SANDBOX, SANDBOX:ro or SANDBOX:rw"),
            None => (text.as_str(), false),
        };
        let entry = registry::find(home, name).context("--volumes-from")?;
        let kept =
            entry.kept.with_context(|| format!("--volumes-from: sandbox {name} ends with its command"))?;
        for mount in &kept.record().spec.mounts {
            let is_private = matches!(mount.source, MountSource::Anonymous | MountSource::Tmpfs(_));
            if is_private || spec.mounts.iter().any(|own| own.target == mount.target) {
                continue;
            }
            spec.mounts.push(MountSpec { read_only: mount.read_only || read_only, ..mount.clone() });
        }
    }
    Ok(spec)
}

/// Makes the file of `--cidfile`, before there is anything to undo.
///
/// # Errors
/// The file is there already, or cannot be made.
pub(super) fn new_id_file(path: &Path) -> anyhow::Result<File> {
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    made.with_context(|| format!("--cidfile {}", path.display()))
}

/// Writes the id of `kept` to the file of `--cidfile`.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write_id(kept: &KeptSandbox, file: Option<File>) -> anyhow::Result<()> {
    let Some(mut file) = file else { return Ok(()) };
    file.write_all(kept.record().id.as_bytes()).context("--cidfile")
}
