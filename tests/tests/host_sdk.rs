//! The SDKs' own tests, which need no guest, against the binary under test.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use std::path::{Path, PathBuf};
use std::process::Command;

use monocore_tests::world::{PLAIN, World, binary};

fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

#[track_caller]
fn succeed(command: &mut Command) {
    succeed_with(command.env("MONOCORE_BINARY", binary()));
}

#[track_caller]
fn succeed_with(command: &mut Command) {
    command.env_remove("MONOCORE_URL").env_remove("MONOCORE_TOKEN");
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn the_python_package_passes_its_tests() {
    let mut python = Command::new(checkout("target/sdk/venv/bin/python"));
    python.args(["-W", "error::ResourceWarning", "-m", "unittest", "discover", "-s", "tests"]);
    python.env("PYTHONPATH", checkout("sdk/python/src")).env("PYTHONDONTWRITEBYTECODE", "1");
    succeed(python.current_dir(checkout("sdk/python")));
}

#[test]
fn the_typescript_package_passes_its_tests() {
    let mut node = Command::new("node");
    succeed(node.args(["--test", "dist/test/"]).current_dir(checkout("sdk/typescript")));
}

/// Makes, uses and kills sandboxes whose machines are played: all 900 only where
/// `MONOCORE_TEST_LONG` is set.
#[track_caller]
fn cycles(program: impl AsRef<Path>, script: &str) {
    let turns = if std::env::var_os("MONOCORE_TEST_LONG").is_some() { "900" } else { "40" };
    let mut cycles = Command::new(program.as_ref());
    cycles.arg(checkout(script)).args([turns, PLAIN]);
    cycles.env("PYTHONPATH", checkout("sdk/python/src")).env("PYTHONDONTWRITEBYTECODE", "1");
    cycles.env("MONOCORE_HOME", World::get().home());
    succeed_with(cycles.env("MONOCORE_BINARY", env!("CARGO_BIN_EXE_stand-in")));
}

#[test]
fn sandboxes_that_python_makes_uses_and_kills_leave_nothing() {
    cycles(checkout("target/sdk/venv/bin/python"), "sdk/python/tests/cycles.py");
}

#[test]
fn sandboxes_that_typescript_makes_uses_and_kills_leave_nothing() {
    cycles("node", "sdk/typescript/scripts/cycles.mjs");
}
