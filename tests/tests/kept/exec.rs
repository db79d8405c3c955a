//! `exec` in a running sandbox.

use std::io::Write;
use std::process::Stdio;

use monocore_tests::wait::eventually;
use monocore_tests::world::{PLAIN, World};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Background, ran};

#[test]
fn exec_answers_with_streams_codes_and_settings() {
    let sandbox = Background::run("exec-one", &["-e", "A=1", "-w", "/tmp"], "sleep 1000");
    let out = sandbox.exec(&[], "echo out; echo err >&2; exit 3");
    assert_eq!((out.code, out.stdout.as_str(), out.stderr.as_str()), (3, "out\n", "err\n"));
    assert_eq!(sandbox.exec(&[], "echo $A $B $PWD").out(), "1 /tmp\n");
    let other = sandbox
        .exec(&["-e", "A=2", "-e", "B=x y", "-w", "/bin", "-u", "12:34"], "echo $A $B $PWD; id -u; id -g");
    assert_eq!(other.out(), "2 x y /bin\n12\n34\n");
    assert_eq!(sandbox.exec(&[], "kill -9 $$").code, 137);
    assert_eq!(ran(&[&["exec", "exec-one", "/nonexistent"]]).code, 127);
    assert_eq!(ran(&[&["exec", "exec-one", "/etc"]]).code, 126);
    // Options of the command are its own.
    assert_eq!(ran(&[&["exec", "exec-one", "echo", "-n", "--", "-d"]]).out(), "-- -d");
}

#[test]
fn exec_carries_bytes_as_they_are() {
    let _sandbox = Background::run("exec-bytes", &[], "sleep 1000");
    let bytes: Vec<u8> =
        (0..3_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut child = World::get()
        .monocore(["exec", "-i", "exec-bytes", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    assert!(output.stdout == bytes, "{} bytes came back", output.stdout.len());
}

#[test]
fn commands_run_side_by_side_and_end_with_their_client() {
    let sandbox = Background::run("exec-many", &[], "sleep 1000");
    let spawn = |script: &str| {
        World::get()
            .monocore(["exec", "exec-many", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..8).map(|number| spawn(&format!("sleep 0.2; echo {number}"))).collect();
    for (number, child) in children.into_iter().enumerate() {
        assert_eq!(child.wait_with_output().unwrap().stdout, format!("{number}\n").into_bytes());
    }
    let mut client = spawn("echo $$ > /tmp/pid; sleep 997 & wait");
    eventually("the command runs", || sandbox.exec(&[], "ps").stdout.contains("sleep 997\n"));
    kill_process(Pid::from_child(&client), Signal::KILL).unwrap();
    client.wait().unwrap();
    eventually("the command is gone", || !sandbox.exec(&[], "ps").out().contains("sleep 997"));
    assert_eq!(sandbox.exec(&["-d"], "echo $$ > /tmp/detached; sleep 996").out(), "");
    eventually("the detached command wrote", || sandbox.exec(&[], "test -s /tmp/detached").code == 0);
    assert_eq!(sandbox.exec(&[], "kill -0 $(cat /tmp/detached)").code, 0, "it outlives its client");
}

#[test]
fn a_foreground_sandbox_can_be_entered_too() {
    let mut child = World::get()
        .run_command(["--name", "exec-front", PLAIN, "sleep", "1000"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("commands can be started", || ran(&[&["exec", "exec-front", "true"]]).code == 0);
    assert!(ran(&[&["ps"]]).out().contains("exec-front"));
    assert_eq!(ran(&[&["stop", "exec-front"]]).out(), "exec-front\n");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let gone = ran(&[&["exec", "exec-front", "true"]]);
    assert_eq!(gone.code, 125);
    assert!(gone.stderr.contains("no such sandbox: exec-front"), "{gone:?}");
}
