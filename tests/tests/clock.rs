//! A wall clock that is set by a day while sandboxes run. A program of its own, because every other test beside it would
//! see the jump.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]
#![allow(dead_code, reason = "another program's tests use more of the support")]

use std::time::{Duration, Instant};

use monocore_tests::world::{PLAIN, World};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use serde_json::Value;

#[path = "kept/support.rs"]
mod support;

use support::{Background, ran, until};

const DAY: i64 = 24 * 3600;

/// The wall clock set forth or back; set right when dropped.
struct Jump(i64);

impl Jump {
    fn by(seconds: i64) -> Self {
        let now = clock_gettime(ClockId::Realtime);
        clock_settime(ClockId::Realtime, Timespec { tv_sec: now.tv_sec + seconds, ..now }).unwrap();
        Self(seconds)
    }
}

impl Drop for Jump {
    fn drop(&mut self) {
        let now = clock_gettime(ClockId::Realtime);
        clock_settime(ClockId::Realtime, Timespec { tv_sec: now.tv_sec - self.0, ..now }).unwrap();
    }
}

fn last_check(sandbox: &Background) -> Value {
    sandbox.inspect()["state"]["health"]["Log"]
        .as_array()
        .and_then(|log| log.last().cloned())
        .unwrap_or_default()
}

#[test]
fn a_day_forth_or_back_makes_neither_a_restart_nor_a_false_health_nor_an_end() {
    let flags = ["--restart", "always", "--health-cmd", "true", "--health-interval", "500ms"];
    let lives = ["--idle-timeout", "1h", "--max-duration", "2h"];
    let sandbox = Background::run("clock-one", &[&flags[..], &lives].concat(), "exec sleep 100000");
    until("health", || sandbox.inspect()["state"]["health"]["Status"] == "healthy");
    for day in [DAY, -DAY] {
        let jump = Jump::by(day);
        for _ in 0..2 {
            let before = last_check(&sandbox);
            until("another check", || last_check(&sandbox) != before);
        }
        let state = sandbox.inspect()["state"].clone();
        assert_eq!((&state["status"], &state["restart_count"]), (&"running".into(), &0.into()), "{state}");
        let health = &state["health"];
        assert_eq!((&health["Status"], &health["FailingStreak"]), (&"healthy".into(), &0.into()), "{state}");
        drop(jump);
    }
    // A command that ends at once is started again as often as the back-off says, and no oftener.
    let begun = Instant::now();
    let storm = Background::run("clock-storm", &["--restart", "always"], "exit 1");
    let restarts = || storm.inspect()["state"]["restart_count"].as_u64().unwrap();
    until("the second restart", || restarts() >= 2);
    let _jump = Jump::by(DAY);
    std::thread::sleep(Duration::from_secs(2));
    // 100 ms, doubled each time: n restarts take at least 100 ms * (2^n - 1).
    let most = (begun.elapsed().as_millis() / 100 + 1).ilog2();
    assert!(restarts() <= u64::from(most), "{} restarts in {:?}", restarts(), begun.elapsed());
    assert!(ran(&[&["ps", "--filter", "name=clock-storm"]]).out().contains("clock-storm"));
    let world = World::get();
    assert_eq!(world.script(&[], "echo fine").out(), "fine\n", "{PLAIN} starts with a clock that is wrong");
}
