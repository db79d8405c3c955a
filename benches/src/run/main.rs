//! `bench-run`: cold pull and warm run of the same images by monocore and its peers, one after the other in one
//! boot of one machine. `cargo xtask bench run` prepares everything and starts it where KVM works.
//!
//! Every tool gets its binary and its home on the same tmpfs, the same registry on loopback and the same number of
//! tries; a figure is the median, wall time in seconds.

#![allow(clippy::print_stdout, reason = "the figures are this program's output")]

mod microvm;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use monocore_benches::args::MsbFiles;
use monocore_benches::tools::{self, Monocore, Tool};

/// Compares cold pulls and warm runs.
#[derive(Parser)]
struct Args {
    /// The monocore binary.
    #[arg(long)]
    monocore: PathBuf,
    #[command(flatten)]
    msb: MsbFiles,
    /// A guest kernel for `qemu -M microvm`; left out when not given.
    #[arg(long, requires = "microvm_root")]
    microvm_kernel: Option<PathBuf>,
    /// An EROFS image with `/bin/true`, the root of that guest.
    #[arg(long)]
    microvm_root: Option<PathBuf>,
    /// Address of a registry on loopback, `127.0.0.1:5000`.
    #[arg(long)]
    registry: String,
    /// Repositories in it; the first is also run.
    #[arg(long = "image", required = true)]
    images: Vec<String>,
    /// Where everything measured lies; should be a tmpfs.
    #[arg(long, default_value = "/tmp/bench-run")]
    work: PathBuf,
    /// Tries a figure.
    #[arg(long, default_value_t = 3)]
    tries: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    monocore_benches::fresh_dir(&args.work)?;
    let reference = |image: &str| format!("{}/{image}:latest", args.registry);
    let mut tools: Vec<Box<dyn Tool>> = vec![Box::new(Monocore::new(&args.monocore, &args.work)?)];
    if let Some(msb) = args.msb.moved(&args.work)? {
        tools.push(Box::new(msb));
    }
    let mut rows = Vec::new();
    for tool in &tools {
        for image in &args.images {
            let reference = reference(image);
            let took = monocore_benches::median_of(args.tries, || {
                tool.forget()?;
                monocore_benches::timed(&mut tool.pull(&reference))
            })?;
            report(&mut rows, tool.name(), &format!("pull {image}"), took.as_secs_f64());
        }
        let reference = reference(&args.images[0]);
        // The pulls left only the last image; the first run may unpack what later ones find. Only warm runs count.
        monocore_benches::timed(&mut tool.pull(&reference))?;
        monocore_benches::timed(&mut tool.run(&reference, &["true"]))?;
        let took = monocore_benches::median_of(args.tries, || {
            monocore_benches::timed(&mut tool.run(&reference, &["true"]))
        })?;
        report(&mut rows, tool.name(), "run true", took.as_secs_f64());
        let pss_kb = tools::memory_while_running(tool.as_ref(), &reference)?;
        println!("{:<10} memory while idle, PSS kB of all its processes: {}", tool.name(), pss_kb.pss_kb);
    }
    if let (Some(kernel), Some(root)) = (&args.microvm_kernel, &args.microvm_root) {
        let guest = microvm::Guest::new(kernel, root, &args.work)?;
        let took = monocore_benches::median_of(args.tries, || monocore_benches::timed(&mut guest.run()))?;
        report(&mut rows, "microvm", "run true", took.as_secs_f64());
    }
    bars(&rows)
}

struct Row {
    tool: &'static str,
    what: String,
    seconds: f64,
}

fn report(rows: &mut Vec<Row>, tool: &'static str, what: &str, seconds: f64) {
    println!("{tool:<10} {what:<32} {seconds:7.2} s");
    rows.push(Row { tool, what: what.to_owned(), seconds });
}

/// Says how monocore compares with msb, and fails where a bar is missed.
fn bars(rows: &[Row]) -> Result<()> {
    let mut missed = Vec::new();
    for ours in rows.iter().filter(|row| row.tool == "monocore") {
        let Some(theirs) = rows.iter().find(|row| row.tool == "msb" && row.what == ours.what) else {
            continue;
        };
        let bar = if ours.what.starts_with("pull") { 0.7 } else { 0.25 };
        let ratio = ours.seconds / theirs.seconds;
        println!("{:<32} {ratio:5.2} of msb's (bar {bar})", ours.what);
        if ratio > bar {
            missed.push(format!("{}: {ratio:.2} of msb's, the bar is {bar}", ours.what));
        }
    }
    anyhow::ensure!(missed.is_empty(), "bars missed: {}", missed.join("; "));
    Ok(())
}
