//! QEMU's microvm with the same kernel and initramfs. Its isa-debug-exit at the boot mark's port ends it at init's first act.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::machine::{Files, RAM_MIB, monotonic_ms};

/// QEMU and what it boots.
pub(crate) struct Qemu {
    qemu: monocore_benches::microvm::Qemu,
    kernel: PathBuf,
    initramfs: PathBuf,
}

impl Qemu {
    /// Copies QEMU below `work`.
    pub(crate) fn new(files: &Files, work: &Path) -> Result<Self> {
        let qemu = monocore_benches::microvm::Qemu::new(work)?;
        Ok(Self { qemu, kernel: files.kernel.clone(), initramfs: files.initramfs.clone() })
    }

    /// Boots once and says after how many milliseconds of this clock init began.
    pub(crate) fn boot_ms(&self) -> Result<f64> {
        let mut command = self.qemu.command(RAM_MIB);
        command
            .args(["-device", "isa-debug-exit,iobase=0x608,iosize=1"])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            .args(["-append", "quiet panic=-1 reboot=t monocore.exit=0x600 monocore.mark"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let began = monotonic_ms();
        let status = command.status().context("start QEMU")?;
        let took = monotonic_ms() - began;
        // isa-debug-exit: twice what was written, plus one.
        match status.code() {
            Some(3) => Ok(took),
            _ => bail!("QEMU ended with {status}, not at init's mark"),
        }
    }
}
