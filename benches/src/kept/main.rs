//! `bench-kept`: what kept sandboxes cost, beside microsandbox, in one boot of one machine. `cargo xtask bench exec` and
//! `cargo xtask bench density` prepare everything and start it where KVM works.
//!
//! Every tool gets its binary and its home on the same tmpfs and the same image from a registry on loopback.

#![allow(clippy::print_stdout, reason = "the figures are this program's output")]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use monocore_benches::args::MsbFiles;
use monocore_benches::processes;
use monocore_benches::tools::{Monocore, Tool};

/// How long idle sandboxes are watched.
const WATCHED: Duration = Duration::from_secs(20);
/// How long guests may settle before they count as idle.
const SETTLES: Duration = Duration::from_secs(10);

/// Measures kept sandboxes.
#[derive(Parser)]
struct Args {
    /// What is measured.
    what: What,
    /// The monocore binary.
    #[arg(long)]
    monocore: PathBuf,
    #[command(flatten)]
    msb: MsbFiles,
    /// Address of a registry on loopback, `127.0.0.1:5000`.
    #[arg(long)]
    registry: String,
    /// The repository in it that the sandboxes are made of.
    #[arg(long)]
    image: String,
    /// Where everything measured lies; should be a tmpfs.
    #[arg(long, default_value = "/tmp/bench-kept")]
    work: PathBuf,
    /// Tries a figure.
    #[arg(long, default_value_t = 15)]
    tries: usize,
    /// Sandboxes of monocore's at once.
    #[arg(long, default_value_t = 32)]
    sandboxes: usize,
    /// Sandboxes of microsandbox's at once.
    #[arg(long, default_value_t = 8)]
    msb_sandboxes: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// `exec true` in a sandbox that runs.
    Exec,
    /// Many idle sandboxes.
    Density,
}

fn main() -> Result<()> {
    let args = Args::parse();
    monocore_benches::fresh_dir(&args.work)?;
    let ours = Monocore::new(&args.monocore, &args.work)?;
    let theirs = args.msb.moved(&args.work)?;
    let reference = format!("{}/{}:latest", args.registry, args.image);
    let tools: Vec<&dyn Tool> =
        std::iter::once(&ours as &dyn Tool).chain(theirs.as_ref().map(|msb| msb as &dyn Tool)).collect();
    for tool in &tools {
        tool.forget()?;
        monocore_benches::timed(&mut tool.pull(&reference))?;
    }
    match args.what {
        What::Exec => exec(&args, &tools, &reference),
        What::Density => density(&args, &tools, &reference),
    }
}

/// `exec true`, the tools in turn, so that both see the same machine.
fn exec(args: &Args, tools: &[&dyn Tool], reference: &str) -> Result<()> {
    for tool in tools {
        monocore_benches::timed(&mut tool.keep(reference, "bench"))?;
        monocore_benches::timed(&mut tool.exec("bench", &["true"]))?;
    }
    let mut took: Vec<Vec<Duration>> = tools.iter().map(|_| Vec::new()).collect();
    for _ in 0..args.tries {
        for (tool, took) in tools.iter().zip(&mut took) {
            took.push(monocore_benches::timed(&mut tool.exec("bench", &["true"]))?);
        }
    }
    let mut medians = Vec::new();
    for (tool, took) in tools.iter().zip(took) {
        let mut took = took.into_iter();
        let median = monocore_benches::median_of(args.tries, || Ok(took.next().unwrap_or_default()))?;
        println!("{:<10} exec true {:9.1} ms", tool.name(), median.as_secs_f64() * 1e3);
        medians.push(median.as_secs_f64());
        monocore_benches::timed(&mut tool.remove("bench"))?;
    }
    bar("exec true", &medians, 0.2)
}

/// Many idle sandboxes of each tool, one tool after the other, and what one of ours costs to ask meanwhile.
fn density(args: &Args, tools: &[&dyn Tool], reference: &str) -> Result<()> {
    let mut each = Vec::new();
    for tool in tools {
        let count = if tool.name() == "monocore" { args.sandboxes } else { args.msb_sandboxes };
        let exec = || monocore_benches::timed(&mut tool.exec("bench-0", &["true"]));
        monocore_benches::timed(&mut tool.keep(reference, "bench-0"))?;
        exec()?;
        let alone = monocore_benches::median_of(args.tries, exec)?;
        for number in 1..count {
            monocore_benches::timed(&mut tool.keep(reference, &format!("bench-{number}")))?;
        }
        std::thread::sleep(SETTLES);
        let wakeups = processes::wakeups_per_second(tool.binary(), WATCHED)?;
        let held = processes::of(tool.binary())?;
        let among = monocore_benches::median_of(args.tries, exec)?;
        // To 2^52 exact, and there are fewer.
        #[allow(clippy::cast_precision_loss, reason = "see above")]
        let share = |all: u64| all as f64 / count as f64;
        println!(
            "{:<10} {count} idle sandboxes, each: {:.1} MB PSS, {:.1} processes, {:.1} threads, {:.1} descriptors, {:.1} \
             wake-ups a second; exec true {:.1} ms with one, {:.1} ms with all",
            tool.name(),
            share(held.memory.pss_kb) / 1e3,
            share(held.processes),
            share(held.threads),
            share(held.descriptors),
            wakeups * share(1),
            alone.as_secs_f64() * 1e3,
            among.as_secs_f64() * 1e3,
        );
        each.push(share(held.memory.pss_kb));
        for number in 0..count {
            monocore_benches::timed(&mut tool.remove(&format!("bench-{number}")))?;
        }
    }
    bar("PSS of an idle sandbox", &each, 0.4)
}

/// Says how ours, the first, compares with msb's, and fails where the bar is missed.
fn bar(what: &str, figures: &[f64], bar: f64) -> Result<()> {
    let [ours, theirs] = figures else { return Ok(()) };
    let ratio = ours / theirs;
    println!("{what:<32} {ratio:5.2} of msb's (bar {bar})");
    anyhow::ensure!(ratio <= bar, "{what}: {ratio:.2} of msb's, the bar is {bar}");
    Ok(())
}
