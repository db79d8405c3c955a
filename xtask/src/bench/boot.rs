//! `cargo xtask bench boot`: builds what `bench-boot` (in `benches/`) measures, and starts it where the clock counts
//! instructions.

use std::ffi::OsString;

use anyhow::Result;

use super::{counted, flags, program};
use crate::build;
use crate::kernel::{self, Arch};
use crate::process::step;
use crate::{packages, project};

/// Builds and measures.
pub(super) fn run() -> Result<()> {
    let monocore = step("building the guest and monocore", || build::monocore(true))?;
    let bench = step("building the benchmark", || program("bench-boot"))?;
    packages::ensure(packages::PEERS)?;
    let kernel = kernel::cached(Arch::host())?.image();
    let initramfs = project::guest_dir(Arch::host().name()).join("initramfs.cpio");
    let mut argv: Vec<OsString> = vec![bench.into(), "--qemu".into()];
    argv.extend(flags([("--monocore", monocore), ("--kernel", kernel), ("--initramfs", initramfs)]));
    step("measuring", || counted(&argv))
}
