//! The Python SDK.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::programs::{assert_gone, checkout, cycles, program, start, succeed};

fn python() -> Command {
    let mut python = program(&checkout("target/sdk/venv/bin/python"));
    python.env("PYTHONPATH", checkout("sdk/python/src")).env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

#[test]
fn the_examples_of_the_python_guide_print_what_it_says() {
    let mut guide = python();
    guide.arg(checkout("sdk/python/tests/guide.py")).arg(checkout("docs/guide/python.md"));
    succeed(guide);
}

#[test]
fn a_python_program_that_is_killed_leaves_no_sandbox() {
    let script = "import time\nfrom monocore import SyncSandbox\n\
                  with SyncSandbox('python:3.12', memory='128m', name='python-NAME') as sb:\n\
                  \x20   print(sb.exec(['echo', 'ready']).stdout, end='', flush=True)\n\
                  \x20   sb.exec(['sleep', '1000'])";
    for (name, signal) in [("killed", Signal::KILL), ("interrupted", Signal::INT)] {
        let mut command = python();
        command.arg("-c").arg(script.replace("NAME", name));
        let mut program = start(command);
        kill_process(Pid::from_child(&program), signal).unwrap();
        assert!(!program.wait().unwrap().success());
        assert_gone(&format!("python-{name}"));
    }
}

#[test]
fn sandboxes_that_python_makes_uses_and_kills_leave_nothing() {
    let mut command = python();
    command.arg(checkout("sdk/python/tests/cycles.py")).args([cycles(), "python:3.12"]);
    succeed(command);
}
