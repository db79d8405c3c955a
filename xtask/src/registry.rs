//! Debian's `docker-registry` on loopback, and the images that are in it.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::digest::Key;
use crate::packages;
use crate::process::{command, output, run, step};
use crate::project;

/// Images of the registry, each with the tag `latest`: a static busybox, and Debian with Python.
pub(crate) const IMAGES: [&str; 2] = ["busybox", "debian-python"];

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running registry; it ends with this value.
pub(crate) struct Registry(Child);

impl Registry {
    /// Starts one over a storage folder and waits until it answers.
    ///
    /// # Errors
    /// If it ends at once or does not answer within a minute.
    pub(crate) fn start(storage: &Path, address: SocketAddr, config: &Path) -> Result<Self> {
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
            storage.display()
        );
        fs::write(config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let mut serve = command("docker-registry", ["serve"]);
        serve.arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let mut registry = Self(serve.spawn().context("cannot start docker-registry")?);
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = registry.0.try_wait()? {
                bail!("docker-registry ended with {status}; is {address} taken?");
            }
            if start.elapsed() > START_TIMEOUT {
                bail!("docker-registry does not answer at {address}");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command of this name.
pub(crate) fn print() -> Result<()> {
    eprintln!("{}", storage()?.display());
    Ok(())
}

/// A registry's storage folder with [`IMAGES`] in it, from the cache or made now.
pub(crate) fn storage() -> Result<PathBuf> {
    let cache = project::cache_dir("registry")?;
    let dir = cache.join(Key::new("images 1").finish());
    if !dir.exists() {
        packages::ensure(packages::IMAGES)?;
        let lock = File::create(cache.join("lock")).context("cannot create the registry cache's lock")?;
        lock.lock().context("cannot take the registry cache's lock")?;
        if !dir.exists() {
            step("making images from Debian's packages", || fill(&cache.join("work"), &dir))?;
        }
    }
    Ok(dir)
}

fn fill(work: &Path, dir: &Path) -> Result<()> {
    project::fresh_dir(work)?;
    let tars = [busybox(work)?, debian_python(work)?];
    let layout = work.join("layout");
    run(command("umoci", ["init", "--layout"]).arg(&layout))?;
    let storage = work.join("storage");
    fs::create_dir(&storage)?;
    let address = SocketAddr::from(([127, 0, 0, 1], 5056));
    let _registry = Registry::start(&storage, address, &work.join("registry.yml"))?;
    for (name, tar) in IMAGES.iter().zip(&tars) {
        let image = format!("{}:{name}", layout.display());
        run(&mut command("umoci", ["new", "--image", &image]))?;
        run(command("umoci", ["raw", "add-layer", "--image", &image]).arg(tar))?;
        let path = "--config.env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        run(&mut command("umoci", ["config", "--image", &image, path, "--config.cmd=/bin/sh"]))?;
        let to = format!("docker://{address}/{name}:latest");
        let copy = ["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"];
        run(command("skopeo", copy).arg(format!("oci:{image}")).arg(to))?;
    }
    fs::rename(&storage, dir).context("cannot move the registry into the cache")?;
    fs::remove_dir_all(work).context("cannot remove what making the images left")
}

fn busybox(work: &Path) -> Result<PathBuf> {
    let root = work.join("busybox");
    for folder in ["bin", "etc", "root", "tmp", "usr/bin", "var"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).context("busybox-static is needed")?;
    for applet in output(&mut command("/bin/busybox", ["--list"]))?.lines().filter(|name| *name != "busybox")
    {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    let tar = work.join("busybox.tar");
    let owner = ["--create", "--owner=0", "--group=0", "--numeric-owner", "--sort=name", "--directory"];
    run(command("tar", owner).arg(&root).arg("--file").arg(&tar).arg("."))?;
    Ok(tar)
}

/// The name of this machine's release of Debian.
pub(crate) fn debian_codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    codename.map(str::to_owned).context("/etc/os-release names no VERSION_CODENAME")
}

fn debian_python(work: &Path) -> Result<PathBuf> {
    let codename = debian_codename()?;
    let tar = work.join("debian-python.tar");
    let options = ["--quiet", "--variant=minbase", "--include=python3-minimal", &codename];
    run(command("mmdebstrap", options).arg(&tar))?;
    Ok(tar)
}
