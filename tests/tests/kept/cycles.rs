//! A guest that starts and stops, again and again. A thousand times with played machines: `host_stand_in`.

use std::path::Path;

use monocore_tests::world::World;
use rustix::process::Pid;

use crate::support::{Background, machine, ran, supervisor, until};

/// How much more anonymous memory a supervisor may have later, KiB: the allocator's pools of its threads differ so much from
/// run to run.
const SLACK_KIB: u64 = 300;

/// What a process uses of this host.
#[derive(Clone, Copy, Debug)]
struct Use {
    descriptors: usize,
    threads: usize,
    anonymous_kib: u64,
}

impl Use {
    fn of(process: Pid) -> Self {
        let at = |what: &str| format!("/proc/{}/{what}", process.as_raw_nonzero());
        let count = |what: &str| std::fs::read_dir(at(what)).unwrap().count();
        let status = std::fs::read_to_string(at("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        let anonymous_kib = line.trim().trim_end_matches(" kB").parse().unwrap();
        Self { descriptors: count("fd"), threads: count("task"), anonymous_kib }
    }

    #[track_caller]
    fn is_all(self, later: Self) {
        assert!(
            later.descriptors <= self.descriptors
                && later.threads <= self.threads
                && later.anonymous_kib <= self.anonymous_kib + SLACK_KIB,
            "{self:?}, then {later:?}"
        );
    }
}

#[test]
fn a_guest_that_starts_and_stops_again_and_again_leaves_nothing() {
    let cycles = if std::env::var_os("MONOCORE_TEST_LONG").is_some() { 100 } else { 5 };
    let sandbox = Background::run("cycles", &[], "sleep 1000");
    let run_dir = World::get().home().join("run").join(sandbox.inspect()["id"].as_str().unwrap());
    let first = Use::of(supervisor(&sandbox));
    for _ in 0..cycles {
        let processes = [supervisor(&sandbox), machine(supervisor(&sandbox))];
        ran(&[&["stop", "-t", "0", "cycles"]]).out();
        assert!(!run_dir.exists());
        until("the processes have ended", || !processes.iter().any(|process| is_there(*process)));
        ran(&[&["start", "cycles"]]).out();
    }
    let last = Use::of(supervisor(&sandbox));
    eprintln!("{cycles} starts and stops: {first:?}, then {last:?}");
    first.is_all(last);
}

fn is_there(process: Pid) -> bool {
    Path::new(&format!("/proc/{}/exe", process.as_raw_nonzero())).exists()
}

#[test]
fn a_supervisor_that_starts_its_guest_again_uses_no_more() {
    let sandbox = Background::run("cycles-restart", &["--restart", "always"], "sleep 1000");
    let supervisor_before = supervisor(&sandbox);
    let mut first = None;
    for count in 1..=5 {
        // Not the signal that asks it to end: the command has failed, and is started again.
        ran(&[&["kill", "-s", "USR1", "cycles-restart"]]).out();
        until("it runs again", || {
            let state = sandbox.inspect()["state"].clone();
            state["restart_count"] == count && state["status"] == "running"
        });
        first.get_or_insert_with(|| Use::of(supervisor_before));
    }
    let (first, last) = (first.unwrap(), Use::of(supervisor_before));
    eprintln!("5 restarts: {first:?}, then {last:?}");
    first.is_all(last);
}
