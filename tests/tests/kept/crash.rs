//! Sudden ends: of the supervisor, of the machine.

use std::path::PathBuf;

use monocore_tests::wait::eventually;
use monocore_tests::world::World;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Background, machine, ran, supervisor, until};

#[test]
fn a_host_that_shuts_down_stops_a_sandbox_in_order() {
    let sandbox = Background::run(
        "crash-shutdown",
        &["--restart", "unless-stopped"],
        "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.2; done",
    );
    until("ready", || ran(&[&["logs", "crash-shutdown"]]).out().contains("ready"));
    let supervisor = supervisor(&sandbox);
    // As systemd does: to all processes at once.
    for process in [machine(supervisor), supervisor] {
        kill_process(process, Signal::TERM).unwrap();
    }
    until("the end", || !process(supervisor).exists());
    let state = sandbox.inspect()["state"].clone();
    assert_eq!((&state["exit_code"], &state["is_stopped"]), (&7.into(), &false.into()), "{state}");
    assert!(ran(&[&["logs", "crash-shutdown"]]).out().contains("bye"));
    // At the next boot it comes back; one that the user stopped does not.
    assert!(ran(&[&["self", "start-restartable"]]).out().contains("crash-shutdown\n"));
    assert_eq!(sandbox.inspect()["state"]["status"], "running");
    ran(&[&["stop", "-t", "0", "crash-shutdown"]]).out();
    assert!(!ran(&[&["self", "start-restartable"]]).out().contains("crash-shutdown"));
}

fn process(pid: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{}/exe", pid.as_raw_nonzero()))
}

#[test]
fn a_killed_supervisor_takes_its_machine_along_and_loses_nothing() {
    let sandbox = Background::run("crash-supervisor", &[], "sleep 1000");
    assert_eq!(sandbox.exec(&[], "echo precious > /kept; sync").code, 0);
    let supervisor = supervisor(&sandbox);
    let machine = machine(supervisor);
    kill_process(supervisor, Signal::KILL).unwrap();
    eventually("machine and supervisor are gone", || {
        !process(machine).exists() && !process(supervisor).exists()
    });
    let state = sandbox.inspect()["state"].clone();
    assert_eq!((&state["status"], &state["exit_code"]), (&"exited".into(), &137.into()));
    assert!(ran(&[&["ps", "-a"]]).out().contains("Exited (137)"));
    let id = sandbox.inspect()["id"].as_str().unwrap().to_owned();
    assert!(!World::get().home().join("run").join(id).exists(), "its run directory is removed");
    ran(&[&["start", "crash-supervisor"]]).out();
    assert_eq!(sandbox.exec(&[], "cat /kept").out(), "precious\n");
}

#[test]
fn a_killed_machine_is_told_and_can_be_started_again() {
    let sandbox = Background::run("crash-machine", &[], "sleep 1000");
    assert_eq!(sandbox.exec(&[], "echo precious > /kept; sync").code, 0);
    kill_process(machine(supervisor(&sandbox)), Signal::KILL).unwrap();
    assert_eq!(ran(&[&["wait", "crash-machine"]]).out(), "125\n");
    assert!(sandbox.inspect()["state"]["error"].as_str().unwrap().contains("virtual machine"));
    ran(&[&["start", "crash-machine"]]).out();
    assert_eq!(sandbox.exec(&[], "cat /kept").out(), "precious\n");
}
