//! `cargo xtask dist`: what is published, in `target/dist`: the Python wheel and the npm package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::digest::sha256_file;
use crate::process::{command, output, run as run_command, step};
use crate::project;
use crate::sdk;

/// The command of this name.
pub(crate) fn run() -> Result<()> {
    sdk::check_generated()?;
    sdk::check_types()?;
    let dist = project::target_dir().join("dist");
    project::fresh_dir(&dist)?;
    let sdk = project::root().join("sdk");
    let wheel = step("Python wheel", || wheel(&sdk.join("python"), &dist))?;
    let package = step("npm package", || package(&sdk.join("typescript"), &dist))?;
    for path in [wheel, package] {
        eprintln!("{}  {}", sha256_file(&path)?, path.display());
    }
    Ok(())
}

/// The same sources give the same bytes: hatchling and npm write fixed times.
fn wheel(sdk: &Path, dist: &Path) -> Result<PathBuf> {
    with_licence(sdk, || {
        let mut build = Command::new(sdk::python());
        build.args(["-m", "hatchling", "build", "--target", "wheel", "--directory"]).arg(dist);
        output(build.current_dir(sdk)).map(drop)
    })?;
    let wheel = only(dist, "whl")?;
    let mut import = Command::new(sdk::python());
    import.args(["-c", "import monocore, monocore.models"]).env("PYTHONPATH", &wheel);
    run_command(&mut import).context("the wheel cannot be imported")?;
    Ok(wheel)
}

fn package(sdk: &Path, dist: &Path) -> Result<PathBuf> {
    with_licence(sdk, || {
        let pack = ["pack", "--silent", "--ignore-scripts", "--pack-destination"];
        output(command("npm", pack).arg(dist).current_dir(sdk)).map(drop)
    })?;
    let package = only(dist, "tgz")?;
    let listed = output(command("tar", ["tzf"]).arg(&package))?;
    for file in ["LICENSE", "README.md", "package.json", "dist/src/index.js", "dist/src/index.d.ts"] {
        anyhow::ensure!(
            listed.lines().any(|line| line == format!("package/{file}")),
            "the npm package lacks {file}"
        );
    }
    Ok(package)
}

/// Does `work` with the project's licence in the folder.
fn with_licence(folder: &Path, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let licence = folder.join("LICENSE");
    fs::copy(project::root().join("LICENSE"), &licence).context("cannot copy the licence")?;
    let worked = work();
    fs::remove_file(licence)?;
    worked
}

fn only(dist: &Path, extension: &str) -> Result<PathBuf> {
    let mut paths = fs::read_dir(dist)?.map(|entry| entry.map(|entry| entry.path()));
    let found = paths.find(|path| {
        path.as_ref().is_ok_and(|path| path.extension().is_some_and(|found| found == extension))
    });
    Ok(found.with_context(|| format!("no .{extension} was made"))??)
}
