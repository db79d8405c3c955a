//! Starts and stops, again and again: what supervisors use of this host stays the same, and nothing is left behind.

use monocore_orchestrator::{Home, SandboxStatus, registry};
use monocore_tests::wait::eventually;

use crate::played::{Played, is_long};

/// Cycles before the first look: threads have had their stacks, and the allocator its pools.
const WARM: usize = 10;
/// How much more anonymous memory a supervisor may have after all cycles, KiB. glibc gives each thread that lives at the same
/// time a pool of its own, and which of them has grown by the time of a look differs from look to look. A leak of 300 bytes
/// a cycle is seen.
const SLACK_KIB: u64 = 300;

fn cycles() -> usize {
    if is_long() { 1000 } else { 50 }
}

/// What a process uses of this host.
#[derive(Clone, Copy, Debug)]
struct Use {
    descriptors: usize,
    threads: usize,
    anonymous_kib: u64,
}

impl Use {
    fn of(pid: u32) -> Self {
        let count = |of: &str| std::fs::read_dir(format!("/proc/{pid}/{of}")).unwrap().count();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        let anonymous_kib = line.trim().trim_end_matches(" kB").parse().unwrap();
        Self { descriptors: count("fd"), threads: count("task"), anonymous_kib }
    }

    /// Waits until a process uses no more than `self`, whose threads end when they have passed on all output.
    #[track_caller]
    fn is_not_exceeded(self, pid: u32, case: &str) -> Self {
        let mut now = Self::of(pid);
        eventually(&format!("{case}: {now:?} is not more than {self:?}"), || {
            now = Self::of(pid);
            now.descriptors <= self.descriptors && now.threads <= self.threads
        });
        assert!(now.anonymous_kib <= self.anonymous_kib + SLACK_KIB, "{case}: {self:?}, then {now:?}");
        now
    }
}

#[test]
fn a_supervisor_that_starts_its_machine_again_and_again_uses_no_more() {
    let played = Played::new("restarts");
    let home = Home::at(played.kept.home());
    played.create("a", &["--restart", "always"], &["sleep", "1000"]);
    played.all(&[&["start", "a"]]);
    let supervisors = played.processes("supervise");
    let [supervisor] = supervisors[..] else { panic!("{supervisors:?}") };
    let mut early = None;
    for cycle in 1..=cycles() {
        // Not the signal that asks it to end: the command has failed, and is started again.
        played.all(&[&["kill", "-s", "USR1", "a"]]);
        eventually("it runs again", || {
            let state = registry::find(&home, "a").unwrap().state;
            state.restart_count as usize == cycle && state.status == SandboxStatus::Running
        });
        if cycle == WARM {
            early = Some(Use::of(supervisor));
        }
    }
    let early = early.unwrap();
    let late = early.is_not_exceeded(supervisor, "the supervisor");
    eprintln!("{} restarts: {early:?}, then {late:?}", cycles());
    assert_eq!(played.processes("supervise"), [supervisor]);
    assert_eq!(played.processes("vmm").len(), 1);
    played.all(&[&["rm", "-f", "a"]]);
    played.no_process_stays("restarts");
}

#[test]
fn sandboxes_that_start_and_stop_a_thousand_times_leave_nothing() {
    const SANDBOXES: usize = 4;
    let played = Played::new("cycles");
    let before = played.kept.tree();
    let (mut early, mut late) = (None, None);
    let names: Vec<_> = (0..SANDBOXES).map(|number| format!("a{number}")).collect();
    names.iter().for_each(|name| played.create(name, &[], &["sleep", "1000"]));
    for cycle in 1..=cycles() / SANDBOXES {
        std::thread::scope(|scope| {
            for name in &names {
                scope.spawn(|| played.all(&[&["start", name]]));
            }
        });
        let supervisors = played.processes("supervise");
        assert_eq!(supervisors.len(), SANDBOXES);
        assert_eq!(played.processes("vmm").len(), SANDBOXES);
        let uses = supervisors.iter().map(|pid| Use::of(*pid)).max_by_key(|used| used.anonymous_kib);
        early = early.or(uses);
        late = uses;
        assert_eq!(played.run(&["exec", &names[cycle % SANDBOXES], "hello"]).out(), "hello\n");
        let words: Vec<_> = ["stop"].into_iter().chain(names.iter().map(String::as_str)).collect();
        played.all(&[&words]);
        let left: Vec<_> = std::fs::read_dir(played.kept.home().join("run")).unwrap().flatten().collect();
        assert!(left.iter().all(|entry| entry.file_name() == ".lock"), "{left:?}");
    }
    let (early, late) = (early.unwrap(), late.unwrap());
    eprintln!(
        "{} starts and stops: supervisors use {early:?}, then {late:?}",
        cycles() / SANDBOXES * SANDBOXES
    );
    assert!(
        late.descriptors <= early.descriptors + 1 && late.threads <= early.threads + 1,
        "{early:?} {late:?}"
    );
    assert!(late.anonymous_kib <= early.anonymous_kib + SLACK_KIB, "{early:?} {late:?}");
    let words: Vec<_> = ["rm", "-f"].into_iter().chain(names.iter().map(String::as_str)).collect();
    played.all(&[&words]);
    played.no_process_stays("starts and stops");
    played.kept.holds_only(&before, "starts and stops");
}
