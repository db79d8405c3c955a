//! `bench-boot`: what a boot costs, stage by stage, in a machine whose clock counts instructions (one virtual
//! millisecond is a million). `cargo xtask bench boot` prepares everything and starts it there.
//!
//! Measured: the VMM alone with root, vsock and console attached, from its start to its first guest instruction and to
//! init's first act; exits by kind; memory beyond guest RAM; exits of the idle guest; a whole `monocore run … true`, with
//! its network and without; and QEMU's microvm with the same kernel and initramfs. Everything measured lies on a tmpfs.

#![allow(clippy::print_stdout, reason = "the figures are this program's output")]

mod footprint;
mod machine;
mod qemu;
mod whole;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use monocore_benches::args::Subject;
use monocore_benches::moved;

use crate::machine::{Boot, FileDevice, Files};

/// Measures one boot.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    subject: Subject,
    /// The initramfs with monocore-init.
    #[arg(long)]
    initramfs: PathBuf,
    /// Also boots QEMU's microvm.
    #[arg(long)]
    qemu: bool,
    /// How long the idle guest is watched, in seconds, after 10 s; 0 leaves it out.
    #[arg(long, default_value_t = 30)]
    idle_s: u64,
    /// Where everything measured lies; must be a tmpfs.
    #[arg(long, default_value = "/tmp/bench-boot")]
    work: PathBuf,
}

/// The bars, in millions of instructions, exits, faults, KiB and exits a second.
const FIRST_RUN_MAX: f64 = 20.0;
const INIT_MAX: f64 = 130.0;
const EXITS_MAX: f64 = 1500.0;
const FAULTS_MAX: f64 = 2500.0;
const ANONYMOUS_KIB_MAX: f64 = 1536.0;
const RESIDENT_KIB_MAX: f64 = 6144.0;
const IDLE_MAX: f64 = 15.0;
const NETWORK_MAX: f64 = 1.1;

fn main() -> Result<()> {
    let args = Args::parse();
    monocore_benches::fresh_dir(&args.work)?;
    let Subject { monocore, kernel } = args.subject.moved(&args.work)?;
    let files = Files { monocore, kernel, initramfs: moved::copy(&args.initramfs, &args.work)? };
    let idle = (args.idle_s > 0).then(|| Duration::from_secs(args.idle_s));
    // The first boot finds caches cold: slabs, the page cache's trees.
    machine::boot(&files, &args.work, None, FileDevice::Absent)?;
    let boot = machine::boot(&files, &args.work, idle, FileDevice::Absent)?;
    let mut good = report(&boot);
    report_live_mounts(&boot, &machine::boot(&files, &args.work, None, FileDevice::Growing)?);
    good &= report_runs(&whole::Whole::new(&files.monocore, &args.work, machine::RAM_MIB)?)?;
    if args.qemu {
        let qemu = qemu::Qemu::new(&files, &args.work)?;
        qemu.boot_ms()?;
        let instructions = qemu.boot_ms()?;
        println!("{:<42}{instructions:>10.1}", "QEMU microvm, to init (M instructions)");
        good &= bar("init, share of QEMU microvm's", boot.init_ms / instructions, 0.5);
    }
    anyhow::ensure!(good, "a bar is missed");
    Ok(())
}

/// Whole runs, stage by stage, with the default network and without one.
fn report_runs(whole: &whole::Whole<'_>) -> Result<bool> {
    // A name server that is named: to open /etc/resolv.conf would be to wait for this machine's own host, and this clock runs on
    // meanwhile.
    let (with, without) = (whole.run(&["--dns", "127.0.0.1"])?, whole.run(&["--no-net"])?);
    println!(
        "\nmonocore run … true (M instructions){:>16}{:>10}{:>10}{:>10}",
        "took", "at", "--no-net", "at"
    );
    for (with, without) in with.iter().zip(&without) {
        println!(
            "  {:<40}{:>10.1}{:>10.1}{:>10.1}{:>10.1}",
            with.what, with.took_ms, with.at_ms, without.took_ms, without.at_ms
        );
    }
    let share = with[whole::STARTED].at_ms / without[whole::STARTED].at_ms;
    Ok(bar("command started, share of --no-net's", share, NETWORK_MAX))
}

/// What a file device that takes shares later adds to a boot.
fn report_live_mounts(without: &Boot, with: &Boot) {
    println!("\nwith a file device that takes shares later{:>10}{:>10}", "is", "adds");
    let resident = |boot: &Boot| boot.footprint.resident_kib;
    for (what, without, with) in [
        ("machine built (M instructions)", without.built_ms, with.built_ms),
        ("first guest instruction (M instructions)", without.first_run_ms, with.first_run_ms),
        ("agent connected (M instructions)", without.agent_ms, with.agent_ms),
        ("exits", without.exits.total(), with.exits.total()),
        ("resident beyond guest RAM (KiB)", resident(without), resident(with)),
    ] {
        println!("  {what:<40}{with:>10.1}{:>10.1}", with - without);
    }
    println!();
}

fn report(boot: &Boot) -> bool {
    println!("{:<42}{:>10.1}", "machine built (M instructions)", boot.built_ms);
    let mut good = bar("first guest instruction (M instructions)", boot.first_run_ms, FIRST_RUN_MAX);
    good &= bar("init's first act (M instructions)", boot.init_ms, INIT_MAX);
    println!("{:<42}{:>10.1}", "agent connected (M instructions)", boot.agent_ms);
    for (kind, count) in &boot.exits.by_kind {
        println!("  {kind:<40}{count:>10}");
    }
    good &= bar("exits without page faults", boot.exits.others(), EXITS_MAX);
    good &= bar("page faults", boot.exits.page_faults(), FAULTS_MAX);
    good &= bar("anonymous beyond guest RAM (KiB)", boot.footprint.anonymous_kib, ANONYMOUS_KIB_MAX);
    good &= bar("resident beyond guest RAM (KiB)", boot.footprint.resident_kib, RESIDENT_KIB_MAX);
    if let Some(idle) = boot.idle_exits_per_s {
        good &= bar("exits a second, idle", idle, IDLE_MAX);
    }
    good
}

/// Prints a figure beside its bar and says whether it keeps it.
fn bar(what: &str, value: f64, max: f64) -> bool {
    let good = value <= max;
    println!("{what:<42}{value:>10.2}{:>14}", format!("{} {max}", if good { "<=" } else { "MISSES" }));
    good
}
