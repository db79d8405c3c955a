//! QEMU's `microvm` machine.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::moved::{self, Moved};

const BINARY: &str = "/usr/bin/qemu-system-x86_64";
const SHARED: &str = "/usr/share/qemu";
const FIRMWARE: [&str; 3] = ["bios-microvm.bin", "pvh.bin", "qboot.rom"];

/// What QEMU is told so that its `microvm` has what our machine has and nothing else: no PIT, no PIC, no ACPI, modern virtio.
pub const MICROVM: [&str; 13] = [
    "-M",
    "microvm,pit=off,pic=off,rtc=off,isa-serial=off,acpi=off",
    "-accel",
    "kvm",
    "-cpu",
    "host",
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-no-reboot",
    "-global",
    "virtio-mmio.force-legacy=false",
];

/// QEMU, copied with its libraries and firmware.
#[derive(Debug)]
pub struct Qemu(Moved);

impl Qemu {
    /// Copies it below `work`.
    ///
    /// # Errors
    /// QEMU is not installed.
    pub fn new(work: &Path) -> Result<Self> {
        let qemu = Moved::new(Path::new(BINARY), &work.join("qemu"))?;
        for name in FIRMWARE {
            moved::copy(&Path::new(SHARED).join(name), qemu.dir())?;
        }
        Ok(Self(qemu))
    }

    /// A command that runs a machine of `ram_mib` with one CPU.
    pub fn command(&self, ram_mib: u32) -> Command {
        let mut command = self.0.command();
        command.arg("-L").arg(self.0.dir()).args(MICROVM).args(["-m", &ram_mib.to_string()]);
        command
    }
}
