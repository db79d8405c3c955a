//! microsandbox's `msb`, the field's leader, from its Python wheel.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::packages;
use crate::process::{command, output, run};
use crate::project;

const VERSION: &str = "0.7.11";
const SHA256: &str = "65f1e4bbf8d721c9f7f557329fb6c8cf41f554c1c6942eac8b941198fa283fe0";

/// Where the peer's files lie.
pub(super) struct Msb {
    binary: PathBuf,
    /// The library with its guest kernel.
    libkrunfw: PathBuf,
}

impl Msb {
    /// The benchmarks' arguments that say where it is.
    pub(super) fn flags(self) -> impl Iterator<Item = OsString> {
        super::flags([("--msb", self.binary), ("--libkrunfw", self.libkrunfw)])
    }
}

/// The pinned version, from the cache or downloaded now.
pub(super) fn fetch() -> Result<Msb> {
    let cache = project::cache_dir("msb")?;
    let dir = cache.join(VERSION);
    if !dir.exists() {
        packages::ensure(packages::PEERS)?;
        let work = cache.join("work");
        project::fresh_dir(&work)?;
        let pip = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"];
        run(command("python3", pip).arg(&work).arg(format!("microsandbox=={VERSION}")))?;
        let wheel = only_file(&work)?;
        let sum = output(command("sha256sum", ["--binary"]).arg(&wheel))?;
        ensure!(sum.starts_with(SHA256), "{} is not the pinned wheel: {sum}", wheel.display());
        run(command("python3", ["-m", "zipfile", "-e"]).arg(&wheel).arg(work.join("tree")))?;
        let bundled = work.join("tree/microsandbox/_bundled");
        run(command("chmod", ["+x"]).arg(bundled.join("bin/msb")))?;
        fs::rename(&bundled, &dir).context("cannot move msb into the cache")?;
        fs::remove_dir_all(&work).context("cannot remove what unpacking msb left")?;
    }
    Ok(Msb { binary: dir.join("bin/msb"), libkrunfw: only_file(&dir.join("lib"))? })
}

fn only_file(dir: &std::path::Path) -> Result<PathBuf> {
    let mut files = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    ensure!(files.len() == 1, "{} holds {} files, not one", dir.display(), files.len());
    files.pop().context("no file")
}
