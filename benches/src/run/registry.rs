//! The registry both tools pull from: Debian's `docker-registry` on loopback.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const ADDRESS: &str = "127.0.0.1:5055";

/// A running registry; ends with the value.
pub(crate) struct Registry(Child);

impl Registry {
    /// How a client on this machine names `image`.
    pub(crate) fn reference(&self, image: &str) -> String {
        format!("{ADDRESS}/{image}")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a registry over the storage folder `data` and waits until it answers.
///
/// # Errors
/// It does not start within 30 s.
pub(crate) fn start(data: &Path, work: &Path) -> Result<Registry> {
    let config = work.join("registry.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: {ADDRESS}\n",
        data.display()
    );
    fs::write(&config, text).context("write the registry's configuration")?;
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start docker-registry")?;
    let mut registry = Registry(child);
    let begin = Instant::now();
    while TcpStream::connect(ADDRESS).is_err() {
        if let Some(status) = registry.0.try_wait()? {
            bail!("docker-registry ended with {status}");
        }
        if begin.elapsed() > Duration::from_secs(30) {
            bail!("docker-registry does not answer at {ADDRESS} after 30 s");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(registry)
}
