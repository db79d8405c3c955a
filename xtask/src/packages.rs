//! The Debian packages the project's commands need, all named here, and installing what is missing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{command, output, run, succeeds};

/// To compile the guest kernel.
pub(crate) const KERNEL: &[&str] =
    &["bc", "binutils", "bison", "build-essential", "flex", "libelf-dev", "patch", "xz-utils", "zstd"];

/// The package the guest kernel's source comes in; its version is pinned in `guest-kernel/sources.lock`.
pub(crate) const KERNEL_SOURCE: &str = "linux-source-6.12";

/// To build and boot the testbed's machine.
pub(crate) const TESTBED: &[&str] =
    &["busybox-static", "kmod", "qemu-system-data", "qemu-system-x86", "util-linux", "xz-utils", "zstd"];

/// To make the templates of scratch disks, and to check them.
pub(crate) const SCRATCH: &[&str] = &["e2fsprogs"];

/// The package whose dependency is the testbed's own kernel. It is unpacked into the cache, not installed.
pub(crate) const TESTBED_KERNEL: &str = "linux-image-6.12-amd64";

/// What the tests compare with and drive: oracles for images, a registry, QEMU as a client of vhost-user devices, programs that use
/// a guest's network.
pub(crate) const TEST: &[&str] = &[
    "attr",
    "busybox-static",
    "curl",
    "docker-registry",
    "e2fsprogs",
    "erofs-utils",
    "iproute2",
    "libcap2-bin",
    "openssh-client",
    "openssl",
    "python3",
    "qemu-system-x86",
    "skopeo",
    "strace",
    "umoci",
];

/// To check, test and pack the Python and TypeScript SDKs.
pub(crate) const SDK: &[&str] = &["nodejs", "python3", "python3-venv"];

/// To test the dashboard.
pub(crate) const BROWSER: &[&str] = &["chromium", "nodejs"];

/// To make the images the demo and the benchmarks run, and the registry they are pulled from.
pub(crate) const IMAGES: &[&str] = &["busybox-static", "docker-registry", "mmdebstrap", "skopeo", "umoci"];

/// To fetch and feed the benchmarks' peers.
pub(crate) const PEERS: &[&str] =
    &["erofs-utils", "iproute2", "passt", "python3", "python3-pip", "qemu-system-x86"];

/// Installs those of `packages` that are missing.
///
/// # Errors
/// If something is missing and apt cannot install it: no root, no network, or no such package.
pub(crate) fn ensure(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("==> installing {}", missing.join(" "));
    refresh()?;
    let mut apt = command("apt-get", ["install", "--yes", "--quiet=2", "--no-install-recommends"]);
    run(apt.args(&missing).env("DEBIAN_FRONTEND", "noninteractive"))
        .with_context(|| format!("these packages are needed: {}", missing.join(" ")))
}

/// Brings apt's lists up to date.
pub(crate) fn refresh() -> Result<()> {
    output(&mut command("apt-get", ["update", "--quiet=2"])).map(drop)
}

fn installed(package: &str) -> bool {
    let query = output(&mut command("dpkg-query", ["--show", "--showformat=${db:Status-Status}", package]));
    query.is_ok_and(|status| status == "installed")
}

/// Downloads a package (`name` or `name=version`) into `dir`, where it is the only `.deb` afterwards named so.
///
/// # Errors
/// If apt knows no such package or version, also after a refresh of its lists.
pub(crate) fn download(package: &str, dir: &Path) -> Result<PathBuf> {
    let fetch = || succeeds(command("apt-get", ["download", "--quiet=2", package]).current_dir(dir));
    if !fetch() {
        refresh()?;
        run(command("apt-get", ["download", "--quiet=2", package]).current_dir(dir))?;
    }
    let name = package.split('=').next().unwrap_or(package);
    let prefix = format!("{name}_");
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if file.starts_with(&prefix) && file.ends_with(".deb") {
            return Ok(path);
        }
    }
    bail!("apt-get download {package} left no file in {}", dir.display())
}
