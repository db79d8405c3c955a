//! `cargo xtask demo`: from a machine with only Rust and root to commands run in real guests.

mod inside;

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::build;
use crate::packages;
use crate::process::{run as run_command, step};
use crate::registry;
use crate::space;
use crate::testbed::{self, Outcome, Testbed};
pub(crate) use inside::{InsideArgs, run as run_inside};

/// How long the guests' part may take.
const TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// The command of this name.
pub(crate) fn run() -> Result<ExitCode> {
    let start = Instant::now();
    space::require()?;
    step("installing packages", || {
        packages::ensure(&[packages::KERNEL, packages::TESTBED, packages::IMAGES].concat())
    })?;
    let binary = step("building the guest and monocore", || build::monocore(true))?;
    let storage = step("filling a registry", registry::storage)?;
    step("running commands in guests", || guests(&binary, &storage))?;
    eprintln!("==> all of it: {:.1} s", start.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

/// This program again, as `demo-inside`, where KVM works.
fn guests(binary: &Path, storage: &Path) -> Result<()> {
    let xtask = std::env::current_exe().context("cannot find this program")?;
    let argv: [OsString; 4] = [xtask.into(), "demo-inside".into(), binary.into(), storage.into()];
    if testbed::own_kvm_works() {
        return run_command(Command::new(&argv[0]).args(&argv[1..]));
    }
    match (Testbed { timeout: TIMEOUT, ..Testbed::default() }).run(&argv)? {
        Outcome::Exited(0) => Ok(()),
        Outcome::Exited(status) => bail!("the demo ended with status {status}"),
        Outcome::TimedOut => bail!("the demo took more than {} s", TIMEOUT.as_secs()),
    }
}
