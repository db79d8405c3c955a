//! The test programs of the workspace, compiled, and where each of them runs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::project;

/// Where a test program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// On this machine.
    Host,
    /// In the testbed, where KVM works.
    Testbed,
}

/// A compiled test program.
pub(super) struct TestTarget {
    /// The package and the target in it.
    pub(super) name: String,
    /// The program.
    pub(super) path: PathBuf,
    /// Where it runs.
    pub(super) place: Place,
    /// The package's folder, which is a test's working folder.
    folder: PathBuf,
}

impl TestTarget {
    /// A command that runs it as `cargo test` would.
    pub(super) fn command(&self, filter: Option<&str>) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command.args(filter);
        command
    }
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    manifest_path: Option<PathBuf>,
    executable: Option<PathBuf>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Compiles all tests of the workspace.
pub(super) fn build() -> Result<Vec<TestTarget>> {
    let mut cargo = project::cargo();
    cargo.args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the tests do not compile");
    }
    let text = String::from_utf8(output.stdout).context("cargo's messages are no UTF-8")?;
    let mut targets = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let message: Message = serde_json::from_str(line).context("cargo says something unexpected")?;
        targets.extend(target(message));
    }
    Ok(targets)
}

fn target(message: Message) -> Option<TestTarget> {
    let is_test = message.reason == "compiler-artifact" && message.profile?.test;
    let (target, path) = (message.target?, message.executable?);
    if !is_test {
        return None;
    }
    let folder = message.manifest_path?.parent()?.to_path_buf();
    let package = folder.strip_prefix(project::root()).ok()?.display().to_string();
    let integration = target.kind.iter().any(|kind| kind == "test");
    Some(TestTarget {
        name: format!("{package} {}", target.name),
        path,
        place: place(&package, &target.name, integration),
        folder,
    })
}

fn place(package: &str, target: &str, integration: bool) -> Place {
    let whole_system =
        package == "tests" && !["host_", "vhost_user"].iter().any(|name| target.starts_with(name));
    if integration && (whole_system || target.starts_with("kvm")) { Place::Testbed } else { Place::Host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_kvm_runs_in_the_testbed() {
        assert_eq!(place("tests", "run", true), Place::Testbed);
        assert_eq!(place("tests", "vhost_user_fs", true), Place::Host);
        assert_eq!(place("tests", "monocore_tests", false), Place::Host);
        assert_eq!(place("kvm", "kvm_boot", true), Place::Testbed);
        assert_eq!(place("oci", "registry", true), Place::Host);
    }
}
