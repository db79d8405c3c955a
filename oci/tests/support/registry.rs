//! A real registry (the distribution's, from the package docker-registry) on loopback.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running registry; ends with it.
pub(crate) struct Registry {
    child: Child,
    pub(crate) address: String,
    _data: tempfile::TempDir,
}

impl Registry {
    pub(crate) fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
            data.path().join("data").display()
        );
        let path = data.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve".as_ref(), path.as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("package docker-registry is installed");
        let registry = Self { child, address, _data: data };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(&registry.address).is_err() {
            assert!(Instant::now() < deadline, "the registry does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        registry
    }

    /// Pushes an OCI layout's `latest` with skopeo.
    pub(crate) fn push(&self, layout: &Path, name: &str) {
        let from = format!("oci:{}:latest", layout.display());
        let to = format!("docker://{}/{name}", self.address);
        super::run("skopeo", &["--insecure-policy", "copy", "--dest-tls-verify=false", &from, &to]);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
