//! An image with Debian's PostgreSQL, for the longer tests.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::digest::Key;
use crate::packages;
use crate::process::{command, run, step};
use crate::{project, registry};

/// The image's name in the archive.
const NAME: &str = "test/postgres:latest";
/// The server, and Python with a driver for it.
const PACKAGES: &str = "--include=postgresql,python3-psycopg2";
/// What is removed when the packages are configured: documentation, the compiler behind `jit`, perl for wrappers around the
/// programs, and the cluster that the package makes.
const CLEAN: &str = "--customize-hook=cd \"$1\" && rm -rf usr/lib/*/libLLVM* usr/lib/*/libclang* usr/lib/llvm* \
                     usr/lib/*/perl* usr/share/perl* usr/lib/*/gconv usr/share/doc usr/share/man usr/share/locale \
                     usr/share/i18n var/lib/postgresql/[0-9]* var/cache/apt/*.bin";

/// The archive as `docker save` writes it, from the cache or made now.
pub(crate) fn archive() -> Result<PathBuf> {
    let cache = project::cache_dir("images")?;
    let path = cache.join(format!("postgres-{}.tar", Key::new("postgres 1").finish()));
    if !path.exists() {
        packages::ensure(packages::IMAGES)?;
        let lock = File::create(cache.join("lock")).context("cannot create the image cache's lock")?;
        lock.lock().context("cannot take the image cache's lock")?;
        if !path.exists() {
            step("making an image of Debian's PostgreSQL", || make(&cache.join("work"), &path))?;
        }
    }
    Ok(path)
}

fn make(work: &Path, path: &Path) -> Result<()> {
    project::fresh_dir(work)?;
    let root = work.join("root.tar");
    run(command("mmdebstrap", ["--quiet", "--variant=minbase", PACKAGES, CLEAN])
        .arg(registry::debian_codename()?)
        .arg(&root))?;
    let layout = work.join("layout");
    let image = format!("{}:postgres", layout.display());
    run(command("umoci", ["init", "--layout"]).arg(&layout))?;
    run(&mut command("umoci", ["new", "--image", &image]))?;
    run(command("umoci", ["raw", "add-layer", "--image", &image]).arg(&root))?;
    let variables = "--config.env=PATH=/usr/lib/postgresql/bin:/usr/local/bin:/usr/bin:/bin";
    run(&mut command("umoci", ["config", "--image", &image, variables, "--config.cmd=/bin/sh"]))?;
    let fresh = work.join("archive.tar");
    let to = format!("docker-archive:{}:{NAME}", fresh.display());
    run(command("skopeo", ["--insecure-policy", "copy", "--quiet"]).arg(format!("oci:{image}")).arg(to))?;
    fs::rename(&fresh, path).context("cannot move the image into the cache")?;
    fs::remove_dir_all(work).context("cannot remove what making the image left")
}
