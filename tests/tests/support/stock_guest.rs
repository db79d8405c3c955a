//! A guest with a distribution's kernel in QEMU's software emulation; see `monocore_tests::stock_guest` for its inside.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use monocore_tests::stock_guest::{DONE, MARK};

/// Emulation on a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(420);
/// The guest's memory, in MiB.
const MEMORY_MIB: u32 = 512;

/// A guest to be run.
pub(crate) struct StockGuest {
    arguments: Vec<OsString>,
    job: String,
}

/// Ends QEMU when the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl StockGuest {
    /// A guest that will do one job: `NAME`, or `NAME:` and what the job is to know.
    pub(crate) fn new(job: impl Into<String>) -> Self {
        Self { arguments: Vec::new(), job: job.into() }
    }

    /// Adds an argument of QEMU's with its value.
    pub(crate) fn argument(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.arguments.extend([OsString::from(name), value.as_ref().to_owned()]);
        self
    }

    /// Lets other processes map the guest's memory, as vhost-user needs it.
    pub(crate) fn shared_memory(&mut self) -> &mut Self {
        self.argument("-object", format!("memory-backend-memfd,id=ram,size={MEMORY_MIB}M,share=on"));
        self.argument("-machine", "memory-backend=ram")
    }

    /// Adds the connection to a device's socket.
    pub(crate) fn character_device(&mut self, id: &str, socket: &Path) -> &mut Self {
        self.argument("-chardev", format!("socket,id={id},path={}", socket.display()))
    }

    /// Runs the guest, hands `answer` each line it says, and returns all of them.
    ///
    /// # Panics
    /// Where the guest does not say that all went well.
    pub(crate) fn run(&self, answer: impl Fn(&str)) -> Vec<String> {
        let start = Instant::now();
        let mut qemu = Running(self.command(&image()).spawn().expect("qemu-system-x86_64 is installed"));
        let console = qemu.0.stdout.take().expect("its output is a pipe");
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(console).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let (mut console, mut said) = (Vec::new(), Vec::new());
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let Ok(line) = receiver.recv_timeout(left) else {
                panic!("the guest did not say that it was done:\n{}", console.join("\n"));
            };
            let line = line.trim_end().to_owned();
            if line.ends_with(DONE) {
                eprintln!("the guest took {:.1} s", start.elapsed().as_secs_f64());
                return said;
            }
            if let Some((_, text)) = line.split_once(MARK) {
                let text = text.trim_start();
                assert!(!text.starts_with("failed"), "{text}\n{}", said.join("\n"));
                answer(text);
                said.push(text.to_owned());
            }
            console.push(line);
        }
    }

    fn command(&self, image: &Path) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        command.args([
            "-M",
            "q35,usb=off,vmport=off,smbus=off,sata=off",
            // One thread for both processors: with two, one of them can meet the breakpoint of a kernel that patches
            // its own code after the patch is done, and such a kernel panics.
            "-accel",
            "tcg,thread=single",
            "-cpu",
            "max",
        ]);
        command.args(["-smp", "2", "-m", &MEMORY_MIB.to_string()]);
        command.args(["-nodefaults", "-no-user-config", "-nic", "none", "-vga", "none", "-display", "none"]);
        command.args(["-no-reboot", "-bios", "qboot.rom", "-serial", "stdio"]);
        command.arg("-kernel").arg(image.join("vmlinux")).arg("-initrd").arg(image.join("initramfs.cpio"));
        let job = &self.job;
        let line = format!(
            "console=ttyS0 panic=-1 mitigations=off nokaslr tsc=reliable random.trust_cpu=on quiet monocore.job={job}"
        );
        command.arg("-append").arg(line).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }
}

/// Where kernel and initramfs lie; they are made where they are missing or old.
fn image() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--package", "xtask", "--", "stock-guest"])
        .current_dir(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the package is"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo xtask stock-guest failed");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim_end())
}
