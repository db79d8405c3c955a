//! `cargo xtask bench net`: builds what `bench-net` (in `benches/`) measures, and starts it where the clock counts
//! instructions.

use std::ffi::OsString;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::{flags, msb, program};
use crate::build;
use crate::kernel::{self, Arch};
use crate::process::{self, step};
use crate::testbed::{Outcome, Testbed};
use crate::{packages, project};

/// Debian's kernel clears every page it hands out, payload's as well: about an instruction a byte whichever way it takes, which
/// makes all ways look alike.
const HOST_KERNEL: &str = "init_on_alloc=0";

/// All ways, and which are this project's: another's that fails does not fail the command.
const WAYS: [(&str, bool); 7] = [
    ("nat", true),
    ("tsi", true),
    ("peers-nat", true),
    ("peers-tsi", true),
    ("passt", false),
    ("qemu", false),
    ("msb", false),
];
/// How often a way of ours is tried, and another's.
const TRIES: (usize, usize) = (6, 2);
/// How long a try may take, four times what it does.
const LONGEST: Duration = Duration::from_secs(150);

/// What `cargo xtask bench net` is asked for.
#[derive(Args)]
pub(crate) struct NetArgs {
    /// Only these ways, by the names of the tables
    #[arg(long = "mode")]
    modes: Vec<String>,
}

/// Builds and measures.
pub(super) fn run(args: &NetArgs) -> Result<()> {
    let monocore = step("building the guest and monocore", || build::monocore(true))?;
    let bench = step("building the benchmark", || program("bench-net"))?;
    let load = step("building the guest's program", || program("bench-load"))?;
    let msb = step("fetching msb", msb::fetch)?;
    packages::ensure(packages::PEERS)?;
    let kernel = kernel::cached(Arch::host())?.image();
    let mut argv: Vec<OsString> = vec![bench.into()];
    argv.extend(flags([("--monocore", monocore), ("--kernel", kernel), ("--load", load)]));
    argv.extend(msb.flags());
    let results = project::target_dir().join("bench-net.txt");
    if results.exists() {
        fs::remove_file(&results).context("cannot remove an earlier run's figures")?;
    }
    argv.extend(flags([("--results", results)]));
    step("measuring", || {
        for (name, is_ours) in WAYS {
            if args.modes.is_empty() || args.modes.iter().any(|wanted| wanted == name) {
                measure(&argv, name, is_ours)?;
            }
        }
        Ok(())
    })?;
    argv.push("--compare".into());
    process::run(Command::new(&argv[0]).args(&argv[1..]))
}

/// Measures one way, in a machine of its own. Where instructions are counted QEMU now and then gives a guest an interrupt twice, the second
/// time with interrupts off (docs/performance/network.md), and that guest hangs or ends.
fn measure(argv: &[OsString], name: &str, is_ours: bool) -> Result<()> {
    let argv: Vec<OsString> = argv.iter().cloned().chain(["--mode".into(), name.into()]).collect();
    let tries = if is_ours { TRIES.0 } else { TRIES.1 };
    for _ in 0..tries {
        let testbed =
            Testbed { icount: true, timeout: LONGEST, append: HOST_KERNEL.into(), ..Testbed::default() };
        match testbed.run(&argv)? {
            Outcome::Exited(0) => return Ok(()),
            Outcome::Exited(status) => eprintln!("{name}: ended with status {status}"),
            Outcome::TimedOut => eprintln!("{name}: took more than {} s", LONGEST.as_secs()),
        }
    }
    ensure!(!is_ours, "{name} cannot be measured");
    eprintln!("\n{name:<40}not measured: {tries} tries failed");
    Ok(())
}
