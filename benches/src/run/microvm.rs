//! `qemu -M microvm` with our kernel: the same guest without monocore, the floor of what a VMM that boots by
//! the same means gives. Its init is `/bin/true`, whose end panics the kernel, which ends QEMU by a reset.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

pub(crate) struct Guest {
    kernel: PathBuf,
    root: PathBuf,
}

impl Guest {
    /// Copies kernel and root beside what the others use.
    pub(crate) fn new(kernel: &Path, root: &Path, work: &Path) -> Result<Self> {
        let guest = Self { kernel: work.join("microvm-vmlinux"), root: work.join("microvm-root.erofs") };
        std::fs::copy(kernel, &guest.kernel).with_context(|| format!("copy {}", kernel.display()))?;
        std::fs::copy(root, &guest.root).with_context(|| format!("copy {}", root.display()))?;
        Ok(guest)
    }

    /// The command that boots it to the end of `/bin/true`.
    pub(crate) fn run(&self) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(monocore_benches::microvm::MICROVM)
            .args(["-m", "512"])
            .arg("-kernel")
            .arg(&self.kernel)
            .args(["-append", "quiet panic=-1 reboot=t root=/dev/vda rootfstype=erofs ro init=/bin/true"])
            .arg("-drive")
            .arg(format!("if=none,id=root,format=raw,readonly=on,file={}", self.root.display()))
            .args(["-device", "virtio-blk-device,drive=root"]);
        command
    }
}
