//! Time limits of a sandbox's life.

use std::process::Stdio;
use std::time::{Duration, Instant};

use monocore_tests::world::World;

use crate::support::{Background, ran, until};

#[test]
fn what_nobody_uses_is_stopped() {
    let flags = ["--idle-timeout", "15s", "--restart", "always"];
    let sandbox = Background::run("limits-idle", &flags, "sleep 1000");
    // A running command is use, for however long it takes.
    let command =
        World::get().monocore(["exec", "limits-idle", "sleep", "20"]).stdout(Stdio::null()).status().unwrap();
    assert!(command.success());
    assert_eq!(sandbox.inspect()["state"]["status"], "running");
    let since = Instant::now();
    assert_eq!(ran(&[&["wait", "limits-idle"]]).out(), "143\n", "a client that only waits is no use");
    assert!(since.elapsed() < Duration::from_secs(100), "{:?}", since.elapsed());
    until("the end", || sandbox.inspect()["state"]["status"] == "exited");
    let state = sandbox.inspect()["state"].clone();
    assert_eq!((&state["is_stopped"], &state["restart_count"]), (&true.into(), &0.into()), "{state}");
}

#[test]
fn output_is_use() {
    let script = "i=0; while [ $i -lt 8 ]; do echo $i; sleep 2; i=$((i+1)); done; exec sleep 1000";
    let _sandbox = Background::run("limits-output", &["--idle-timeout", "10s"], script);
    assert_eq!(ran(&[&["wait", "limits-output"]]).out(), "143\n");
    assert!(ran(&[&["logs", "limits-output"]]).out().ends_with("7\n"));
}

#[test]
fn a_life_has_a_longest_duration_across_restarts() {
    let flags = ["--max-duration", "20s", "--restart", "always"];
    let sandbox = Background::run("limits-duration", &flags, "exit 1");
    until("the end", || sandbox.inspect()["state"]["status"] == "exited");
    let state = sandbox.inspect()["state"].clone();
    assert_eq!((&state["exit_code"], &state["is_stopped"]), (&124.into(), &true.into()), "{state}");
    assert!(state["restart_count"].as_u64().unwrap() >= 1, "{state}");
}

#[test]
fn a_run_has_a_longest_duration_each_time() {
    let flags = ["--timeout", "20s", "--restart", "on-failure:1"];
    let sandbox = Background::run("limits-run", &flags, "sleep 1000");
    until("the end", || sandbox.inspect()["state"]["status"] == "exited");
    let state = sandbox.inspect()["state"].clone();
    assert_eq!((&state["exit_code"], &state["restart_count"]), (&124.into(), &1.into()), "{state}");
}
