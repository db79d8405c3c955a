//! How each tool is told to pull and to run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use monocore_benches::memory::{self, Memory};
use monocore_benches::moved;
use monocore_benches::msb::Msb;

/// A tool that pulls and runs images.
pub(crate) trait Tool {
    /// Its name in the table.
    fn name(&self) -> &'static str;
    /// Drops every image it has.
    fn forget(&self) -> Result<()>;
    /// The command that pulls `reference`.
    fn pull(&self, reference: &str) -> Command;
    /// The command that runs `command` in a sandbox of 512 MiB made of the pulled image `reference`.
    fn run(&self, reference: &str, command: &[&str]) -> Command;
}

/// This project's.
pub(crate) struct Monocore {
    binary: PathBuf,
    home: PathBuf,
}

impl Monocore {
    pub(crate) fn new(binary: &Path, work: &Path) -> Result<Self> {
        Ok(Self { binary: moved::copy(binary, work)?, home: work.join("monocore-home") })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("MONOCORE_HOME", &self.home);
        command
    }
}

impl Tool for Monocore {
    fn name(&self) -> &'static str {
        "monocore"
    }

    fn forget(&self) -> Result<()> {
        monocore_benches::fresh_dir(&self.home)
    }

    fn pull(&self, reference: &str) -> Command {
        let mut command = self.command();
        command.args(["pull", "-q", reference]);
        command
    }

    fn run(&self, reference: &str, arguments: &[&str]) -> Command {
        let mut command = self.command();
        command.args(["run", "--no-net", "--pull", "never", "-m", "512m", reference]).args(arguments);
        command
    }
}

impl Tool for Msb {
    fn name(&self) -> &'static str {
        "msb"
    }

    fn forget(&self) -> Result<()> {
        monocore_benches::fresh_dir(self.home())
    }

    fn pull(&self, reference: &str) -> Command {
        let mut command = self.command();
        command.args(["pull", "-q", "--insecure", reference]);
        command
    }

    fn run(&self, reference: &str, arguments: &[&str]) -> Command {
        let mut command = self.command();
        command
            .args(["run", "--no-net", "--pull", "never", "--no-stdin", "-m", "512M", reference, "--"])
            .args(arguments);
        command
    }
}

/// What all processes of `tool` hold while its guest sleeps.
pub(crate) fn memory_while_running(tool: &dyn Tool, reference: &str) -> Result<Memory> {
    let mut child = tool
        .run(reference, &["sh", "-c", "echo up; sleep 30"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {}", tool.name()))?;
    // Long enough for either to boot in emulation; the guest sleeps well beyond.
    std::thread::sleep(Duration::from_secs(20));
    let memory = memory::tree(child.id());
    child.wait().context("wait for the sleeping guest")?;
    memory
}
