//! A pull in a process of its own, for what is read from the environment.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use monocore_oci::{PullOptions, Reference, Silent, Store};

/// What the child is told: reference, store, mirror of the reference's registry.
const TOLD: &str = "MONOCORE_OCI_TEST_PULL";

/// Pulls `reference` into a store at `home`, and says `taken` or the error's text. The test binary has a test called
/// `child` that prints what [`pull`] says.
pub(crate) fn pull_apart(
    reference: &str,
    home: &Path,
    mirror: Option<&str>,
    environment: &[(&str, &OsStr)],
) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(TOLD, format!("{reference} {} {}", home.display(), mirror.unwrap_or_default()))
        // Whoever runs the tests has registries of their own.
        .env("DOCKER_CONFIG", home)
        .env("XDG_CONFIG_HOME", home)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let result = text.lines().find_map(|line| line.split_once("RESULT "));
    result.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr))).1.to_owned()
}

/// The child's part: what it shall print. Nothing unless [`pull_apart`] started it.
pub(crate) fn pull() -> Option<String> {
    let told = std::env::var(TOLD).ok()?;
    let mut told = told.split(' ');
    let reference: Reference = told.next().unwrap().parse().unwrap();
    let store = Store::open(told.next().unwrap()).unwrap();
    let mut options = PullOptions::default();
    if let Some(mirror) = told.next().filter(|mirror| !mirror.is_empty()) {
        options.registry.mirrors.insert(reference.registry().to_owned(), vec![mirror.to_owned()]);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let result = runtime.block_on(store.pull(&reference, &options, &Silent));
    Some(format!("RESULT {}", result.map_or_else(|error| error.to_string(), |_| "taken".into())))
}
