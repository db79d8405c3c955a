//! `cargo xtask bench run|exec|density`: prepares what `bench-run` and `bench-kept` (in `benches/`) measure, and starts
//! them where KVM works.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use clap::Args;

use super::{flags, inside, msb, program};
use crate::build;
use crate::kernel::{self, Arch};
use crate::packages;
use crate::process::{command, run as run_command, step};
use crate::project;
use crate::registry::{self, IMAGES, Registry};

/// What lies where.
#[derive(Args)]
pub(crate) struct InsideArgs {
    /// The registry's storage folder.
    storage: PathBuf,
    /// The benchmark and its arguments, but for the registry's address.
    command: Vec<OsString>,
}

/// `bench exec` and `bench density`: the same for `bench-kept`, which is told to measure `what`.
pub(super) fn run_kept(what: &str) -> Result<()> {
    let monocore = step("building the guest and monocore", || build::monocore(true))?;
    let bench = step("building the benchmark", || program("bench-kept"))?;
    let storage = step("filling a registry", registry::storage)?;
    let msb = step("fetching msb", msb::fetch)?;
    let mut args: Vec<OsString> = vec!["run".into(), storage.into(), "--".into(), bench.into(), what.into()];
    args.extend(flags([("--monocore", monocore)]));
    args.extend(msb.flags());
    args.extend(["--image".into(), IMAGES[0].into()]);
    step("measuring", || inside(args))
}

/// Builds, fetches and measures.
pub(super) fn run() -> Result<()> {
    let monocore = step("building the guest and monocore", || build::monocore(true))?;
    let bench = step("building the benchmark", || program("bench-run"))?;
    let storage = step("filling a registry", registry::storage)?;
    let msb = step("fetching msb", msb::fetch)?;
    packages::ensure(packages::PEERS)?;
    let root = step("making a root for QEMU's microvm", || microvm_root(&storage))?;
    let kernel = kernel::cached(Arch::host())?.image();
    let mut args: Vec<OsString> = vec!["run".into(), storage.into(), "--".into(), bench.into()];
    args.extend(flags([("--monocore", monocore), ("--microvm-kernel", kernel), ("--microvm-root", root)]));
    args.extend(msb.flags());
    for image in IMAGES {
        args.extend(["--image".into(), image.into()]);
    }
    step("measuring", || inside(args))
}

/// Starts the registry, then the benchmark.
pub(super) fn run_inside(args: &InsideArgs) -> Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], 5058));
    let _registry = Registry::start(&args.storage, address, Path::new("/tmp/bench-registry.yml"))?;
    run_command(
        Command::new(&args.command[0]).args(&args.command[1..]).args(["--registry", &address.to_string()]),
    )
}

/// The busybox image as one EROFS file, the root of a guest that QEMU boots.
fn microvm_root(storage: &Path) -> Result<PathBuf> {
    let work = project::target_dir().join("bench/microvm");
    project::fresh_dir(&work)?;
    let address = SocketAddr::from(([127, 0, 0, 1], 5059));
    let _registry = Registry::start(storage, address, &work.join("registry.yml"))?;
    let layout = format!("oci:{}:busybox", work.join("layout").display());
    let copy = ["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"];
    run_command(command("skopeo", copy).arg(format!("docker://{address}/{}:latest", IMAGES[0])).arg(layout))?;
    let image = format!("{}:busybox", work.join("layout").display());
    run_command(command("umoci", ["unpack", "--image", &image]).arg(work.join("bundle")))?;
    let root = work.join("root.erofs");
    run_command(command("mkfs.erofs", ["--quiet"]).arg(&root).arg(work.join("bundle/rootfs")))?;
    Ok(root)
}
