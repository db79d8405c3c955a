//! Whole systems in a guest, from Debian's packages: systemd as process 1, and dockerd with containers of its own. Each
//! takes minutes in an emulated guest, so both run only where `MONOCORE_TEST_LONG` is set; what they need of the guest is
//! tested one by one in `kept/container.rs`, always.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use monocore_test_images::image::Layer;
use monocore_tests::image::{self, write_archive};
use monocore_tests::world::{Ran, binary};
use serde_json::json;

/// The variable that names the state directory with the images.
const ROOTS: &str = "MONOCORE_TEST_ROOTS";

/// Where dockerd has its images: an overlay's upper layer cannot lie on an overlay, which the root is.
const STORAGE: &str = "/var/lib/docker:exec,dev,suid,size=512m";

/// Whether this run has time for them.
fn is_long() -> bool {
    let is_long = std::env::var_os("MONOCORE_TEST_LONG").is_some();
    if !is_long {
        eprintln!("not run: MONOCORE_TEST_LONG is not set");
    }
    is_long
}

/// A state directory whose image store is the prepared one; what is written goes elsewhere.
struct Systems {
    dir: tempfile::TempDir,
}

impl Systems {
    fn new() -> Self {
        let roots = std::env::var_os(ROOTS).map(PathBuf::from);
        let roots =
            roots.unwrap_or_else(|| panic!("{ROOTS} is not set: these tests are run by `cargo xtask test`"));
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        link_files(&roots, &home);
        Self { dir }
    }

    fn monocore(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(binary());
        command.args(words).env("MONOCORE_HOME", self.dir.path().join("home")).stdin(Stdio::null());
        command.output().expect("monocore starts").into()
    }

    /// Runs a script in a sandbox until it says `wanted`, or `within` is over.
    #[track_caller]
    fn until_says(&self, name: &str, script: &str, wanted: &str, within: Duration) {
        let begun = Instant::now();
        loop {
            let told = self.monocore(&["exec", name, "sh", "-c", script]);
            if told.stdout.trim() == wanted {
                return;
            }
            // One that has ended says nothing any more.
            if begun.elapsed() > within || told.stderr.contains("is not running") {
                let (logs, state) = (
                    self.monocore(&["logs", name]),
                    self.monocore(&["inspect", "-f", "{{json .State}}", name]),
                );
                panic!("{wanted} does not come: {told:?}\n{logs:?}\n{state:?}");
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Drop for Systems {
    fn drop(&mut self) {
        self.monocore(&["rm", "-f", "--all"]);
    }
}

/// A tree of directories like `from`, with copies of its small files and links to the large ones, which are layers.
fn link_files(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            link_files(&from, &to);
        } else if entry.metadata().unwrap().len() < 1 << 20 {
            std::fs::copy(from, to).unwrap();
        } else {
            std::os::unix::fs::symlink(from, to).unwrap();
        }
    }
}

#[test]
fn systemd_comes_up_and_runs_services() {
    if !is_long() {
        return;
    }
    let systems = Systems::new();
    systems.monocore(&["run", "-d", "--name", "sd", "-m", "512m", "test/systemd"]).out();
    let state = "systemctl is-system-running; systemctl list-units --failed --plain --no-legend";
    systems.until_says("sd", state, "running", Duration::from_secs(600));
    let told = systems.monocore(&["exec", "sd", "cat", "/proc/1/comm", "/proc/1/cgroup"]);
    assert_eq!(told.out(), "systemd\n0::/init.scope\n");
    // A service with limits, in a group of its own.
    let script = "systemd-run --quiet --wait --pipe -p MemoryMax=32M -p TasksMax=20 \
                  sh -c 'g=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); cat $g/memory.max $g/pids.max'";
    assert_eq!(systems.monocore(&["exec", "sd", "sh", "-c", script]).out(), "33554432\n20\n");
    let script = "journalctl --no-pager -q -b -u systemd-journald | grep -c . > /dev/null && echo logged";
    assert_eq!(systems.monocore(&["exec", "sd", "sh", "-c", script]).out(), "logged\n");
    // SIGRTMIN+3 asks systemd for an orderly end.
    systems.monocore(&["stop", "-t", "60", "-s", "RTMIN+3", "sd"]).out();
}

#[test]
fn dockerd_runs_a_container() {
    if !is_long() {
        return;
    }
    let systems = Systems::new();
    let archive = systems.dir.path().join("busybox.tar");
    let config = json!({ "Env": ["PATH=/bin"], "Cmd": ["sh"] });
    let layer: Layer = image::busybox().expect("busybox-static");
    write_archive(&archive, "small:latest", &config, &[layer]).unwrap();
    let share = format!("{}:/images:ro", systems.dir.path().display());
    let start = ["run", "-d", "--name", "dk", "-m", "1g", "-v", &share, "--tmpfs", STORAGE, "test/docker"];
    // dockerd gives a containerd that it starts itself 15 s, which is too little in an emulated guest.
    let serve = "containerd & until [ -S /run/containerd/containerd.sock ]; do sleep 0.5; done; \
                 exec dockerd --containerd /run/containerd/containerd.sock --storage-driver overlay2";
    let serve = ["sh", "-c", serve];
    systems.monocore(&[&start[..], &serve].concat()).out();
    let ready = "docker info --format '{{.Driver}} {{.CgroupVersion}}'";
    systems.until_says("dk", ready, "overlay2 2", Duration::from_secs(600));
    let script = "docker load -q -i /images/busybox.tar && \
                  docker run --rm -m 32m --pids-limit 50 small sh -c 'echo from inside; hostname -i > /dev/null; \
                  cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max'";
    let told = systems.monocore(&["exec", "dk", "sh", "-c", script]);
    assert!(told.out().ends_with("from inside\n33554432\n50\n"), "{told:?}");
    // Its own network: a bridge, NAT rules, and a port.
    let script = "docker run -d --name web -p 8080:80 small busybox nc -ll -p 80 -e echo answer > /dev/null && \
                  iptables -t nat -S | grep -c 8080 && i=0 && \
                  until busybox nc 127.0.0.1 8080 < /dev/null; do i=$((i+1)); [ $i -lt 30 ] || exit 1; sleep 0.3; done";
    let told = systems.monocore(&["exec", "dk", "sh", "-c", script]);
    assert!(told.out().ends_with("answer\n"), "{told:?}");
}
