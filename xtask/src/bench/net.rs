//! `cargo xtask bench net`: builds what `bench-net` (in `benches/`) measures, and starts it where the clock counts
//! instructions.

use std::ffi::OsString;

use anyhow::Result;
use clap::Args;

use super::{counted, flags, msb, program};
use crate::build;
use crate::kernel::{self, Arch};
use crate::packages;
use crate::process::step;

/// Debian's kernel clears every page it hands out, payload's as well: about an instruction a byte whichever way it takes, which
/// makes all ways look alike.
const HOST_KERNEL: &str = "init_on_alloc=0";

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
    for mode in &args.modes {
        argv.extend(["--mode".into(), mode.into()]);
    }
    step("measuring", || counted(&argv, HOST_KERNEL))
}
