//! A cached image: no network, no layer read twice.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use monocore_tests::world::{PLAIN, Ran, World, binary};

/// Debian's docker-registry on loopback; it ends with this value.
struct Registry(Child);

impl Registry {
    fn start(dir: &Path, address: SocketAddr) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
            dir.display()
        );
        std::fs::write(&config, text).unwrap();
        let serve = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let registry = Self(serve.expect("Debian's docker-registry"));
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "the registry does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_second_run_opens_no_connection_and_reads_no_layer_twice() {
    let world = World::get();
    let address = SocketAddr::from(([127, 0, 0, 1], 5061));
    let registry = Registry::start(&world.path("registry"), address);
    let archive = world.path("to-push.tar");
    assert!(world.monocore(["save", "-o"]).arg(&archive).arg(PLAIN).status().unwrap().success());
    let name = format!("{address}/pushed:latest");
    let push = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--dest-tls-verify=false"])
        .arg(format!("docker-archive:{}", archive.display()))
        .arg(format!("docker://{name}"))
        .output()
        .expect("Debian's skopeo");
    assert!(push.status.success(), "{}", String::from_utf8_lossy(&push.stderr));
    let home = world.path("pulled-home");
    let first = world.run_command([&name, "echo", "first"]).env("MONOCORE_HOME", &home).output().unwrap();
    assert_eq!(Ran::from(first).out(), "first\n");
    drop(registry);
    let trace = world.path("trace");
    let second: Ran = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=socket,connect,openat", "-o"])
        .arg(&trace)
        .arg(binary())
        .args(["run", "--no-net", "-m", "128m", &name, "echo", "second"])
        .env("MONOCORE_HOME", &home)
        .stdin(Stdio::null())
        .output()
        .expect("Debian's strace")
        .into();
    assert_eq!(second.out(), "second\n");
    let trace = std::fs::read_to_string(trace).unwrap();
    assert!(trace.contains("openat"), "strace saw nothing");
    let lines = |needle: &str| trace.lines().filter(|line| line.contains(needle)).count();
    assert_eq!(lines("AF_INET"), 0, "{trace}");
    assert_eq!(lines("AF_NETLINK"), 0, "{trace}");
    assert_eq!(lines("oci/erofs/layers/"), 1, "the layer's contents are opened once: {trace}");
    let blobs = std::fs::read_dir(home.join("oci/blobs/sha256")).unwrap().map(Result::unwrap);
    let layer = blobs.max_by_key(|blob| blob.metadata().unwrap().len()).unwrap().file_name();
    assert_eq!(lines(layer.to_str().unwrap()), 0, "what was fetched is not opened any more: {trace}");
}
