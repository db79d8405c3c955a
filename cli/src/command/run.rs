//! `run`: a command in a new sandbox, from flags to exit status.

mod args;
mod convert;
mod cpus;
mod foreign;
mod life;
mod tmp;

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use monocore_orchestrator::session::{Input, Output, Signals, Streams, Terminal};
use monocore_orchestrator::spec::{GroupMembership, RestartPolicy, RootSource, SandboxSpec};
use monocore_orchestrator::{
    Ended, Front, Home, Images, Launcher, RootFiles, groups, start_in_background, this_program,
};
use monocore_spec::JailMode;
use monocore_vmm::jail::{NEED_OF_READ_ONLY, landlock_version};

use super::terminal::RawMode;
use super::{OUR_FAILURE, create, output, store};

pub(crate) use args::RunArgs;
pub(crate) use tmp::TmpArgs;
pub(in crate::command) use tmp::main as tmp;

pub(super) fn main(args: RunArgs) -> ExitCode {
    match run(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => failure(&error),
    }
}

/// Tells the user what failed; the status is the command's where it could not be started.
pub(super) fn failure(error: &anyhow::Error) -> ExitCode {
    output::error(error);
    match error.downcast_ref() {
        Some(monocore_orchestrator::Error::NotStarted { code, .. }) => ExitCode::from(*code),
        _ => ExitCode::from(OUR_FAILURE),
    }
}

fn run(args: RunArgs) -> anyhow::Result<u8> {
    let (detach, rm, cidfile, replaces) = (args.detach, args.rm, args.cidfile.clone(), args.replace);
    let (registry, quiet) = (args.registry.clone(), args.quiet);
    let networks = args.networks();
    let attached = Attached::new(&args.attach);
    let others = args.volumes_from.clone();
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    let spec = args.into_spec(|name| std::env::var_os(name))?;
    let spec = create::with_mounts_of(&launcher.home, spec, &others)?;
    if !detach && spec.restart != RestartPolicy::No {
        bail!("--restart: give --detach, too: in the foreground a sandbox ends with its command");
    }
    let images = store::images(&launcher.home, &registry, quiet);
    must_exist(&launcher.home, &networks)?;
    if replaces {
        create::make_room(&launcher.home, &spec)?;
    }
    if detach {
        in_background(&launcher, spec, &images, rm, cidfile.as_deref())
    } else {
        in_foreground_with(&launcher, &spec, &images, attached, cidfile.as_deref())
    }
}

/// Runs the sandbox of `spec` in the background and prints its id.
///
/// # Errors
/// The image cannot be had, the name is taken, the command cannot be started.
pub(super) fn in_background(
    launcher: &Launcher,
    spec: SandboxSpec,
    images: &Images,
    rm: bool,
    cidfile: Option<&Path>,
) -> anyhow::Result<u8> {
    warn_of_gaps(spec.machine.jail);
    let file = cidfile.map(create::new_id_file).transpose()?;
    let kept = launcher.create(spec, images, rm)?;
    create::write_id(&kept, file)?;
    start_in_background(launcher, &kept)?;
    output::print(&format!("{}\n", kept.record().id))?;
    Ok(0)
}

/// Runs the sandbox of `spec` with this process's streams to its end; the exit code of its command.
///
/// # Errors
/// The image cannot be had, or the machine cannot be started or failed.
pub(super) fn in_foreground(launcher: &Launcher, spec: &SandboxSpec, images: &Images) -> anyhow::Result<u8> {
    in_foreground_with(launcher, spec, images, Attached::new(&[]), None)
}

/// The same with only some of the streams, and with the id in a file.
fn in_foreground_with(
    launcher: &Launcher,
    spec: &SandboxSpec,
    images: &Images,
    attached: Attached,
    cidfile: Option<&Path>,
) -> anyhow::Result<u8> {
    warn_of_gaps(spec.machine.jail);
    match &spec.root.source {
        RootSource::Directory(path) => {
            let path = path.canonicalize().with_context(|| format!("--rootfs {}", path.display()))?;
            let root = RootFiles::Directory(&path);
            start(launcher, spec, &path.display().to_string(), &root, attached, cidfile)
        }
        RootSource::Image(image) => {
            let found = images.find(image)?;
            let root = found.root().with_context(|| format!("preparing image {}", image.reference))?;
            let root = RootFiles::Image(&found.config, root);
            start(launcher, spec, &image.reference, &root, attached, cidfile)
        }
    }
}

/// Refuses a network that nobody made: it may be a mode misspelled.
///
/// # Errors
/// One of `networks` is not there.
pub(super) fn must_exist(home: &Home, networks: &[GroupMembership]) -> anyhow::Result<()> {
    for GroupMembership { project, group, .. } in networks {
        groups::find(home, project.as_deref(), group).with_context(|| {
            format!("--network {group}: make it with `monocore network create {group}`, or use --group")
        })?;
    }
    Ok(())
}

/// Tells what the machine's process would tell, which has nowhere to tell it.
fn warn_of_gaps(mode: JailMode) {
    let version = landlock_version();
    if mode == JailMode::BestEffort && version < NEED_OF_READ_ONLY.version {
        tracing::warn!(
            "Landlock version {version}: the sandbox's jail may have gaps; `monocore doctor` names them"
        );
    }
}

/// Runs the sandbox; from here on this process's signals are the command's.
fn start(
    launcher: &Launcher,
    spec: &SandboxSpec,
    root_name: &str,
    root: &RootFiles<'_>,
    attached: Attached,
    cidfile: Option<&Path>,
) -> anyhow::Result<u8> {
    // Before there is anything to undo.
    let mut file = cidfile.map(create::new_id_file).transpose()?;
    let signals = Signals::block()?;
    let stdin = io::stdin();
    let streams = attached.only(streams(spec.process.stdin && attached.stdin, spec.process.tty)?);
    let raw = if spec.process.tty && spec.process.stdin { RawMode::enter()? } else { None };
    let sandbox = launcher.start(spec, root_name, root, streams)?;
    if let Some(file) = &mut file {
        file.write_all(sandbox.id().as_bytes()).context("--cidfile")?;
    }
    let terminal = spec.process.tty.then(|| Terminal::new(stdin.as_fd()));
    let ended = sandbox.run(Front::Foreground { signals: &signals, terminal }, |_| ());
    // Messages are for a terminal in its usual mode.
    drop(raw);
    let ended = ended?;
    if let Ended::NotStarted(_, message) = &ended {
        output::error(&anyhow::Error::msg(message.clone()));
    }
    Ok(ended.code())
}

/// The standard streams that `--attach` connects: all of them where it is not given.
#[derive(Clone, Copy, Debug)]
struct Attached {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Attached {
    fn new(named: &[String]) -> Self {
        let has = |name: &str| named.is_empty() || named.iter().any(|word| word.eq_ignore_ascii_case(name));
        Self { stdin: has("stdin"), stdout: has("stdout"), stderr: has("stderr") }
    }

    /// What is not connected goes nowhere.
    fn only(self, mut streams: Streams) -> Streams {
        match &mut streams {
            Streams::Pipes { stdout, stderr, .. } => {
                if !self.stdout {
                    *stdout = Output::Discard;
                }
                if !self.stderr {
                    *stderr = Output::Discard;
                }
            }
            Streams::Terminal { output, .. } if !self.stdout => *output = Output::Discard,
            Streams::Terminal { .. } | Streams::Remote { .. } => {}
        }
        streams
    }
}

/// This process's standard streams, as a command's.
///
/// # Errors
/// One of them is closed.
pub(super) fn streams(interactive: bool, tty: bool) -> anyhow::Result<Streams> {
    let input = if interactive { Input::Fd(duplicate(io::stdin())?) } else { Input::Empty };
    let output = Output::Fd(duplicate(io::stdout())?);
    if tty {
        let shown =
            if io::stdin().is_terminal() { duplicate(io::stdin())? } else { duplicate(io::stdout())? };
        let size = Terminal::new(shown.as_fd()).size().unwrap_or_default();
        return Ok(Streams::Terminal { size, input, output });
    }
    Ok(Streams::Pipes { stdin: input, stdout: output, stderr: Output::Fd(duplicate(io::stderr())?) })
}

fn duplicate(stream: impl AsFd) -> anyhow::Result<OwnedFd> {
    stream.as_fd().try_clone_to_owned().context("duplicating a standard stream")
}
