//! What a supervisor asks of its machine.

use std::time::{Duration, Instant};

use crate::support::{Background, ran};

#[test]
fn stats_show_what_guest_and_machine_count() {
    let sandbox = Background::run("machine-stats", &[], "sleep 1000");
    assert_eq!(sandbox.exec(&[], "dd if=/dev/zero of=/file bs=1M count=8 2>/dev/null && sync").code, 0);
    let shown: serde_json::Value =
        serde_json::from_str(ran(&[&["stats", "--format", "json", "machine-stats"]]).out()).unwrap();
    let count = |name: &str| shown[0][name].as_u64().unwrap_or_else(|| panic!("no {name}: {shown}"));
    assert!(count("block_written_bytes") >= 8 << 20, "{shown}");
    assert!(count("block_read_bytes") > 0, "{shown}");
    assert!(count("machine_cpu_ms") > 0, "{shown}");
    assert!(count("memory_used_bytes") > 0, "{shown}");
    let table = ran(&[&["stats", "machine-stats"]]);
    assert!(table.out().contains("BLOCK I/O") && !table.out().contains("--"), "{table:?}");
}

/// Nothing else runs in a guest with one processor once this does.
const HOG: &str = "echo -1 >/proc/sys/kernel/sched_rt_runtime_us && echo stuck && \
                   exec busybox chrt -f 99 sh -c 'while :; do :; done'";

#[test]
fn a_guest_that_is_stuck_is_ended_in_bounded_time() {
    let _sandbox = Background::run("machine-stuck", &[], HOG);
    while !ran(&[&["logs", "machine-stuck"]]).out().contains("stuck") {}
    let began = Instant::now();
    let stats = ran(&[&["stats", "machine-stuck"]]);
    assert!(stats.out().contains("--"), "a guest that is stuck tells nothing: {stats:?}");
    // Three seconds for SIGKILL, two for the disk, two for the machine: less than the ten of a flush.
    let began_to_kill = Instant::now();
    ran(&[&["kill", "machine-stuck"]]).out();
    assert!(began_to_kill.elapsed() < Duration::from_secs(12), "{:?}", began_to_kill.elapsed());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(ran(&[&["wait", "machine-stuck"]]).out(), "137\n");
}
