//! `cargo xtask stock-guest`: a guest with a distribution's own kernel, for tests that run QEMU without KVM.
//!
//! It has the kernel that the testbed's outer machine has, and one static program of `monocore-tests` as its init,
//! which loads the modules it is given and does what the kernel command line asks for.

#![allow(clippy::print_stdout, reason = "where the guest lies is this command's output")]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::build::{Package, static_binary};
use crate::cpio::Archive;
use crate::kernel::Arch;
use crate::packages;
use crate::process::{command, output};
use crate::project;
use crate::testbed::{kernel_tree, only_entry, vmlinux};

/// Drivers of the devices that are tested, and what is tried on them; what the kernel has built in needs no file.
const MODULES: &[&str] =
    &["overlay", "virtio_pci", "virtio_blk", "virtio_net", "virtiofs", "vmw_vsock_virtio_transport"];

/// Makes `vmlinux` and `initramfs.cpio` in `target/stock-guest` and prints that folder.
pub(crate) fn run() -> Result<()> {
    packages::ensure(packages::TESTBED)?;
    let tree = kernel_tree(&project::cache_dir("l1")?)?;
    let init = Package { name: "monocore-tests", binary: "stock-guest", profile: "dev" };
    let init = static_binary(Arch::host(), &init)?;
    let dir = project::target_dir().join("stock-guest");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let kernel = dir.join("vmlinux");
    let bz_image = only_entry(&tree.join("boot"), "vmlinuz-")?;
    if !is_newer(&kernel, &bz_image) {
        place(&kernel, &vmlinux(&fs::read(bz_image)?)?)?;
    }
    place(&dir.join("initramfs.cpio"), &initramfs(&tree, &fs::read(init)?)?)?;
    println!("{}", dir.display());
    Ok(())
}

/// Several runs may make the same file at once: none sees half of another's.
fn place(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    fs::write(&temporary, content).with_context(|| format!("cannot write {}", temporary.display()))?;
    fs::rename(&temporary, path).with_context(|| format!("cannot write {}", path.display()))
}

fn is_newer(made: &Path, from: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified());
    matches!((time(made), time(from)), (Ok(made), Ok(from)) if made > from)
}

fn initramfs(tree: &Path, init: &[u8]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for name in ["bin", "dev", "mnt", "modules", "proc", "sys", "tmp"] {
        archive.directory(name)?;
    }
    archive.character_device("dev/console", 5, 1)?;
    archive.program("init", init)?;
    archive.program("bin/busybox", &fs::read("/bin/busybox").context("busybox-static is needed")?)?;
    for (number, packed) in modules(tree)?.iter().enumerate() {
        let content = command("xz", ["-dc"]).arg(packed).output().context("cannot start xz")?.stdout;
        // In the order in which they are to be loaded.
        archive.program(&format!("modules/{number:02}.ko"), &content)?;
    }
    archive.finish()
}

/// The modules and what they need, each after what it needs.
fn modules(tree: &Path) -> Result<Vec<PathBuf>> {
    let version = only_entry(&tree.join("lib/modules"), "")?;
    let version = version.file_name().unwrap_or_default();
    let mut files = Vec::new();
    for name in MODULES {
        let mut modprobe = command("/sbin/modprobe", ["--show-depends", "-d"]);
        let shown = output(modprobe.arg(tree).arg("-S").arg(version).arg(name))?;
        for file in shown.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let file = PathBuf::from(file.trim_end());
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}
