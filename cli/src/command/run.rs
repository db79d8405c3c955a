//! `run`: a command in a new sandbox, from flags to exit status.

mod args;
mod convert;
mod image;

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use monocore_orchestrator::session::{Input, Output, Signals, Streams, Terminal};
use monocore_orchestrator::spec::{ProcessSpec, RootSource, SandboxSpec};
use monocore_orchestrator::{Ended, Home, NetworkRecord, Plan, Published, RootFiles, RunDir, Sandbox};
use monocore_spec::JailMode;
use monocore_vmm::jail::{NEED_OF_READ_ONLY, landlock_version};

use super::terminal::RawMode;
use super::{OUR_FAILURE, output, store};

pub(crate) use args::RunArgs;
use image::Wanted;

/// The status of a command whose time was up, as timeout(1) has it.
const TIMED_OUT: u8 = 124;
/// The status of a command that was killed: 128 and SIGKILL's number.
const KILLED: u8 = 137;
/// The program that becomes the virtual machine: this one.
const OURSELVES: &str = "/proc/self/exe";

pub(super) fn main(args: RunArgs) -> ExitCode {
    match run(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::error(&error);
            ExitCode::from(OUR_FAILURE)
        }
    }
}

fn run(args: RunArgs) -> anyhow::Result<u8> {
    let wanted = Wanted { quiet: args.quiet, registry: args.registry.clone() };
    let spec = args.into_spec(|name| std::env::var_os(name))?;
    warn_of_gaps(spec.machine.jail);
    let home = Home::locate()?;
    match &spec.root.source {
        RootSource::Directory(path) => {
            let path = path.canonicalize().with_context(|| format!("--rootfs {}", path.display()))?;
            start(&home, &spec, &path.display().to_string(), &RootFiles::Directory(&path))
        }
        RootSource::Image(image) => {
            let found = image::find(&store::open(&home)?, image, &wanted)?;
            let root = found.root().with_context(|| format!("preparing image {}", image.reference))?;
            start(&home, &spec, &image.reference, &RootFiles::Image(&found.config, root))
        }
    }
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
fn start(home: &Home, spec: &SandboxSpec, root_name: &str, root: &RootFiles<'_>) -> anyhow::Result<u8> {
    let exposed = match root {
        RootFiles::Image(config, _) => &config.exposed_ports[..],
        RootFiles::Directory(_) => &[],
    };
    let published = Published::bind(&spec.network, exposed)?;
    let network = NetworkRecord::new(&spec.network, &published);
    let run_dir = RunDir::claim(home, spec.name.as_deref(), root_name, &spec.labels, network)?;
    let plan = Plan::make(home, &run_dir, spec, root, published)?;
    let signals = Signals::block()?;
    let stdin = io::stdin();
    let streams = streams(&spec.process)?;
    let raw = if spec.process.tty && spec.process.stdin { RawMode::enter()? } else { None };
    let sandbox = Sandbox::start(plan, run_dir, Path::new(OURSELVES), spec.stop.clone(), streams)?;
    let terminal = spec.process.tty.then(|| Terminal::new(stdin.as_fd()));
    let ended = sandbox.run(&signals, terminal);
    // Messages are for a terminal in its usual mode.
    drop(raw);
    Ok(status(ended?))
}

/// This process's standard streams, as the command's.
fn streams(process: &ProcessSpec) -> anyhow::Result<Streams> {
    let input = if process.stdin { Input::Fd(duplicate(io::stdin())?) } else { Input::Empty };
    let output = Output::Fd(duplicate(io::stdout())?);
    if process.tty {
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

fn status(ended: Ended) -> u8 {
    match ended {
        Ended::Command(status) => status.code(),
        Ended::NotStarted(code, message) => {
            output::error(&anyhow::Error::msg(message));
            code
        }
        Ended::TimedOut => TIMED_OUT,
        Ended::Killed => KILLED,
        Ended::PoweredOff => 0,
    }
}
