//! The half of `cargo xtask test` that runs inside the testbed: one test program after the other.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use super::tally::{self, Tally};
use super::{BINARY, ROOTS};

/// How long one test program may take; the longest takes half of that on two quiet cores.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// What the outer half hands over.
#[derive(Args)]
pub(crate) struct InsideArgs {
    /// The `monocore` binary.
    #[arg(long)]
    binary: PathBuf,
    /// The state directory with the images of whole systems.
    #[arg(long)]
    roots: PathBuf,
    /// Where the counts are left.
    #[arg(long)]
    tally: PathBuf,
    /// A folder in which the testbeds note which programs they have taken.
    #[arg(long)]
    claims: PathBuf,
    /// Only tests whose name contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Test programs.
    programs: Vec<PathBuf>,
}

/// Runs every program, also after one has failed; the counts say what failed, the exit status only whether it could
/// be told.
pub(crate) fn run(args: &InsideArgs) -> Result<ExitCode> {
    let mut all = Tally::default();
    for program in &args.programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !takes(&args.claims, &name)? {
            continue;
        }
        let start = Instant::now();
        // Two guests at a time: one works while another waits.
        let mut command = guarded(program);
        command.arg("--test-threads=2").args(&args.filter).env(BINARY, &args.binary).env(ROOTS, &args.roots);
        let (status, counts) = tally::run(&mut command)?;
        eprintln!("    {name}: {:.1} s, {status}", start.elapsed().as_secs_f64());
        all.add(counts);
    }
    fs::write(&args.tally, all.to_string())
        .with_context(|| format!("cannot write {}", args.tally.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The program in a network namespace that has nothing but a loopback interface: tests make routes and interfaces,
/// and which programs one testbed runs, and in which order, differs from run to run. One that hangs is killed; the
/// last lines it printed name the tests that had not ended.
fn guarded(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", &PROGRAM_TIMEOUT.as_secs().to_string()]);
    command.args(["unshare", "--net", "sh", "-c", r#"ip link set lo up && exec "$0" "$@""#]).arg(program);
    command
}

/// Whether no other testbed has taken the program of this name before.
fn takes(claims: &Path, name: &str) -> Result<bool> {
    match File::create_new(claims.join(name)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot take {name}")),
    }
}
