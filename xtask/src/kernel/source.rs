//! Where the kernel's source comes from: `guest-kernel/sources.lock`, and fetching what it pins.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::digest;
use crate::packages;
use crate::process::{command, read_text, run, step};

/// The content of `sources.lock`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lock {
    /// The upstream version.
    version: String,
    #[serde(rename = "source")]
    sources: Vec<Source>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Source {
    /// A Debian package that holds a tarball.
    Debian { package_version: String, package_sha256: String, tarball: String, sha256: String },
    /// A tarball got by hand; without a digest it is refused.
    Tarball { tarball: String, sha256: Option<String> },
}

impl Lock {
    /// Reads the lock file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        toml::from_str(&read_text(path)?).with_context(|| format!("cannot understand {}", path.display()))
    }

    /// The digests of all tarballs that are accepted.
    pub(super) fn digests(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().filter_map(|source| match source {
            Source::Debian { sha256, .. } => Some(sha256.as_str()),
            Source::Tarball { sha256, .. } => sha256.as_deref(),
        })
    }
}

/// A tarball that has one of the pinned digests.
pub(super) struct Tarball {
    /// Where it lies.
    pub(super) path: PathBuf,
    /// Its SHA-256.
    pub(super) sha256: String,
}

/// Gets the source: the tarball given by hand, else the cached one, else Debian's package.
///
/// # Errors
/// If a file has another digest than its pin, or the pinned package is no longer to be had; the error says what to do.
pub(super) fn fetch(lock: &Lock, by_hand: Option<&Path>, cache: &Path) -> Result<Tarball> {
    if let Some(path) = by_hand {
        let sha256 = digest::sha256_file(path)?;
        if !lock.digests().any(|pin| pin == sha256) {
            bail!("{} has sha256 {sha256}, which guest-kernel/sources.lock does not pin", path.display());
        }
        return Ok(Tarball { path: path.to_path_buf(), sha256 });
    }
    let debian = lock.sources.iter().find_map(|source| match source {
        Source::Debian { package_version, package_sha256, tarball, sha256 } => {
            Some((package_version, package_sha256, tarball, sha256))
        }
        Source::Tarball { .. } => None,
    });
    let (version, package_sha256, member, sha256) =
        debian.context("guest-kernel/sources.lock names no Debian package")?;
    let path = cache.join(format!("linux-{}-{}.tar.xz", lock.version, &sha256[..16]));
    if !path.exists() {
        step("fetching the guest kernel's source", || {
            let part = path.with_extension("part");
            from_package(version, package_sha256, member, cache, &part).with_context(|| advice(lock))?;
            digest::verify(&part, sha256)?;
            Ok(fs::rename(&part, &path)?)
        })?;
    }
    Ok(Tarball { path, sha256: sha256.clone() })
}

fn from_package(version: &str, sha256: &str, member: &str, cache: &Path, to: &Path) -> Result<()> {
    let dir = cache.join("package");
    crate::project::fresh_dir(&dir)?;
    let deb = packages::download(&format!("{}={version}", packages::KERNEL_SOURCE), &dir)?;
    digest::verify(&deb, sha256)?;
    run(command("dpkg-deb", ["--extract"]).arg(&deb).arg(&dir))?;
    fs::rename(dir.join(member), to).with_context(|| format!("the package has no {member}"))?;
    fs::remove_dir_all(&dir).context("cannot remove the unpacked package")
}

fn advice(lock: &Lock) -> String {
    let tarballs: Vec<&str> = lock
        .sources
        .iter()
        .filter_map(|source| match source {
            Source::Tarball { tarball, .. } => Some(tarball.as_str()),
            Source::Debian { .. } => None,
        })
        .collect();
    format!(
        "the pinned package of Linux {} cannot be had from apt. Either take it from the distribution's archive of \
         old packages, or download {} from kernel.org, put its digest (from the signed sha256sums.asc) into \
         guest-kernel/sources.lock and run `cargo xtask kernel --tarball FILE`, or pin the version apt offers now",
        lock.version,
        tarballs.join(" or ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tarball_without_a_pin_is_refused() {
        let lock: Lock =
            toml::from_str("version = '1'\n[[source]]\nkind = 'tarball'\ntarball = 'linux-1.tar.xz'\n")
                .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("linux-1.tar.xz");
        fs::write(&file, b"anything").unwrap();
        let error = fetch(&lock, Some(&file), dir.path()).err().unwrap().to_string();
        assert!(error.contains("does not pin"), "{error}");
        assert!(advice(&lock).contains("linux-1.tar.xz"));
    }

    #[test]
    fn the_projects_own_lock_is_read() {
        let lock = Lock::read(&crate::project::root().join("guest-kernel/sources.lock")).unwrap();
        assert!(lock.digests().all(|digest| digest.len() == 64));
        assert!(lock.digests().count() >= 1);
    }
}
