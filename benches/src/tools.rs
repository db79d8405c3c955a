//! How each tool is told to pull, to run, and to keep a sandbox.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::memory::{self, Memory};
use crate::moved;
use crate::msb::Msb;
use anyhow::{Context, Result};

/// A tool that pulls and runs images.
pub trait Tool {
    /// Its name in the table.
    fn name(&self) -> &'static str;
    /// Drops every image it has.
    fn forget(&self) -> Result<()>;
    /// The command that pulls `reference`.
    fn pull(&self, reference: &str) -> Command;
    /// The command that runs `command` in a sandbox of 512 MiB made of the pulled image `reference`.
    fn run(&self, reference: &str, command: &[&str]) -> Command;
    /// The command that starts a sandbox of 512 MiB called `name`, which sleeps, and comes back when it runs.
    fn keep(&self, reference: &str, name: &str) -> Command;
    /// The command that runs `command` in the sandbox called `name`.
    fn exec(&self, name: &str, command: &[&str]) -> Command;
    /// The command that ends the sandbox called `name`, whatever it does, and removes it.
    fn remove(&self, name: &str) -> Command;
    /// The program whose processes are the tool's.
    fn binary(&self) -> &Path;
}

/// What a kept sandbox runs: nothing that ends or wakes up.
const IDLE: [&str; 2] = ["sleep", "1000000"];

/// This project's.
#[derive(Debug)]
pub struct Monocore {
    binary: PathBuf,
    home: PathBuf,
}

impl Monocore {
    /// Copies `binary` to `work`, where its state will be, too.
    ///
    /// # Errors
    /// The file system's.
    pub fn new(binary: &Path, work: &Path) -> Result<Self> {
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
        crate::fresh_dir(&self.home)
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

    fn keep(&self, reference: &str, name: &str) -> Command {
        let mut command = self.command();
        let flags = ["run", "-d", "--no-net", "--pull", "never", "-m", "512m", "--name", name, reference];
        command.args(flags).args(IDLE);
        command
    }

    fn exec(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = self.command();
        command.args(["exec", name]).args(arguments);
        command
    }

    fn remove(&self, name: &str) -> Command {
        let mut command = self.command();
        command.args(["rm", "-f", name]);
        command
    }

    fn binary(&self) -> &Path {
        &self.binary
    }
}

impl Tool for Msb {
    fn name(&self) -> &'static str {
        "msb"
    }

    fn forget(&self) -> Result<()> {
        crate::fresh_dir(self.home())
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

    fn keep(&self, reference: &str, name: &str) -> Command {
        let mut command = self.command();
        let flags =
            ["run", "-d", "--no-net", "--pull", "never", "-m", "512M", "--name", name, reference, "--"];
        command.args(flags).args(IDLE);
        command
    }

    fn exec(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = self.command();
        command.args(["exec", name, "--"]).args(arguments);
        command
    }

    fn remove(&self, name: &str) -> Command {
        let mut command = self.command();
        command.args(["rm", "--force", name]);
        command
    }

    fn binary(&self) -> &Path {
        Msb::binary(self)
    }
}

/// What all processes of `tool` hold while its guest sleeps.
///
/// # Errors
/// It does not run, or `/proc` cannot be read.
pub fn memory_while_running(tool: &dyn Tool, reference: &str) -> Result<Memory> {
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
