//! `bench-net`: what a guest's network costs, way by way, in a machine whose clock counts instructions and that has one CPU.
//! `cargo xtask bench net` prepares everything and starts it there.
//!
//! A program of ours in the guest and this one at the other end send exact numbers of bytes, requests and connections: iperf3
//! would add what its own reports and timers cost, and it has neither requests nor connections. What counts is every instruction
//! this machine executed meanwhile, guest, VMM, helpers and kernel, but for this program's own and idle time. Exits, system calls and
//! copies are counted in a second round, since counting system calls slows them down. Everything measured lies on a tmpfs.

#![allow(clippy::print_stdout, reason = "the figures are this program's output")]

mod count;
mod mode;
mod passt;
mod results;
mod table;
mod uplink;

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use monocore_benches::args::{MsbFiles, Subject};
use monocore_benches::load::{Guest, Load};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::count::Figures;
use crate::mode::{MODES, Mode, Setup};

/// Measures every way.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    subject: Subject,
    /// The static bench-load binary, the guest's program.
    #[arg(long)]
    load: PathBuf,
    #[command(flatten)]
    msb: MsbFiles,
    /// Only these ways.
    #[arg(long = "mode")]
    modes: Vec<String>,
    /// Only this load, `send`, `receive`, `requests` or `connections`, five times over and not counted: for a profiler.
    #[arg(long)]
    profile: Option<String>,
    /// Where figures are added to, or found.
    #[arg(long)]
    results: Option<PathBuf>,
    /// Measures nothing and compares what was found before.
    #[arg(long)]
    compare: bool,
    /// Where everything measured lies; must be a tmpfs.
    #[arg(long, default_value = "/tmp/bench-net")]
    work: PathBuf,
}

/// The share of a load that is carried once before anything counts: caches are cold, windows narrow.
const WARM_UP: u32 = 8;
/// How often a load is carried for a profiler.
const PROFILED: usize = 5;
/// How long a guest has to boot and dial.
const BOOT: Timespec = Timespec { tv_sec: 120, tv_nsec: 0 };

/// What one way costs, load by load.
struct Row {
    mode: &'static Mode,
    figures: Vec<Figures>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.compare {
        let results = args.results.as_deref().context("--compare needs --results")?;
        println!("\n* of bulk for each MiB. passt is {}.", passt::version()?);
        ensure!(table::bars(&results::read(results)?), "a bar is missed");
        return Ok(());
    }
    monocore_benches::fresh_dir(&args.work)?;
    allow_descriptors()?;
    let setup = Setup::new(&args)?;
    let wanted = |mode: &&Mode| args.modes.is_empty() || args.modes.iter().any(|name| name == mode.name);
    for mode in MODES.iter().filter(wanted) {
        let figures = measure(&setup, mode, args.profile.as_deref()).context(mode.name)?;
        let row = Row { mode, figures };
        table::print(&row);
        if let Some(results) = &args.results {
            results::add(results, &row)?;
        }
    }
    Ok(())
}

/// QEMU's user network keeps a socket for each connection, and for some seconds after its end.
fn allow_descriptors() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).context("allow more open files")
}

fn measure(setup: &Setup, mode: &Mode, profile: Option<&str>) -> Result<Vec<Figures>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
    let port = listener.local_addr()?.port();
    let mut running = setup.start(mode, port)?;
    let figures = carry(listener, mode, profile)?;
    running.end()?;
    Ok(figures)
}

fn carry(listener: TcpListener, mode: &Mode, profile: Option<&str>) -> Result<Vec<Figures>> {
    let mut waited = [PollFd::new(&listener, PollFlags::IN)];
    if poll(&mut waited, Some(&BOOT))? == 0 {
        bail!("the guest does not dial");
    }
    let mut guest = match mode.is_between_guests() {
        true => Guest::accept_between(listener)?,
        false => Guest::accept(listener)?,
    };
    let mut figures = Vec::new();
    let profiled = |load: &Load| profile.is_some_and(|name| load.to_string().starts_with(name));
    for load in mode.loads().into_iter().filter(profiled).cycle().take(PROFILED) {
        guest.carry(load)?;
    }
    for load in mode.loads().into_iter().filter(|_| profile.is_none()) {
        guest.carry(load.shortened(WARM_UP))?;
        figures.push(count::count(&mut guest, load).with_context(|| format!("{load}"))?);
    }
    Ok(figures)
}
