//! The half of `cargo xtask test` that runs inside the testbed: one test program after the other.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use super::tally::{self, Tally};
use super::{BINARY, ROOTS};

/// How long one test program may take; the longest takes half of that on two quiet cores.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(25 * 60);

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
        let mut command = in_its_own_network(program);
        command.arg("--test-threads=2").args(&args.filter).env(BINARY, &args.binary).env(ROOTS, &args.roots);
        let (status, counts) = tally::run_watched(command.process_group(0), |child| {
            watch(child, PROGRAM_TIMEOUT, show_processes)
        })?;
        eprintln!("    {name}: {:.1} s, {status}", start.elapsed().as_secs_f64());
        all.add(counts);
    }
    fs::write(&args.tally, all.to_string())
        .with_context(|| format!("cannot write {}", args.tally.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The program in a network namespace that has nothing but a loopback interface: tests make routes and interfaces,
/// and which programs one testbed runs, and in which order, differs from run to run.
fn in_its_own_network(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", r#"ip link set lo up && exec "$0" "$@""#]).arg(program);
    command
}

/// Kills a program that hangs, and whatever of its process group holds its output open, after a look around.
fn watch(child: &Child, limit: Duration, look: impl FnOnce() + Send + 'static) -> Sender<()> {
    let group = format!("-{}", child.id());
    let (ended, end) = channel();
    thread::spawn(move || {
        if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("error: a test program takes more than {} s", limit.as_secs());
            look();
            told("kill", &["-KILL", "--", &group]);
        }
    });
    ended
}

/// Shows who runs and waits for what.
fn show_processes() {
    told("ps", &["axf", "-wwo", "pid,etime,stat,wchan:24,args"]);
}

fn told(program: &str, arguments: &[&str]) {
    if let Err(error) = Command::new(program).args(arguments).status() {
        eprintln!("error: cannot run {program}: {error}");
    }
}

/// Whether no other testbed has taken the program of this name before.
fn takes(claims: &Path, name: &str) -> Result<bool> {
    match File::create_new(claims.join(name)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot take {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & wait"]).process_group(0);
        let watched = |child: &Child| watch(child, Duration::from_millis(100), || ());
        let (status, _) = tally::run_watched(&mut command, watched).unwrap();
        assert!(!status.success());
    }
}
