//! The half of `cargo xtask test` that runs inside the testbed: one test program after the other.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use super::BINARY;
use super::tally::{self, Tally};

/// What the outer half hands over.
#[derive(Args)]
pub(crate) struct InsideArgs {
    /// The `monocore` binary.
    #[arg(long)]
    binary: PathBuf,
    /// Where the counts are left.
    #[arg(long)]
    tally: PathBuf,
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
        let start = Instant::now();
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Two guests at a time: one works while another waits.
        let mut command = Command::new(program);
        command.arg("--test-threads=2").args(&args.filter).env(BINARY, &args.binary);
        let (status, counts) = tally::run(&mut command)?;
        eprintln!("    {name}: {:.1} s, {status}", start.elapsed().as_secs_f64());
        all.add(counts);
    }
    fs::write(&args.tally, all.to_string())
        .with_context(|| format!("cannot write {}", args.tally.display()))?;
    Ok(ExitCode::SUCCESS)
}
