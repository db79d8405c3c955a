//! The unpacked, patched source and the folders its objects go to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result};

use super::arch::Arch;
use super::source::Tarball;
use crate::digest::Key;
use crate::process::{command, run, step};
use crate::project;

/// A patched source tree.
pub(super) struct Tree {
    dir: PathBuf,
}

impl Tree {
    /// Unpacks and patches the source, or finds that done by an earlier run.
    ///
    /// # Errors
    /// If a patch does not apply cleanly.
    pub(super) fn prepare(cache: &Path, tarball: &Tarball, patches: &[PathBuf]) -> Result<Self> {
        let mut key = Key::new("tree 1").with(tarball.sha256.as_bytes());
        for patch in patches {
            key = key.with_file(patch)?;
        }
        let dir = cache.join(format!("tree-{}", key.finish()));
        if !dir.exists() {
            let work = cache.join("unpack");
            let source = work.join("source");
            project::fresh_dir(&work)?;
            fs::create_dir(&source)?;
            step("unpacking the guest kernel's source", || {
                run(command("tar", ["--extract", "--strip-components=1", "--directory"])
                    .arg(&source)
                    .arg("--file")
                    .arg(&tarball.path))
            })?;
            for patch in patches {
                apply(&source, patch)?;
            }
            fs::rename(&work, &dir)?;
        }
        Ok(Self { dir })
    }

    /// The folder of objects of an architecture.
    pub(super) fn objects(&self, arch: Arch) -> Result<PathBuf> {
        let dir = self.dir.join(format!("objects-{}", arch.name()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir)
    }

    /// `make` in this tree, on every core, quiet; the target is still to be named.
    ///
    /// Who builds it, where and when is fixed, so that the same source gives the same kernel.
    pub(super) fn make(&self, arch: Arch, objects: &Path) -> Command {
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        let mut make = command("make", ["--silent", &format!("--jobs={jobs}"), "--directory"]);
        make.arg(self.dir.join("source")).arg(format!("O={}", objects.display())).args(arch.make_variables());
        make.args(["KBUILD_BUILD_USER=monocore", "KBUILD_BUILD_HOST=monocore", "KBUILD_BUILD_VERSION=1"]);
        make.arg("KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970");
        make.stdout(Stdio::null());
        make
    }

    /// Removes source and objects.
    pub(super) fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.dir).with_context(|| format!("cannot remove {}", self.dir.display()))
    }
}

fn apply(dir: &Path, patch: &Path) -> Result<()> {
    let mut apply = command("patch", ["--strip=1", "--fuzz=0", "--silent", "--directory"]);
    run(apply.arg(dir).arg("--input").arg(patch))
        .with_context(|| format!("{} does not apply", patch.display()))
}
