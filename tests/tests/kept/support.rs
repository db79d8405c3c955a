//! A sandbox in the background, removed when the test ends.

use std::time::{Duration, Instant};

use monocore_tests::world::{PLAIN, Ran, World};
use rustix::process::Pid;

/// A sandbox of one test.
pub(crate) struct Background {
    name: &'static str,
}

impl Background {
    /// `run -d --name NAME -m 128m FLAGS… PLAIN sh -c SCRIPT`.
    #[track_caller]
    pub(crate) fn run(name: &'static str, flags: &[&str], script: &str) -> Self {
        let sandbox = Self { name };
        let started =
            ran(&[&["run", "-d", "--name", name, "-m", "128m"], flags, &[PLAIN, "sh", "-c", script]]);
        assert_eq!(started.code, 0, "{started:?}");
        assert_eq!(started.stdout.trim().len(), 12, "{started:?}");
        sandbox
    }

    /// `exec FLAGS… NAME sh -c SCRIPT`.
    pub(crate) fn exec(&self, flags: &[&str], script: &str) -> Ran {
        ran(&[&["exec"], flags, &[self.name, "sh", "-c", script]])
    }

    /// The JSON of `inspect`.
    #[track_caller]
    pub(crate) fn inspect(&self) -> serde_json::Value {
        let shown: serde_json::Value = serde_json::from_str(ran(&[&["inspect", self.name]]).out()).unwrap();
        shown[0].clone()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let removed = ran(&[&["rm", "-f", self.name]]);
        if !std::thread::panicking() {
            assert_eq!(removed.code, 0, "{removed:?}");
        }
    }
}

/// The process that supervises a sandbox.
pub(crate) fn supervisor(sandbox: &Background) -> Pid {
    let pid = sandbox.inspect()["state"]["pid"].as_i64().unwrap();
    Pid::from_raw(pid.try_into().unwrap()).unwrap()
}

/// The only child of the supervisor: the virtual machine's process.
pub(crate) fn machine(supervisor: Pid) -> Pid {
    let pid = supervisor.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    Pid::from_raw(children.trim().parse().unwrap()).unwrap()
}

/// Memory of this host that the machine's process has, MiB; what machines share counts in part.
pub(crate) fn machine_mib(sandbox: &Background) -> u64 {
    of_machine(sandbox, "Pss:")
}

/// A line of the machine's `smaps_rollup`, MiB.
pub(crate) fn of_machine(sandbox: &Background, name: &str) -> u64 {
    let pid = machine(supervisor(sandbox)).as_raw_nonzero();
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

/// Looks again and again until `is_so`, which must be within five minutes.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(300), "{what} does not come");
    }
}

/// `monocore` with these words, to its end.
pub(crate) fn ran(words: &[&[&str]]) -> Ran {
    World::get().monocore(words.concat()).output().expect("monocore starts").into()
}
