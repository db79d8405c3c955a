//! QEMU's microvm with the same kernel and initramfs. Its isa-debug-exit at the boot mark's port ends it at init's first act.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::machine::{Files, monotonic_ms};

const BINARY: &str = "/usr/bin/qemu-system-x86_64";
const FIRMWARE: [&str; 3] = ["bios-microvm.bin", "pvh.bin", "qboot.rom"];

/// QEMU and its libraries, copied to where opening them costs nothing.
pub(crate) struct Qemu {
    loader: PathBuf,
    libraries: PathBuf,
    binary: PathBuf,
    kernel: PathBuf,
    initramfs: PathBuf,
}

impl Qemu {
    /// Copies QEMU below `work`.
    pub(crate) fn new(files: &Files, work: &Path) -> Result<Self> {
        let libraries = work.join("qemu");
        monocore_benches::fresh_dir(&libraries)?;
        let output = Command::new("ldd").arg(BINARY).output().context("list QEMU's libraries")?;
        let mut loader = None;
        for path in String::from_utf8_lossy(&output.stdout).split_whitespace().filter(|w| w.starts_with('/'))
        {
            let path = Path::new(path);
            let to = libraries.join(path.file_name().context("a library without a name")?);
            fs::copy(path, &to).with_context(|| format!("copy {}", path.display()))?;
            if to.to_string_lossy().contains("/ld-linux") {
                loader = Some(to);
            }
        }
        let binary = libraries.join("qemu-system-x86_64");
        fs::copy(BINARY, &binary).context("copy QEMU")?;
        for name in FIRMWARE {
            fs::copy(Path::new("/usr/share/qemu").join(name), libraries.join(name))
                .with_context(|| format!("copy QEMU's {name}"))?;
        }
        Ok(Self {
            loader: loader.context("QEMU has no loader")?,
            libraries,
            binary,
            kernel: files.kernel.clone(),
            initramfs: files.initramfs.clone(),
        })
    }

    /// Boots once and says after how many milliseconds of this clock init began.
    pub(crate) fn boot_ms(&self) -> Result<f64> {
        let mut command = Command::new(&self.loader);
        command.arg("--library-path").arg(&self.libraries).arg(&self.binary).arg("-L").arg(&self.libraries);
        command
            .args(monocore_benches::MICROVM)
            .args(["-m", "256"])
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
