//! A guest that writes without end, and a follower that does not read.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use monocore_tests::world::World;

use crate::support::{Background, ran, until};

/// What a command of another sandbox may take beside a flood; the testbed is slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the log of a sandbox may take on disk: the file that is written to and four that were put aside, of 16 MiB.
const LOG_BYTES: u64 = 5 * (16 << 20);

fn reader(words: &[&str]) -> Child {
    World::get().monocore(words).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_flood_and_a_follower_that_stands_still_hold_up_nobody() {
    let line = "a line that is about as long as lines of programs are wont to be";
    let flood = Background::run("flood", &[], &format!("busybox yes '{line}'"));
    let quiet = Background::run("flood-quiet", &[], "sleep 1000");
    let id = flood.inspect()["id"].as_str().unwrap().to_owned();
    let log = World::get().home().join("sandboxes").join(id).join("log");
    // Nobody reads what it prints.
    let mut stalled = reader(&["logs", "-f", "flood"]);
    for _ in 0..2 {
        let now = || log.join("output.log").metadata().map(|found| (found.ino(), found.len())).ok();
        let seen = now();
        until("lines are kept all the same", || now() != seen);
    }
    let begun = Instant::now();
    assert_eq!(quiet.exec(&[], "echo here").out(), "here\n");
    assert_eq!(flood.exec(&[], "echo there").out(), "there\n");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let mut attached = reader(&["attach", "flood"]);
    let mut lines = vec![0; 10 * (line.len() + 1)];
    attached.stdout.as_mut().unwrap().read_exact(&mut lines).unwrap();
    assert!(String::from_utf8(lines).unwrap().contains(&format!("\n{line}\n")));
    let files = std::fs::read_dir(log).unwrap();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= LOG_BYTES, "{bytes}");
    assert_eq!(ran(&[&["stop", "-t", "2", "flood"]]).code, 0);
    for follower in [&mut stalled, &mut attached] {
        follower.kill().unwrap();
        follower.wait().unwrap();
    }
}
