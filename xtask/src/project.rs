//! Where things lie: the checkout, its target folder, and the cache outside it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The root of the checkout, wherever it lies now: cargo says so to what it runs. Without cargo the root is the nearest
/// folder above the current one, or above this program, that has an xtask.
pub(crate) fn root() -> PathBuf {
    let starts = [
        env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from),
        env::current_dir().ok(),
        env::current_exe().ok(),
    ];
    root_above(starts.iter().flatten()).unwrap_or_default()
}

fn root_above<'a>(starts: impl Iterator<Item = &'a PathBuf>) -> Option<PathBuf> {
    let is_root = |path: &&Path| path.join("xtask/Cargo.toml").is_file() && path.join("Cargo.lock").is_file();
    starts.flat_map(|start| start.ancestors()).find(is_root).map(Path::to_path_buf)
}

/// Fails where there is no checkout around.
pub(crate) fn require_root() -> Result<()> {
    ensure!(root().is_absolute(), "no checkout of monocore here: run `cargo xtask` in one");
    Ok(())
}

/// Cargo's target folder: `CARGO_TARGET_DIR`, else `target` in the checkout.
pub(crate) fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The folder whose content `monocore-guest` embeds for an architecture.
///
/// It lies in the checkout whatever `CARGO_TARGET_DIR` says, since a build script has to find it.
pub(crate) fn guest_dir(arch: &str) -> PathBuf {
    root().join("target/guest").join(arch)
}

/// The cache that outlives the checkout: `$XDG_CACHE_HOME/monocore`.
pub(crate) fn cache_base() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => env::home_dir().context("no home directory: set HOME or XDG_CACHE_HOME")?.join(".cache"),
    };
    Ok(base.join("monocore"))
}

/// A folder of the cache. It is created.
pub(crate) fn cache_dir(name: &str) -> Result<PathBuf> {
    let dir = cache_base()?.join(name);
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

/// Cargo, to be run at the root of the checkout.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Removes what an earlier, interrupted run left at `path` and creates it as an empty folder.
pub(crate) fn fresh_dir(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_is_found_where_it_lies_now() {
        let dir = env::temp_dir().join(format!("monocore-xtask-{}", std::process::id()));
        let nested = dir.join("devices/fs/src");
        fs::create_dir_all(&nested).unwrap();
        fs::create_dir_all(dir.join("xtask")).unwrap();
        assert_eq!(root_above([&nested].into_iter()), None);
        fs::write(dir.join("xtask/Cargo.toml"), "").unwrap();
        fs::write(dir.join("Cargo.lock"), "").unwrap();
        for start in [&dir, &dir.join("xtask"), &nested] {
            assert_eq!(root_above([start].into_iter()).as_deref(), Some(&*dir));
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
