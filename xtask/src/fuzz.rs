//! `cargo xtask fuzz`: every fuzz target of `fuzz/`, each for a while.

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process::{command, output, run as run_command, step, succeeds};
use crate::project;
use crate::tools;

/// cargo-fuzz needs the sanitizers only this toolchain offers.
const TOOLCHAIN: &str = "nightly";

/// What `cargo xtask fuzz` is asked for.
#[derive(Args)]
pub(crate) struct FuzzArgs {
    /// How long each target runs, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only these targets.
    targets: Vec<String>,
}

/// The command of this name. It ends at the first crash, which libFuzzer leaves in `fuzz/artifacts`.
pub(crate) fn run(args: &FuzzArgs) -> Result<()> {
    if !succeeds(&mut command("rustup", ["run", TOOLCHAIN, "rustc", "--version"])) {
        run_command(&mut command("rustup", ["toolchain", "install", TOOLCHAIN, "--profile", "minimal"]))?;
    }
    let all = targets()?;
    let chosen = if args.targets.is_empty() { &all } else { &args.targets };
    step("compiling the fuzz targets", || run_command(cargo_fuzz()?.args(["build"])))?;
    for target in chosen {
        if !all.contains(target) {
            bail!("there is no fuzz target {target}; there are {}", all.join(", "));
        }
        step(&format!("fuzzing {target}"), || fuzz(target, args.seconds))?;
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let listed = output(cargo_fuzz()?.arg("list")).context("cannot list the fuzz targets")?;
    Ok(listed.lines().map(str::to_owned).collect())
}

fn fuzz(target: &str, seconds: u32) -> Result<()> {
    let mut fuzz = cargo_fuzz()?;
    fuzz.args(["run", target]);
    let corpus = format!("fuzz/corpus/{target}");
    std::fs::create_dir_all(project::root().join(&corpus)).context("cannot create the corpus")?;
    fuzz.arg(corpus);
    let seeds = format!("fuzz/seeds/{target}");
    if project::root().join(&seeds).is_dir() {
        fuzz.arg(seeds);
    }
    fuzz.args([
        "--",
        &format!("-max_total_time={seconds}"),
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-verbosity=0",
    ]);
    run_command(&mut fuzz)
}

fn cargo_fuzz() -> Result<Command> {
    let mut fuzz = Command::new(tools::cargo_fuzz()?);
    // The cargo that runs this program belongs to another toolchain.
    fuzz.current_dir(project::root()).env_remove("CARGO").env("RUSTUP_TOOLCHAIN", TOOLCHAIN);
    Ok(fuzz)
}
