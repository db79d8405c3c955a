//! The outer machine's kernel and initramfs: a distribution's kernel package, unpacked into the cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::bzimage;
use crate::cpio::Archive;
use crate::digest::Key;
use crate::packages;
use crate::process::{command, output, run, step};
use crate::project;

/// Loaded by init, in this order.
const MODULES: &[&str] = &["netfs", "9pnet", "9pnet_virtio", "9p", "irqbypass", "kvm", "ccp", "kvm-amd"];

const INIT: &str = include_str!("init.sh");

/// What QEMU boots.
pub(super) struct Image {
    /// The uncompressed kernel.
    pub(super) kernel: PathBuf,
    /// The uncompressed initramfs.
    pub(super) initramfs: PathBuf,
}

/// Finds the image in the cache or makes it.
pub(super) fn image() -> Result<Image> {
    let key = Key::new("testbed 1").with(packages::TESTBED_KERNEL.as_bytes()).with(INIT.as_bytes());
    let key = MODULES.iter().fold(key, |key, module| key.with(module.as_bytes())).finish();
    let cache = project::cache_dir("l1")?;
    let dir = cache.join(&key);
    if !dir.exists() {
        step("making the testbed's machine", || make(&cache, &dir))?;
    }
    Ok(Image { kernel: dir.join("vmlinux"), initramfs: dir.join("initramfs.cpio") })
}

fn make(cache: &Path, dir: &Path) -> Result<()> {
    packages::ensure(packages::TESTBED)?;
    let tree = kernel_tree(cache)?;
    let work = cache.join(format!("work-{}", std::process::id()));
    project::fresh_dir(&work)?;
    let bz_image = fs::read(only_entry(&tree.join("boot"), "vmlinuz-")?)?;
    fs::write(work.join("vmlinux"), bzimage::vmlinux(&bz_image)?)?;
    let modules = only_entry(&tree.join("lib/modules"), "")?;
    fs::write(work.join("initramfs.cpio"), initramfs(&tree, &modules)?)?;
    match fs::rename(&work, dir) {
        // Another run made the same thing meanwhile.
        Err(_) if dir.exists() => Ok(fs::remove_dir_all(&work)?),
        result => Ok(result?),
    }
}

/// Downloads and unpacks the newest kernel package, with an index of its modules.
pub(crate) fn kernel_tree(cache: &Path) -> Result<PathBuf> {
    let package = concrete_package()?;
    let tree = cache.join(&package);
    if tree.exists() {
        return Ok(tree);
    }
    let work = cache.join(format!("tree-{}", std::process::id()));
    project::fresh_dir(&work)?;
    let deb = packages::download(&package, &work)?;
    run(command("dpkg-deb", ["--extract"]).arg(&deb).arg(&work))?;
    fs::remove_file(&deb)?;
    let modules = only_entry(&work.join("lib/modules"), "")?;
    let version = modules.file_name().unwrap_or_default();
    run(command("depmod", ["--basedir"]).arg(&work).arg(version))?;
    match fs::rename(&work, &tree) {
        Err(_) if tree.exists() => fs::remove_dir_all(&work)?,
        result => result?,
    }
    Ok(tree)
}

/// The package the kernel's meta package depends on.
fn concrete_package() -> Result<String> {
    let show = || output(&mut command("apt-cache", ["show", "--no-all-versions", packages::TESTBED_KERNEL]));
    let text = match show() {
        Ok(text) => text,
        Err(_) => {
            packages::refresh()?;
            show()?
        }
    };
    let depends = text.lines().find_map(|line| line.strip_prefix("Depends: "));
    let package =
        depends.and_then(|list| list.split([',', ' ']).find(|name| name.starts_with("linux-image-")));
    let package = package.with_context(|| format!("{} names no kernel", packages::TESTBED_KERNEL))?;
    Ok(package.to_owned())
}

fn initramfs(tree: &Path, modules: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for name in ["bin", "dev", "host", "modules", "proc", "sbin", "sys"] {
        archive.directory(name)?;
    }
    archive.character_device("dev/console", 5, 1)?;
    archive.program("bin/busybox", &fs::read("/bin/busybox").context("busybox-static is needed")?)?;
    archive.program("init", INIT.as_bytes())?;
    archive.program("sbin/modprobe", modprobe(tree, modules).as_bytes())?;
    let mut order = String::new();
    for name in MODULES {
        let file = format!("{name}.ko");
        let packed = find(modules, &format!("{file}.xz"))?;
        let content = command("xz", ["-dc"]).arg(&packed).output().context("cannot start xz")?.stdout;
        archive.program(&format!("modules/{file}"), &content)?;
        order.push_str(&file);
        order.push('\n');
    }
    archive.program("modules/order", order.as_bytes())?;
    archive.finish()
}

/// What the kernel calls when it misses a module: the host's modprobe, over the unpacked package.
fn modprobe(tree: &Path, modules: &Path) -> String {
    let version = modules.file_name().unwrap_or_default().to_string_lossy();
    let tree = tree.display();
    format!(
        "#!/bin/busybox sh\nexec /bin/busybox chroot /host /sbin/modprobe -d '{tree}' -S '{version}' \"$@\"\n"
    )
}

pub(crate) fn only_entry(dir: &Path, prefix: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(entry.path());
        }
    }
    bail!("{} has no {prefix}*", dir.display())
}

fn find(dir: &Path, name: &str) -> Result<PathBuf> {
    let found = output(command("find", [dir]).args(["-name", name, "-print", "-quit"]))?;
    match found.trim_end() {
        "" => bail!("the kernel package has no module {name}"),
        path => Ok(PathBuf::from(path)),
    }
}
