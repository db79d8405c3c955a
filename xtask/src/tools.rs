//! Cargo's own tools that are installed on demand, into the cache, at a pinned version.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::process::{run, step};
use crate::project;

/// Checks licences, sources and banned crates.
const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

/// Runs fuzz targets.
const CARGO_FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2" };

struct Tool {
    name: &'static str,
    version: &'static str,
}

/// Where `cargo-deny` is, installed if need be.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    CARGO_DENY.path()
}

/// Where `cargo-fuzz` is, installed if need be.
pub(crate) fn cargo_fuzz() -> Result<PathBuf> {
    CARGO_FUZZ.path()
}

impl Tool {
    fn path(&self) -> Result<PathBuf> {
        let root = project::cache_dir("tools")?.join(format!("{}-{}", self.name, self.version));
        let binary = root.join("bin").join(self.name);
        if !binary.exists() {
            step(&format!("installing {} {}", self.name, self.version), || self.install(&root))?;
        }
        Ok(binary)
    }

    fn install(&self, root: &std::path::Path) -> Result<()> {
        let target = root.join("target");
        let mut cargo = project::cargo();
        cargo.args(["install", "--quiet", "--locked", "--version", self.version, "--root"]).arg(root);
        run(cargo.arg(self.name).env("CARGO_TARGET_DIR", &target))?;
        fs::remove_dir_all(&target).context("cannot remove what compiling a tool left")
    }
}
