//! `attach`, `start -a`, and the keys that leave a command.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use monocore_tests::typist::Typist;
use monocore_tests::wait::eventually;
use monocore_tests::world::{PLAIN, World};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Background, ran};

fn piped(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Reads until `text` has come.
fn read_until(child: &mut Child, text: &str) {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&seen).contains(text) {
        assert_eq!(child.stdout.as_mut().unwrap().read(&mut byte).unwrap(), 1, "{seen:?}");
        seen.push(byte[0]);
    }
}

#[test]
fn several_clients_see_the_same_and_type_to_one_command() {
    let script = "echo early; while read line; do echo got $line; echo err $line >&2; \
                  [ $line = end ] && exit 9; done";
    let _sandbox = Background::run("attach-many", &["-i"], script);
    eventually("the first line is logged", || ran(&[&["logs", "attach-many"]]).out().contains("early"));
    let attach = || piped(World::get().monocore(["attach", "attach-many"]));
    let (mut first, mut second) = (attach(), attach());
    // Only what comes from here on is shown, so both are there once both have seen something.
    let mut typed = first.stdin.take().unwrap();
    let mut watcher = piped(World::get().monocore(["attach", "--no-stdin", "attach-many"]));
    for child in [&mut first, &mut second, &mut watcher] {
        std::thread::scope(|scope| {
            let seen = scope.spawn(|| read_until(child, "got a\n"));
            while !seen.is_finished() {
                typed.write_all(b"a\n").unwrap();
                std::thread::sleep(Duration::from_millis(200));
            }
        });
    }
    second.stdin.take().unwrap().write_all(b"b\n").unwrap();
    read_until(&mut first, "got b\n");
    typed.write_all(b"end\n").unwrap();
    for child in [first, second, watcher] {
        let output = child.wait_with_output().unwrap();
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(9), "{err}");
        assert!(out.ends_with("got end\n") && err.ends_with("err end\n"), "{out} {err}");
    }
}

#[test]
fn signals_are_passed_on_unless_they_are_the_clients_own() {
    let script = "trap 'echo interrupted; exit 6' INT; echo ready; while :; do echo tick; sleep 0.1; done";
    let sandbox = Background::run("attach-signal", &[], script);
    let signal = |flags: &[&str]| {
        let mut child = piped(World::get().monocore([&["attach"], flags, &["attach-signal"]].concat()));
        read_until(&mut child, "tick");
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(signal(&["--sig-proxy=false"]).0, Some(130));
    assert_eq!(sandbox.inspect()["state"]["status"], "running");
    let (code, out) = signal(&[]);
    assert!(code == Some(6) && out.contains("interrupted"), "{code:?} {out}");
    let refused = ran(&[&["attach", "attach-signal"]]);
    assert_eq!((refused.code, refused.stderr.contains("is not running")), (1, true));
}

#[test]
fn the_keys_leave_a_command_that_runs_on() {
    let _sandbox = Background::run("attach-keys", &["-it"], "while read line; do echo got $line; done");
    let mut typist = Typist::start(24, 80, &["attach", "attach-keys"]);
    typist.wait_for("");
    typist.type_in("one\n");
    typist.wait_for("got one\r\n");
    typist.type_in("\x10\x11");
    typist.wait_for("read escape sequence");
    assert_eq!(typist.end(), 1);
    let mut typist = Typist::start(24, 80, &["attach", "--detach-keys", "ctrl-a,d", "attach-keys"]);
    typist.type_in("two\n");
    typist.wait_for("got two\r\n");
    typist.type_in("\x01d");
    typist.wait_for("read escape sequence");

    let script = "read line; echo got $line; i=0; while [ $i -lt 20000 ]; do echo much output; i=$((i+1)); done; \
                  echo $line > /left; sleep 995";
    let mut typist = Typist::start(24, 80, &["exec", "-it", "attach-keys", "sh", "-c", script]);
    typist.type_in("three\n");
    typist.wait_for("got three\r\n");
    typist.type_in("\x10\x11");
    assert_eq!(typist.end(), 0);
    // It is not held up by output that nobody reads, and does not end with its client.
    eventually("the keys were taken", || ran(&[&["exec", "attach-keys", "test", "-s", "/left"]]).code == 0);
    assert!(ran(&[&["top", "attach-keys"]]).out().contains("sleep 995"));
}

#[test]
fn start_stays_with_the_command_where_it_is_asked_to() {
    let made = ran(&[&[
        "create",
        "-i",
        "--name",
        "attach-start",
        "-m",
        "128m",
        PLAIN,
        "sh",
        "-c",
        "read line; echo got $line; exit 3",
    ]]);
    made.out();
    let mut child = piped(World::get().monocore(["start", "-ai", "attach-start"]));
    child.stdin.take().unwrap().write_all(b"x\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(3), &b"got x\n"[..]));
    ran(&[&["rm", "attach-start"]]).out();
}
