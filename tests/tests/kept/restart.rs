//! Restart policies.

use rustix::process::{Signal, kill_process};

use crate::support::{Background, machine, ran, supervisor, until};

/// Counts its runs in a file of the disk that is kept.
const COUNT: &str = "echo run >> /runs; echo run $(wc -l < /runs)";

#[test]
fn failures_are_retried_so_often_on_the_same_disk() {
    let script = format!("{COUNT}; exit 3");
    let sandbox = Background::run("restart-failure", &["--restart", "on-failure:2"], &script);
    until("the last retry", || sandbox.inspect()["state"]["status"] == "exited");
    let state = sandbox.inspect()["state"].clone();
    assert_eq!((&state["exit_code"], &state["restart_count"]), (&3.into(), &2.into()));
    assert_eq!(ran(&[&["logs", "restart-failure"]]).out(), "run 1\nrun 2\nrun 3\n");
    let listed = ran(&[&["ps", "-a", "--filter", "name=restart-failure"]]);
    assert!(listed.out().contains("Exited (3)"), "{listed:?}");
}

#[test]
fn success_is_no_failure() {
    let sandbox = Background::run("restart-success", &["--restart", "on-failure"], COUNT);
    until("the end", || sandbox.inspect()["state"]["status"] == "exited");
    assert_eq!(sandbox.inspect()["state"]["restart_count"], 0);
}

#[test]
fn a_restarting_sandbox_is_shown_asked_and_stopped() {
    let sandbox = Background::run("restart-loop", &["--restart", "always"], &format!("{COUNT}; exit 1"));
    // The delays double, so sooner or later one is long enough to be seen.
    until("a listing between two runs", || {
        let listed = ran(&[&["ps", "--filter", "status=restarting", "--filter", "name=restart-loop"]]);
        listed.out().contains("Restarting (1)")
    });
    assert_eq!(ran(&[&["wait", "restart-loop"]]).out(), "1\n", "the next run's end");
    until("a refusal between two runs", || sandbox.exec(&[], "true").stderr.contains("it is restarting"));
    assert_eq!(ran(&[&["stop", "restart-loop"]]).out(), "restart-loop\n");
    let state = sandbox.inspect()["state"].clone();
    assert_eq!((&state["status"], &state["is_stopped"]), (&"exited".into(), &true.into()));
    ran(&[&["start", "restart-loop"]]).out();
    let state = sandbox.inspect()["state"].clone();
    assert_eq!(state["is_stopped"], false, "{state}");
    ran(&[&["rm", "-f", "restart-loop"]]).out();
}

#[test]
fn a_machine_that_is_killed_comes_back_with_its_ports_and_disk() {
    let flags = ["--restart", "always", "-p", "127.0.0.1:0:80"];
    let sandbox = Background::run("restart-machine", &flags, "echo up; sleep 1000");
    assert_eq!(sandbox.exec(&[], "echo precious > /kept; sync").code, 0);
    let ports = ran(&[&["port", "restart-machine"]]).out().to_owned();
    kill_process(machine(supervisor(&sandbox)), Signal::KILL).unwrap();
    until("the restart", || {
        let state = sandbox.inspect()["state"].clone();
        state["restart_count"] == 1 && state["status"] == "running"
    });
    assert_eq!(sandbox.exec(&[], "cat /kept").out(), "precious\n");
    assert_eq!(ran(&[&["port", "restart-machine"]]).out(), ports);
    // Another signal than the stop signal does not end it for good, the stop signal does.
    for (signal, status, restarts) in [("INT", "running", 2), ("TERM", "exited", 2)] {
        ran(&[&["kill", "-s", signal, "restart-machine"]]).out();
        until(status, || {
            let state = sandbox.inspect()["state"].clone();
            state["status"] == status && state["restart_count"] == restarts
        });
    }
    assert_eq!(sandbox.inspect()["state"]["is_stopped"], true);
}

#[test]
fn what_cannot_be_restarted_is_refused() {
    let removed = ran(&[&["run", "-d", "--rm", "--restart", "always", "test/plain:latest", "true"]]);
    assert_eq!(removed.code, 125);
    assert!(removed.stderr.contains("--restart and --rm"), "{removed:?}");
    let front = ran(&[&["run", "--restart", "always", "test/plain:latest", "true"]]);
    assert_eq!(front.code, 125);
    assert!(front.stderr.contains("--detach"), "{front:?}");
}
