//! Images with a whole system in them, made from Debian's packages: for tests of what a guest can run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::digest::Key;
use crate::packages;
use crate::process::{command, read_text, run, step};
use crate::project;

/// What an image is called, the packages that are in it beside the essential ones, and its command.
const ROOTS: [(&str, &str, &str); 2] = [
    ("systemd", "systemd,systemd-sysv,dbus", "/sbin/init"),
    ("docker", "docker.io,iptables,busybox-static", "/bin/bash"),
];

/// Where [`home`] makes the state directory.
pub(crate) fn dir() -> PathBuf {
    project::target_dir().join("test-roots")
}

/// A state directory of `binary` with the images `test/systemd` and `test/docker` in it.
///
/// # Errors
/// If a package cannot be fetched, or the binary does not load an image.
pub(crate) fn home(binary: &Path) -> Result<PathBuf> {
    let archives = archives()?;
    let home = dir();
    let loaded = home.join("loaded");
    let of = archives.display().to_string();
    if fs::read_to_string(&loaded).is_ok_and(|text| text == of) {
        return Ok(home);
    }
    project::fresh_dir(&home)?;
    for (name, ..) in ROOTS {
        let mut load = command(&binary.display().to_string(), ["load", "--quiet", "--input"]);
        run(load.arg(archives.join(format!("{name}.tar"))).env("MONOCORE_HOME", &home))?;
    }
    fs::write(&loaded, of).with_context(|| format!("cannot write {}", loaded.display()))?;
    Ok(home)
}

/// The folder of the images' archives, from the cache or made now.
fn archives() -> Result<PathBuf> {
    let release = read_text(Path::new("/etc/os-release"))?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.context("/etc/os-release names no VERSION_CODENAME")?;
    let cache = project::cache_dir("roots")?;
    let mut key = Key::new("roots 1").with(codename.as_bytes());
    for (name, include, program) in ROOTS {
        key = key.with(name.as_bytes()).with(include.as_bytes()).with(program.as_bytes());
    }
    let dir = cache.join(key.finish());
    if !dir.exists() {
        packages::ensure(packages::IMAGES)?;
        let lock = File::create(cache.join("lock")).context("cannot create the cache's lock")?;
        lock.lock().context("cannot take the cache's lock")?;
        if !dir.exists() {
            let work = cache.join("work");
            project::fresh_dir(&work)?;
            for root in ROOTS {
                step("making an image from Debian's packages", || make(root, codename, &work))?;
            }
            fs::rename(&work, &dir).context("cannot move the images into the cache")?;
        }
    }
    Ok(dir)
}

fn make((name, include, program): (&str, &str, &str), codename: &str, work: &Path) -> Result<()> {
    let tree = work.join(format!("{name}-tree.tar"));
    let mut bootstrap = command("mmdebstrap", ["--quiet", "--variant=minbase"]);
    for left_out in ["doc", "info", "locale", "man"] {
        bootstrap.arg(format!("--dpkgopt=path-exclude=/usr/share/{left_out}/*"));
    }
    run(bootstrap.arg(format!("--include={include}")).arg(codename).arg(&tree))?;
    let layout = work.join(format!("{name}-layout"));
    let image = format!("{}:latest", layout.display());
    run(command("umoci", ["init", "--layout"]).arg(&layout))?;
    run(&mut command("umoci", ["new", "--image", &image]))?;
    run(command("umoci", ["raw", "add-layer", "--image", &image]).arg(&tree))?;
    let path = "--config.env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let program = format!("--config.cmd={program}");
    run(&mut command("umoci", ["config", "--image", &image, path, &program]))?;
    let to = format!("docker-archive:{}:test/{name}:latest", work.join(format!("{name}.tar")).display());
    run(command("skopeo", ["--insecure-policy", "copy", "--quiet"]).arg(format!("oci:{image}")).arg(to))?;
    fs::remove_file(&tree).context("cannot remove what making the image left")?;
    fs::remove_dir_all(&layout).context("cannot remove what making the image left")
}
