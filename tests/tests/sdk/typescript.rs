//! The TypeScript SDK.

use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::programs::{assert_gone, checkout, cycles, program, start, succeed};

const DIST: &str = "sdk/typescript/dist";

fn node() -> Command {
    program(Path::new("/usr/bin/node"))
}

#[test]
fn the_examples_of_the_typescript_guide_print_what_it_says() {
    let mut examples: Vec<_> = std::fs::read_dir(checkout(DIST).join("guide"))
        .unwrap_or_else(|error| panic!("run `cargo xtask sdk`: {error}"))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "js"))
        .collect();
    examples.sort();
    assert!(examples.len() > 5, "{examples:?}");
    for example in examples {
        let mut node = node();
        node.arg(&example);
        succeed(node);
        eprintln!("{} printed what the guide says", example.display());
    }
}

#[test]
fn a_node_program_that_is_killed_leaves_no_sandbox() {
    let script = "const { Sandbox } = await import(process.argv[1]);\n\
                  const sb = await Sandbox.open('python:3.12', { memory: '128m', name: process.argv[2] });\n\
                  process.stdout.write((await sb.exec(['echo', 'ready'])).stdout);\n\
                  await sb.exec(['sleep', '1000']);";
    for (name, signal) in [("node-killed", Signal::KILL), ("node-interrupted", Signal::INT)] {
        let mut command = node();
        command.args(["--input-type=module", "-e", script]);
        command.arg(checkout(DIST).join("src/index.js")).arg(name);
        let mut program = start(command);
        kill_process(Pid::from_child(&program), signal).unwrap();
        assert!(!program.wait().unwrap().success());
        assert_gone(name);
    }
}

#[test]
fn sandboxes_that_typescript_makes_uses_and_kills_leave_nothing() {
    let mut command = node();
    command.arg(checkout("sdk/typescript/scripts/cycles.mjs")).args([cycles(), "python:3.12"]);
    succeed(command);
}
