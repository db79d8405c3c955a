//! `monocore net tail`: what a sandbox's network lets through and what not, while it runs.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use monocore_tests::world::{PLAIN, Ran, World};

use crate::running::Running;

/// Tries, again and again, to reach what no sandbox may.
const TRY: &str =
    "echo ready; while :; do busybox nc -w 1 192.168.7.1 9 </dev/null 2>/dev/null; sleep 0.2; done";

fn tail(words: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = World::get().monocore([&["net", "tail"], words].concat());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    (child, BufReader::new(stdout).lines())
}

#[test]
fn decisions_are_followed_until_the_sandbox_ends() {
    for (name, network) in [("tail-nat", "nat"), ("tail-tsi", "tsi")] {
        let running = Running::start(&["--name", name, "--network", network, PLAIN, "sh", "-c", TRY]);
        let (mut raw, mut lines) = tail(&[name, "--format", "json"]);
        for _ in 0..3 {
            let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            assert_eq!((&line["decision"], &line["port"]), (&"deny".into(), &9.into()), "{line}");
        }
        let (mut shown, mut text) = tail(&[name]);
        let line = text.next().unwrap().unwrap();
        assert!(line.contains("deny  out tcp  192.168.7.1:9: private address"), "{line}");
        drop(running);
        // To their ends.
        assert!(lines.all(|line| line.is_ok()) && text.all(|line| line.is_ok()));
        for follower in [&mut raw, &mut shown] {
            assert_eq!(follower.wait().unwrap().code(), Some(0));
        }
    }
}

#[test]
fn a_log_of_the_users_is_followed_and_none_is_told() {
    let world = World::get();
    let log = world.path("followed.jsonl");
    std::fs::write(&log, "{\"time_ms\":0,\"skipped\":1}\n").unwrap();
    let flags = ["--name", "logged", "--net-log", log.to_str().unwrap()];
    let running = Running::start(&[&flags[..], &[PLAIN, "sh", "-c", TRY]].concat());
    let (mut child, mut lines) = tail(&["logged", "--format", "json"]);
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains("192.168.7.1"), "what was there before is not this run's: {line}");
    drop((running, lines));
    child.wait().unwrap();
    let _alone =
        Running::start(&["--name", "untailed", "--no-net", PLAIN, "sh", "-c", "echo ready; sleep 100"]);
    for (name, why) in
        [("untailed", "sandbox untailed has no receipts"), ("nobody", "no such sandbox: nobody")]
    {
        let refused: Ran = world.monocore(["net", "tail", name]).output().unwrap().into();
        assert!(refused.code == 1 && refused.stderr.contains(why), "{refused:?}");
    }
}
