//! Standard streams without a terminal.

use std::io::{Read, Write};
use std::process::Stdio;

use monocore_tests::world::{PLAIN, World};
use sha2::{Digest, Sha256};

const MIB: usize = 1 << 20;

#[test]
fn a_hundred_megabytes_pass_through_unchanged() {
    let world = World::get();
    let mut child =
        world.run_command(["-i", PLAIN, "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        let mut sent = Sha256::new();
        let mut state = 1u64;
        for _ in 0..100 {
            let block: Vec<u8> = std::iter::repeat_with(|| xorshift(&mut state).to_le_bytes())
                .take(MIB / 8)
                .flatten()
                .collect();
            sent.update(&block);
            stdin.write_all(&block).unwrap();
        }
        sent.finalize()
    });
    let mut received = Sha256::new();
    let mut stdout = child.stdout.take().unwrap();
    let mut buffer = vec![0; MIB];
    let mut total = 0;
    loop {
        match stdout.read(&mut buffer).unwrap() {
            0 => break,
            count => {
                total += count;
                received.update(&buffer[..count]);
            }
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(total, 100 * MIB);
    assert_eq!(feeder.join().unwrap(), received.finalize());
}

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn output_and_diagnostics_stay_apart() {
    let ran = World::get().script(&[], "echo out; echo err >&2; test -t 0 || test -t 1 || echo no terminal");
    assert_eq!((ran.out(), ran.stderr.as_str()), ("out\nno terminal\n", "err\n"));
}

#[test]
fn standard_input_is_empty_unless_asked_for() {
    let world = World::get();
    let run = |flags: &[&str]| {
        let mut child = world
            .run_command([flags, &[PLAIN, "cat"]].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Without -i nobody reads it.
        let _ = child.stdin.take().unwrap().write_all(b"typed");
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    assert_eq!(run(&[]), "");
    assert_eq!(run(&["-i"]), "typed");
}

#[test]
fn a_reader_that_goes_away_ends_the_writer() {
    let world = World::get();
    let mut child = world
        .run_command([PLAIN, "sh", "-c", "while :; do echo y; done"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 2];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    assert_eq!(&first, b"y\n");
    assert_ne!(child.wait().unwrap().code(), Some(0));
}
