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

#[test]
fn a_machine_that_stands_still_is_ended_in_bounded_time() {
    let sandbox = Background::run("machine-stuck", &[], "sleep 1000");
    let supervisor = sandbox.inspect()["state"]["pid"].as_u64().unwrap();
    let children = format!("/proc/{supervisor}/task/{supervisor}/children");
    let machine: i32 = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    // As a guest that never answers again: nothing of the machine runs.
    let machine = rustix::process::Pid::from_raw(machine).unwrap();
    rustix::process::kill_process(machine, rustix::process::Signal::STOP).unwrap();
    let began = Instant::now();
    ran(&[&["kill", "machine-stuck"]]).out();
    // Three seconds for SIGKILL, two for the disk, two for the machine: less than the ten of a flush.
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    assert_eq!(ran(&[&["wait", "machine-stuck"]]).out(), "137\n");
}
