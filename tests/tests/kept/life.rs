//! From `create` to `rm`.

use monocore_tests::wait::eventually;
use monocore_tests::world::{PLAIN, World};

use crate::support::{Background, ran};

#[test]
fn a_sandbox_keeps_its_disk_from_start_to_start() {
    let sandbox = Background::run("life-disk", &[], "cat /kept 2>/dev/null; echo started; sleep 1000");
    assert_eq!(sandbox.inspect()["state"]["status"], "running");
    assert_eq!(sandbox.exec(&[], "echo precious > /kept").code, 0);
    assert_eq!(ran(&[&["stop", "life-disk"]]).out(), "life-disk\n");
    let state = sandbox.inspect()["state"].clone();
    assert_eq!((&state["status"], &state["exit_code"]), (&"exited".into(), &143.into()));
    assert_eq!(sandbox.exec(&[], "true").code, 125);
    ran(&[&["start", "life-disk"]]).out();
    eventually("the command wrote and started", || {
        ran(&[&["logs", "life-disk"]]).out().contains("precious\nstarted\n")
    });
    ran(&[&["restart", "-t", "0", "life-disk"]]).out();
    assert_eq!(sandbox.exec(&[], "cat /kept").out(), "precious\n");
    let refused = ran(&[&["rm", "life-disk"]]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("is running: stop it first"), "{refused:?}");
}

#[test]
fn what_a_command_says_and_how_it_ends_is_kept() {
    let _sandbox = Background::run("life-logs", &[], "echo one; echo two >&2; printf three; exit 7");
    let _other = Background::run("life-tail", &[], "echo a; echo b; echo c");
    assert_eq!(ran(&[&["wait", "life-logs", "life-tail"]]).out(), "7\n0\n");
    let logs = ran(&[&["logs", "-f", "life-logs"]]);
    assert_eq!((logs.out(), logs.stderr.as_str()), ("one\nthree", "two\n"));
    let tail = ran(&[&["logs", "--tail", "2", "life-tail"]]);
    assert_eq!(tail.out(), "b\nc\n");
    let listed = ran(&[&["ps", "-a", "--filter", "name=life-logs"]]);
    assert!(listed.out().contains("Exited (7)"), "{listed:?}");
    assert!(!ran(&[&["ps"]]).out().contains("life-logs"));
}

#[test]
fn a_follower_sees_every_line_once_until_the_end() {
    let script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; sleep 1";
    let _sandbox = Background::run("life-follow", &[], script);
    let lines: String = (0..3000).map(|number| format!("line {number}\n")).collect();
    assert!(ran(&[&["logs", "-f", "life-follow"]]).out() == lines);
}

#[test]
fn create_makes_and_start_runs() {
    let made = ran(&[&["create", "--name", "life-made", "-m", "128m", PLAIN, "sh", "-c", "echo ran"]]);
    let id = made.out().trim().to_owned();
    assert!(ran(&[&["ps", "-a"]]).out().contains("Created"));
    assert_eq!(ran(&[&["start", &id[..6]]]).out().trim(), &id[..6]);
    assert_eq!(ran(&[&["wait", "life-made"]]).out(), "0\n");
    assert_eq!(ran(&[&["logs", &id]]).out(), "ran\n");
    let taken = ran(&[&["create", "--name", "life-made", PLAIN, "true"]]);
    assert_eq!(taken.code, 125);
    assert!(taken.stderr.contains(&id), "{taken:?}");
    ran(&[&["rm", "life-made"]]).out();
    assert_eq!(ran(&[&["rm", "life-made"]]).code, 1);
    assert_eq!(ran(&[&["inspect", "life-made"]]).code, 1);
}

#[test]
fn what_cannot_start_is_told_with_dockers_codes() {
    for (program, code) in [("/nonexistent", 127), ("/etc", 126)] {
        let started = ran(&[&["run", "-d", "--name", "life-bad", "-m", "128m", PLAIN, program]]);
        assert_eq!(started.code, code, "{started:?}");
        assert!(started.stderr.contains(program), "{started:?}");
        ran(&[&["rm", "life-bad"]]).out();
    }
}

#[test]
fn rm_goes_with_the_command_where_it_was_asked_for() {
    let started = ran(&[&["run", "-d", "--rm", "--name", "life-rm", "-m", "128m", PLAIN, "sleep", "1000"]]);
    let id = started.out().trim().to_owned();
    ran(&[&["kill", "life-rm"]]).out();
    let directory = World::get().home().join("sandboxes").join(id);
    eventually("its directory is gone", || !directory.exists());
    assert_eq!(ran(&[&["inspect", "life-rm"]]).code, 1);
}

#[test]
fn a_command_that_ignores_the_signal_is_killed_after_its_grace() {
    let sandbox =
        Background::run("life-stubborn", &[], "trap '' TERM; echo ready; while :; do sleep 1; done");
    eventually("the command is ready", || ran(&[&["logs", "life-stubborn"]]).out().contains("ready"));
    ran(&[&["stop", "-t", "1", "life-stubborn"]]).out();
    assert_eq!(sandbox.inspect()["state"]["exit_code"], 137);
}
