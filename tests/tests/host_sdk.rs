//! The SDKs' own tests, which need no guest, against the binary under test.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use std::path::{Path, PathBuf};
use std::process::Command;

use monocore_tests::world::binary;

fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

#[track_caller]
fn succeed(command: &mut Command) {
    command.env("MONOCORE_BINARY", binary()).env_remove("MONOCORE_URL").env_remove("MONOCORE_TOKEN");
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
