//! `bench-net`: what a guest's network costs, way by way, in a machine whose clock counts instructions and that has one CPU.
//! `cargo xtask bench net` prepares everything and starts it there.
//!
//! A program of ours in the guest and this one at the other end send exact numbers of bytes, requests and connections: iperf3
//! would add what its own reports and timers cost, and it has neither requests nor connections. What counts is every instruction
//! this machine executed meanwhile, guest, VMM, helpers and kernel, but for this program's own and idle time. Exits, system calls and
//! copies are counted in a second round, since counting system calls slows them down. Everything measured lies on a tmpfs.

#![allow(clippy::print_stdout, reason = "the figures are this program's output")]

mod count;
mod limit;
mod mode;
mod passt;
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
use crate::limit::Limit;
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

/// How often a way is tried: the emulated CPU has been seen to end a guest that did nothing wrong.
const TRIES: usize = 2;

/// What one way costs, load by load.
struct Row {
    mode: &'static Mode,
    figures: Vec<Figures>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    monocore_benches::fresh_dir(&args.work)?;
    allow_descriptors()?;
    let setup = Setup::new(&args)?;
    let (mut rows, mut good) = (Vec::new(), true);
    let wanted = |mode: &&Mode| args.modes.is_empty() || args.modes.iter().any(|name| name == mode.name);
    for mode in MODES.iter().filter(wanted) {
        match tried(|| measure(&setup, mode, args.profile.as_deref())) {
            Ok(figures) => {
                let row = Row { mode, figures };
                table::print(&row);
                rows.push(row);
            }
            // The others can be measured all the same.
            Err(error) => {
                println!("\n{:<40}not measured: {error:#}", mode.name);
                good &= !mode.is_ours();
            }
        }
    }
    println!("\n* of bulk for each MiB. passt is {}.", passt::version()?);
    good &= table::bars(&rows);
    ensure!(good, "a bar is missed, or a way of ours does not work");
    Ok(())
}

/// QEMU's user network keeps a socket for each connection, and for some seconds after its end.
fn allow_descriptors() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).context("allow more open files")
}

/// What the first try that is no failure gives.
fn tried<T>(mut measure: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        match measure() {
            Ok(measured) => return Ok(measured),
            Err(error) => eprintln!("once more, since: {error:#}"),
        }
    }
    measure()
}

fn measure(setup: &Setup, mode: &Mode, profile: Option<&str>) -> Result<Vec<Figures>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
    let port = listener.local_addr()?.port();
    let mut running = setup.start(mode, port)?;
    let limit = Limit::start(running.group()?);
    let figures = carry(listener, mode, profile);
    if limit.passed() {
        bail!("it takes too long");
    }
    let figures = figures?;
    running.end()?;
    Ok(figures)
}

fn carry(listener: TcpListener, mode: &Mode, profile: Option<&str>) -> Result<Vec<Figures>> {
    let mut waited = [PollFd::new(&listener, PollFlags::IN)];
    if poll(&mut waited, Some(&BOOT))? == 0 {
        bail!("the guest does not dial");
    }
    let mut guest = Guest::accept(listener)?;
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
