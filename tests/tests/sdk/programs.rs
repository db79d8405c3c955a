//! Programs that use an SDK, started as a user starts them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use monocore_tests::world::{World, binary};

use crate::image;

/// A file of the checkout.
pub(crate) fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

/// A program with the SDKs' surroundings: the binary under test, and a state directory with the
/// image.
pub(crate) fn program(path: &Path) -> Command {
    image::load();
    assert!(path.exists(), "{} is missing: run `cargo xtask sdk`", path.display());
    let mut command = Command::new(path);
    command.env("MONOCORE_HOME", World::get().home()).env("MONOCORE_BINARY", binary()).stdin(Stdio::null());
    command
}

/// How many sandboxes each SDK makes one after the other: all 50 only where `MONOCORE_TEST_LONG` is
/// set.
pub(crate) fn cycles() -> &'static str {
    if std::env::var_os("MONOCORE_TEST_LONG").is_some() { "50" } else { "4" }
}

/// Runs a program to its end, which must be a success.
#[track_caller]
pub(crate) fn succeed(mut command: Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// Starts a program and waits until it says `ready`.
#[track_caller]
pub(crate) fn start(mut command: Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

/// Fails unless no sandbox of this name is left within a minute.
#[track_caller]
pub(crate) fn assert_gone(name: &str) {
    let began = Instant::now();
    loop {
        let listed = World::get().monocore(["ps", "-a", "--format", "json"]).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        if !listed.contains(name) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{listed}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
