//! The project's own commands: kernel, testbed, demo, test, ci, bench, fuzz.
//!
//! One module per command; `packages` names everything a machine must have installed, `project` where things lie.

mod build;
mod cpio;
mod digest;
mod guest;
mod kernel;
mod packages;
mod process;
mod project;
mod testbed;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the guest kernel, or find the build in the cache.
    Kernel(kernel::KernelArgs),
    /// Build what a guest runs, kernel and init, where the binary embeds it from.
    Guest,
    /// Build the static `monocore` binary, with the guest inside.
    Build(build::BuildArgs),
    /// Run a command in a machine with AMD-V, emulated in software, over this machine's file system.
    Testbed(testbed::TestbedArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Kernel(args) => kernel::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Guest => guest::build().map(|()| ExitCode::SUCCESS),
        Command::Build(args) => build::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Testbed(args) => testbed::run(&args),
    }
}
