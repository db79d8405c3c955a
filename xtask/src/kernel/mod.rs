//! `cargo xtask kernel`: the guest kernel, from pinned source, configuration fragments and patches, cached by content.
//!
//! The result lies in the cache under a key of all that goes in: `vmlinux` (stripped, its PVH note kept),
//! `vmlinux.zst`, `config` and `System.map`; on aarch64 `Image` in the place of `vmlinux`.

mod arch;
mod config;
mod source;
mod tree;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

pub(crate) use arch::Arch;

use crate::digest::Key;
use crate::packages;
use crate::process::{command, run as run_command, step};
use crate::project;
use source::Lock;

/// What `cargo xtask kernel` is asked for.
#[derive(Args)]
pub(crate) struct KernelArgs {
    /// The architecture of the guest.
    #[arg(long, value_enum, default_value_t = Arch::host())]
    arch: Arch,
    /// A source tarball got by hand; it has to have one of the digests in guest-kernel/sources.lock.
    #[arg(long)]
    tarball: Option<PathBuf>,
    /// Keep the unpacked source and the objects, so that the next build compiles only what changed.
    #[arg(long)]
    keep_tree: bool,
}

/// A finished kernel in the cache.
pub(crate) struct Kernel {
    /// Its folder.
    dir: PathBuf,
    arch: Arch,
}

impl Kernel {
    /// The image a machine boots.
    pub(crate) fn image(&self) -> PathBuf {
        self.dir.join(self.arch.product())
    }

    /// The image a machine boots, compressed by zstd.
    pub(crate) fn compressed(&self) -> PathBuf {
        self.dir.join(format!("{}.zst", self.arch.product()))
    }
}

/// The command of this name.
pub(crate) fn run(args: &KernelArgs) -> Result<()> {
    let kernel = build(args.arch, args.tarball.as_deref(), args.keep_tree)?;
    eprintln!("{}", kernel.dir.display());
    Ok(())
}

/// The kernel of an architecture, from the cache if it is there.
pub(crate) fn cached(arch: Arch) -> Result<Kernel> {
    build(arch, None, false)
}

fn build(arch: Arch, tarball: Option<&Path>, keep_tree: bool) -> Result<Kernel> {
    let inputs = Inputs::read(arch)?;
    let cache = project::cache_dir("kernel")?;
    let dir = cache.join(inputs.key()?);
    if dir.exists() {
        return Ok(Kernel { dir, arch });
    }
    packages::ensure(packages::KERNEL)?;
    packages::ensure(arch.packages())?;
    let lock = File::create(cache.join("lock")).context("cannot create the kernel cache's lock")?;
    lock.lock().context("cannot take the kernel cache's lock")?;
    if !dir.exists() {
        let source = source::fetch(&inputs.lock, tarball, &cache)?;
        let tree = tree::Tree::prepare(&cache, &source, &inputs.patches)?;
        step("compiling the guest kernel", || compile(&tree, &inputs, &cache, &dir))?;
        if !keep_tree {
            tree.remove()?;
        }
    }
    Ok(Kernel { dir, arch })
}

fn compile(tree: &tree::Tree, inputs: &Inputs, cache: &Path, dir: &Path) -> Result<()> {
    let arch = inputs.arch;
    let objects = tree.objects(arch)?;
    config::configure(tree, arch, &objects, &inputs.fragments)?;
    run_command(tree.make(arch, &objects).arg(arch.target()))?;
    let work = cache.join("result");
    project::fresh_dir(&work)?;
    let product = work.join(arch.product());
    if arch.is_elf() {
        run_command(command("strip", ["--strip-all", "-o"]).arg(&product).arg(objects.join("vmlinux")))?;
    } else {
        fs::copy(objects.join(arch.built()), &product)?;
    }
    run_command(command("zstd", ["-19", "-T0", "--quiet", "--keep"]).arg(&product))?;
    fs::copy(objects.join(".config"), work.join("config"))?;
    fs::copy(objects.join("System.map"), work.join("System.map"))?;
    fs::rename(&work, dir).with_context(|| format!("cannot create {}", dir.display()))
}

/// Everything a kernel depends on.
struct Inputs {
    arch: Arch,
    lock: Lock,
    /// Configuration fragments, the common one first.
    fragments: Vec<PathBuf>,
    /// In the order they are applied.
    patches: Vec<PathBuf>,
}

impl Inputs {
    fn read(arch: Arch) -> Result<Self> {
        let dir = project::root().join("guest-kernel");
        let lock = Lock::read(&dir.join("sources.lock"))?;
        let fragments = ["common", arch.name()].map(|name| dir.join(format!("config/{name}.config"))).into();
        let mut patches = Vec::new();
        for entry in fs::read_dir(dir.join("patches")).context("cannot read guest-kernel/patches")? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "patch") {
                patches.push(path);
            }
        }
        patches.sort();
        Ok(Self { arch, lock, fragments, patches })
    }

    fn key(&self) -> Result<String> {
        let mut key = Key::new("kernel 1").with(self.arch.name().as_bytes());
        for digest in self.lock.digests() {
            key = key.with(digest.as_bytes());
        }
        for file in self.fragments.iter().chain(&self.patches) {
            key = key.with_file(file)?;
        }
        Ok(key.finish())
    }
}
