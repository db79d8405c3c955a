//! `cargo xtask guest`: kernel and init, laid out in `target/guest/<arch>/` for `monocore-guest` to embed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::build::{Package, static_binary};
use crate::cpio::Archive;
use crate::kernel::{self, Arch};
use crate::project;

/// Builds both for this machine's architecture.
pub(crate) fn build() -> Result<()> {
    let arch = Arch::host();
    let kernel = kernel::cached(arch)?;
    let init =
        static_binary(arch, &Package { name: "monocore-init", binary: "monocore-init", profile: "guest" })?;
    let dir = project::guest_dir(arch.name());
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let compressed = kernel.compressed();
    let name = compressed.file_name().unwrap_or_default();
    replace(&dir.join(name), &fs::read(&compressed).context("the cached kernel is gone")?)?;
    replace(&dir.join("initramfs.cpio"), &initramfs(&fs::read(init)?)?)
}

/// `/init`, and the console it is given as its standard streams before it has mounted anything.
fn initramfs(init: &[u8]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.directory("dev")?;
    archive.character_device("dev/console", 5, 1)?;
    archive.program("init", init)?;
    archive.finish()
}

/// Leaves a file alone that has this content already: a build script watches its time.
fn replace(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}
