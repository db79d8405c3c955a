//! Python and Node.js with what the SDKs need, and the checkers of types.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::digest::Key;
use crate::packages;
use crate::process::{command, run, step, succeeds};
use crate::project;

/// Brings Python's and Node.js's packages, at the versions that the SDKs' own files pin, to
/// `target/sdk` and `sdk/typescript/node_modules`, and compiles the TypeScript SDK.
///
/// # Errors
/// If a package is missing and cannot be installed.
pub(crate) fn prepare() -> Result<()> {
    packages::ensure(packages::SDK)?;
    npm()?;
    let sdk = project::root().join("sdk");
    let lock = fs::read_to_string(sdk.join("typescript/package-lock.json"))?;
    unless_current(&sdk.join("typescript/node_modules/.monocore"), &lock, || {
        step("packages of the TypeScript SDK", || {
            run(command("npm", ["ci", "--silent", "--ignore-scripts"]).current_dir(sdk.join("typescript")))
        })
    })?;
    let pinned = fs::read_to_string(sdk.join("python/requirements.txt"))?;
    unless_current(&venv().join(".monocore"), &pinned, || {
        step("packages of the Python SDK", || python_packages(&venv(), &sdk.join("python/requirements.txt")))
    })
}

/// Brings the official MCP client to `target/mcp` and the MCP inspector to `target/inspector`, at the
/// versions that the tests pin.
///
/// # Errors
/// If it cannot be installed.
pub(crate) fn mcp_client() -> Result<()> {
    packages::ensure(packages::SDK)?;
    let venv = project::target_dir().join("mcp/venv");
    let requirements = project::root().join("tests/tests/mcp/requirements.txt");
    let pinned = fs::read_to_string(&requirements)?;
    unless_current(&venv.join(".monocore"), &pinned, || {
        step("the MCP client", || python_packages(&venv, &requirements))
    })?;
    node_packages("tests/tests/mcp/inspector", "inspector")
}

/// Brings what drives the browser, and the browser, to `target/browser` and to this machine.
///
/// # Errors
/// If something is missing and cannot be installed.
pub(crate) fn browser() -> Result<()> {
    packages::ensure(packages::BROWSER)?;
    node_packages("tests/tests/host_dashboard", "browser")
}

/// Brings the packages that a lock file of the tests pins to a directory below `target`.
fn node_packages(from: &str, to: &str) -> Result<()> {
    npm()?;
    let (from, to) = (project::root().join(from), project::target_dir().join(to));
    let lock = fs::read_to_string(from.join("package-lock.json"))?;
    unless_current(&to.join("node_modules/.monocore"), &lock, || {
        fs::create_dir_all(&to)?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(from.join(file), to.join(file)).with_context(|| format!("cannot copy {file}"))?;
        }
        let name = format!("packages of {}", from.display());
        step(&name, || run(command("npm", ["ci", "--silent", "--ignore-scripts"]).current_dir(&to)))
    })
}

/// Some packages of Node.js bring npm, Debian's does not.
fn npm() -> Result<()> {
    if succeeds(&mut command("npm", ["--version"])) {
        return Ok(());
    }
    packages::ensure(&["npm"])
}

/// Makes a virtual environment with the packages that a file pins.
fn python_packages(venv: &Path, requirements: &Path) -> Result<()> {
    project::fresh_dir(venv)?;
    run(command("/usr/bin/python3", ["-m", "venv"]).arg(venv))?;
    let options = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"];
    run(Command::new(venv.join("bin/python")).args(options).arg(requirements))
}

/// Does `install` unless it was done for the same text; the note beside it tells.
fn unless_current(note: &Path, text: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let key = Key::new(text).finish();
    if fs::read_to_string(note).is_ok_and(|known| known == key) {
        return Ok(());
    }
    install()?;
    fs::write(note, key).with_context(|| format!("cannot write {}", note.display()))
}

fn venv() -> PathBuf {
    project::target_dir().join("sdk/venv")
}

/// The interpreter with the Python SDK's packages.
pub(crate) fn python() -> PathBuf {
    venv().join("bin/python")
}

/// `mypy --strict` over the Python SDK.
pub(super) fn mypy() -> Command {
    let mut mypy = Command::new(python());
    mypy.args(["-m", "mypy", "--no-error-summary"]).current_dir(project::root().join("sdk/python"));
    mypy
}

/// The TypeScript compiler, which leaves `dist` for tests and packages.
pub(super) fn typescript() -> Result<Command> {
    let sdk = project::root().join("sdk/typescript");
    // What was removed from the sources must not stay.
    project::fresh_dir(&sdk.join("dist"))?;
    let mut tsc = command("npm", ["run", "--silent", "build"]);
    tsc.current_dir(sdk);
    Ok(tsc)
}
