//! The half of `cargo xtask demo` that runs where KVM works: a registry on loopback, and `monocore run` from it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::project;
use crate::registry::{IMAGES, Registry};

/// A folder on a file system of its own, where the testbed has a tmpfs.
const WORK: &str = "/tmp/monocore-demo";

/// What the outer half hands over.
#[derive(Args)]
pub(crate) struct InsideArgs {
    /// The `monocore` binary.
    binary: PathBuf,
    /// The registry's storage folder.
    storage: PathBuf,
}

/// Commands, each with the image it runs in and the exit status it has to end with.
const COMMANDS: &[(&str, &[&str], i32)] = &[
    (IMAGES[0], &["echo", "hello from a microVM"], 0),
    (IMAGES[0], &["uname", "-a"], 0),
    (IMAGES[0], &["sh", "-c", "echo my exit status will be 3; exit 3"], 3),
    (
        IMAGES[1],
        &["python3", "-c", "import sys; print('Python', sys.version.split()[0], 'says 6 * 7 =', 6 * 7)"],
        0,
    ),
    (IMAGES[1], &["cat", "/etc/os-release"], 0),
];

/// Runs the commands and shows what they print.
pub(crate) fn run(args: &InsideArgs) -> Result<ExitCode> {
    let work = Path::new(WORK);
    project::fresh_dir(work)?;
    let address = SocketAddr::from(([127, 0, 0, 1], 5057));
    let _registry = Registry::start(&args.storage, address, &work.join("registry.yml"))?;
    for (image, command, expected) in COMMANDS {
        let image = format!("{address}/{image}:latest");
        eprintln!("\n$ monocore run {image} {}", command.join(" "));
        let start = Instant::now();
        let status = Command::new(&args.binary)
            .arg("run")
            .arg(&image)
            .args(*command)
            .env("MONOCORE_HOME", work.join("home"))
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("cannot start {}", args.binary.display()))?;
        eprintln!("({:.1} s)", start.elapsed().as_secs_f64());
        ensure!(status.code() == Some(*expected), "it ended with {status}, not with status {expected}");
    }
    fs::remove_dir_all(work).context("cannot remove the demo's folder")?;
    Ok(ExitCode::SUCCESS)
}
