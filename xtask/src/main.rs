//! The project's own commands: kernel, testbed, demo, test, ci, bench, fuzz.
//!
//! One module per command; `packages` names everything a machine must have installed, `project` where things lie.

mod bench;
mod build;
mod ci;
mod cpio;
mod demo;
mod digest;
mod dist;
mod fuzz;
mod guest;
mod kernel;
mod packages;
mod postgres;
mod process;
mod project;
mod registry;
mod roots;
mod scratch;
mod sdk;
mod space;
mod stock_guest;
mod test;
mod testbed;
mod tools;

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
    /// Check the rules of the house.
    Ci(ci::CiArgs),
    /// Install what the tests need, and run them all.
    Test(test::TestArgs),
    /// Build a guest with a distribution's kernel, for tests that need no KVM, and say where it is.
    StockGuest,
    /// The part of `test` that runs inside the testbed.
    #[command(hide = true)]
    TestInside(test::InsideArgs),
    /// Measure what monocore costs, beside its peers.
    Bench(bench::BenchArgs),
    /// The part of `bench` that runs where KVM works.
    #[command(hide = true)]
    BenchInside(bench::InsideArgs),
    /// Fuzz every parser of foreign bytes.
    Fuzz(fuzz::FuzzArgs),
    /// Check the Python and TypeScript SDKs, or make their generated types anew.
    Sdk(sdk::SdkArgs),
    /// Build the Python wheel, the npm package and the program into target/dist.
    Dist(dist::DistArgs),
    /// Everything at once: install, build, fill a registry on loopback, run commands in guests.
    Demo,
    /// The part of `demo` that runs where KVM works.
    #[command(hide = true)]
    DemoInside(demo::InsideArgs),
    /// Make the registry with the images demo, tests and benchmarks use; prints its storage folder.
    Registry,
    /// Make the empty file systems that scratch disks start as, in the source tree.
    ScratchTemplates,
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
    project::require_root()?;
    match command {
        Command::Kernel(args) => kernel::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Guest => guest::build().map(|()| ExitCode::SUCCESS),
        Command::Build(args) => build::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Ci(args) => ci::run(&args),
        Command::Test(args) => test::run(&args),
        Command::StockGuest => stock_guest::run().map(|()| ExitCode::SUCCESS),
        Command::TestInside(args) => test::run_inside(&args),
        Command::Bench(args) => bench::run(&args),
        Command::BenchInside(args) => bench::run_inside(&args),
        Command::Fuzz(args) => fuzz::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Sdk(args) => sdk::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Dist(args) => dist::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Demo => demo::run(),
        Command::DemoInside(args) => demo::run_inside(&args),
        Command::Registry => registry::print().map(|()| ExitCode::SUCCESS),
        Command::ScratchTemplates => scratch::run().map(|()| ExitCode::SUCCESS),
        Command::Testbed(args) => testbed::run(&args),
    }
}
