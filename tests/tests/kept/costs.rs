//! What a supervisor costs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{Background, machine, ran, supervisor, until};

fn directory(sandbox: &Background) -> PathBuf {
    PathBuf::from(format!("/proc/{}", supervisor(sandbox).as_raw_nonzero()))
}

fn entries(dir: PathBuf) -> usize {
    fs::read_dir(dir).unwrap().count()
}

/// How often the threads of a process have gone to sleep.
fn sleeps(process: &Path) -> u64 {
    let threads = fs::read_dir(process.join("task")).unwrap();
    let count = |status: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    };
    threads.map(|thread| count(&fs::read_to_string(thread.unwrap().path().join("status")).unwrap())).sum()
}

#[test]
fn an_idle_supervisor_sleeps_and_is_small() {
    let flags =
        ["--restart", "always", "--health-cmd", "true", "--idle-timeout", "1h", "--max-duration", "2h"];
    let sandbox = Background::run("costs-idle", &flags, "sleep 1000");
    let process = directory(&sandbox);
    // The answer of the start, and what came with it, is over.
    let mut before = sleeps(&process);
    until("silence", || {
        std::thread::sleep(Duration::from_secs(2));
        let now = sleeps(&process);
        now == std::mem::replace(&mut before, now)
    });
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(sleeps(&process), before, "it woke up");
    let (own, program) = anonymous_kb(&process);
    println!("a supervisor has {own} kB of its own, and {program} kB of its program's data");
    assert!(own <= 2048, "{own} kB");
}

/// Anonymous memory of a process: beyond its program, and where the program was relocated. That of a debug build is three times
/// a release's.
fn anonymous_kb(process: &Path) -> (u64, u64) {
    let program = fs::read_link(process.join("exe")).unwrap();
    let (mut own, mut of_program, mut is_program) = (0, 0, false);
    for line in fs::read_to_string(process.join("smaps")).unwrap().lines() {
        if let Some(anonymous) = line.strip_prefix("Anonymous:") {
            let anonymous: u64 = anonymous.trim().trim_end_matches(" kB").parse().unwrap();
            *(if is_program { &mut of_program } else { &mut own }) += anonymous;
        } else if line.split_once('-').is_some_and(|(start, _)| u64::from_str_radix(start, 16).is_ok()) {
            is_program = line.ends_with(program.to_str().unwrap());
        }
    }
    (own, of_program)
}

#[test]
fn restarts_leave_no_descriptor_and_no_thread_behind() {
    let sandbox = Background::run("costs-restarts", &["--restart", "always"], "exec sleep 1000");
    let process = directory(&sandbox);
    let look = || (entries(process.join("fd")), entries(process.join("task")));
    let first = look();
    for restarts in 1..=4 {
        let earlier = machine(supervisor(&sandbox));
        ran(&[&["kill", "-s", "INT", "costs-restarts"]]).out();
        until("the restart", || {
            let state = sandbox.inspect()["state"].clone();
            state["restart_count"] == restarts && state["status"] == "running"
        });
        assert_ne!(machine(supervisor(&sandbox)), earlier);
        until("the same descriptors and threads", || look() == first);
    }
}
