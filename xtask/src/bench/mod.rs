//! `cargo xtask bench`: what monocore costs, beside its peers, measured where KVM works.

mod boot;
mod msb;
mod net;
mod run;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::build::{self, Package};
use crate::kernel::Arch;
use crate::process::run as run_command;
use crate::testbed::{self, Outcome, Testbed};

/// How long one benchmark may take.
const TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// What `cargo xtask bench` is asked for.
#[derive(Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    which: Which,
}

#[derive(Subcommand)]
enum Which {
    /// One boot, stage by stage, counted in instructions, beside QEMU's microvm.
    Boot,
    /// The guest's network, counted in instructions a byte, request and connection, beside passt and QEMU's user network.
    Net(net::NetArgs),
    /// A command in a sandbox that runs, beside microsandbox.
    Exec,
    /// Many idle sandboxes at once: memory, threads, descriptors and wake-ups of each, beside microsandbox.
    Density,
    /// Cold pull and warm run, beside microsandbox and QEMU's microvm.
    Run,
}

/// What the outer half of a benchmark hands to the half that runs where KVM works.
#[derive(Args)]
pub(crate) struct InsideArgs {
    #[command(subcommand)]
    which: Inside,
}

#[derive(Subcommand)]
enum Inside {
    /// The half of `bench run`, `bench exec` and `bench density`.
    Run(run::InsideArgs),
}

/// The command of this name.
pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    match &args.which {
        Which::Boot => boot::run(),
        Which::Net(args) => net::run(args),
        Which::Exec => run::run_kept("exec"),
        Which::Density => run::run_kept("density"),
        Which::Run => run::run(),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// The hidden half.
pub(crate) fn run_inside(args: &InsideArgs) -> Result<ExitCode> {
    match &args.which {
        Inside::Run(args) => run::run_inside(args),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Builds one of the benchmarks' programs and says where it is.
fn program(binary: &str) -> Result<PathBuf> {
    build::static_binary(Arch::host(), &Package { name: "monocore-benches", binary, profile: "release" })
}

/// Arguments that tell a program where its files are.
fn flags<const N: usize>(files: [(&str, PathBuf); N]) -> impl Iterator<Item = OsString> {
    files.into_iter().flat_map(|(flag, path)| [flag.into(), path.into_os_string()])
}

/// Runs this program's `bench-inside` with `args` where KVM works: here, or in the testbed.
fn inside(args: impl IntoIterator<Item = OsString>) -> Result<()> {
    let mut argv: Vec<OsString> = vec![std::env::current_exe().context("cannot find this program")?.into()];
    argv.push("bench-inside".into());
    argv.extend(args);
    if testbed::own_kvm_works() {
        return run_command(Command::new(&argv[0]).args(&argv[1..]));
    }
    ended((Testbed { timeout: TIMEOUT, memory_mib: 4096, ..Testbed::default() }).run(&argv)?)
}

/// Runs `argv` where the clock counts instructions.
fn counted(argv: &[OsString]) -> Result<()> {
    ended((Testbed { icount: true, timeout: TIMEOUT, ..Testbed::default() }).run(argv)?)
}

fn ended(outcome: Outcome) -> Result<()> {
    match outcome {
        Outcome::Exited(0) => Ok(()),
        Outcome::Exited(status) => bail!("the benchmark ended with status {status}"),
        Outcome::TimedOut => bail!("the benchmark took more than {} s", TIMEOUT.as_secs()),
    }
}
