//! passt, the user-mode network stack of others, as Debian packages it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use monocore_benches::moved::Moved;

use crate::uplink;

const BINARY: &str = "/usr/bin/passt";
/// The same, compiled for CPUs with AVX2; passt itself changes over to it where it can.
const BINARY_AVX2: &str = "/usr/bin/passt.avx2";
/// How often its socket is looked for, and how long between.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(200);

/// A passt process that serves one card.
pub(crate) struct Passt {
    child: Child,
    socket: PathBuf,
}

impl Passt {
    /// What the guest knows this machine as: its gateway.
    pub(crate) const HOST: &str = "10.77.0.1";
    /// What the guest says to get its address; the link is as wide as our own.
    pub(crate) const GUEST: &str =
        "busybox ip link set eth0 mtu 65520 up && busybox ip addr add 10.77.0.2/24 dev eth0";

    /// Starts it.
    pub(crate) fn start(work: &Path) -> Result<Self> {
        uplink::make()?;
        let binary = if has_avx2()? { BINARY_AVX2 } else { BINARY };
        let program = Moved::new(Path::new(binary), &work.join("passt"))?;
        // passt is nobody by the time it makes its socket.
        let dir = work.join("passt-run");
        monocore_benches::fresh_dir(&dir)?;
        fs::set_permissions(&dir, Permissions::from_mode(0o777))?;
        let socket = dir.join("socket");
        let mut command = program.command();
        command.args(["--foreground", "--quiet", "--ipv4-only", "--mtu", "65520", "--dns", "none"]);
        command.args(["--address", "10.77.0.2", "--netmask", "24", "--gateway", Self::HOST, "--socket"]);
        // It says at length how QEMU is to be started.
        let child =
            command.arg(&socket).stdin(Stdio::null()).stderr(Stdio::null()).spawn().context("start passt")?;
        let passt = Self { child, socket };
        for _ in 0..TRIES {
            if passt.socket.exists() {
                return Ok(passt);
            }
            sleep(PAUSE);
        }
        anyhow::bail!("passt does not make its socket")
    }

    /// The network as `monocore run` is told it.
    pub(crate) fn flag(&self) -> String {
        format!("passt:{}", self.socket.display())
    }
}

impl Drop for Passt {
    fn drop(&mut self) {
        // It may have ended with its card.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The version of Debian's package; the program itself does not know it.
pub(crate) fn version() -> Result<String> {
    let query = ["--show", "--showformat=${Version}", "passt"];
    let output = Command::new("dpkg-query").args(query).output().context("ask for passt's version")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn has_avx2() -> Result<bool> {
    let cpu = fs::read_to_string("/proc/cpuinfo").context("read what the CPU can do")?;
    Ok(cpu.split_whitespace().any(|word| word == "avx2"))
}
