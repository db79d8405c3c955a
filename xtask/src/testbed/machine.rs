//! QEMU: its command line, its streams, its end.

use std::fs;
use std::io::{self, Read, Write, pipe};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use anyhow::{Context, Result, bail};

use super::Testbed;
use super::image::Image;
use crate::process::tail;

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With this exit status; 128+N by signal.
    Exited(u8),
    /// It took longer than it was allowed to.
    TimedOut,
}

/// Boots the machine, passes the job's streams on and waits for its end.
pub(super) fn run(testbed: &Testbed, image: &Image, job: &Path, console: &Path) -> Result<Outcome> {
    let (mut status, status_writer) = pipe().context("no pipe")?;
    let mut qemu = qemu(testbed, image, job, console);
    // QEMU reads nothing: its standard input is the way back for the exit status.
    qemu.stdin(status_writer).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = qemu.spawn().context("cannot start qemu-system-x86_64")?;
    drop(qemu);
    let streams = pass_on(&mut child)?;
    let (sender, receiver) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let result = status.read_to_string(&mut text).map(|_| text);
        // The receiver is gone when the time is up.
        let _ = sender.send(result);
    });
    let ended = receiver.recv_timeout(testbed.timeout);
    if ended.is_err() {
        child.kill().context("cannot end QEMU")?;
    }
    child.wait().context("cannot wait for QEMU")?;
    for stream in streams.into_iter().chain([reader]) {
        // A thread that panicked has said so.
        let _ = stream.join();
    }
    match ended {
        Ok(text) => outcome(&text.context("cannot read the job's status")?, console),
        Err(RecvTimeoutError::Timeout) => Ok(Outcome::TimedOut),
        Err(RecvTimeoutError::Disconnected) => bail!("the reader of the job's status ended early"),
    }
}

fn outcome(status: &str, console: &Path) -> Result<Outcome> {
    if let Ok(status) = status.trim().parse() {
        return Ok(Outcome::Exited(status));
    }
    let said = fs::read(console).unwrap_or_default();
    bail!(
        "the testbed's machine ended without the job's status; the end of its console:\n{}",
        tail(&String::from_utf8_lossy(&said), 30)
    )
}

/// Copies QEMU's output streams, which are the job's, to ours.
fn pass_on(child: &mut Child) -> Result<Vec<thread::JoinHandle<()>>> {
    let stdout = child.stdout.take().context("QEMU has no standard output")?;
    let stderr = child.stderr.take().context("QEMU has no standard error")?;
    Ok(vec![
        thread::spawn(move || copy(stdout, io::stdout())),
        thread::spawn(move || copy(stderr, io::stderr())),
    ])
}

/// Every piece is flushed: somebody watches.
fn copy(mut from: impl Read, mut to: impl Write) {
    let mut buffer = [0; 65536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

/// A CPU with AMD-V. QEMU emulates `rep stosb` and `rep movsb` a byte at a time: slow, and in the counting clock each
/// byte that a kernel clears or copies would count one instruction. Without the features that make Linux choose them, it
/// stores eight bytes at a time. `docs/performance/clock.md` has the calibration.
const CPU: &str = "max,+svm,-erms,-fsrm";

/// `setpriv` gives QEMU a parent-death signal: whoever kills this process ends the machine too.
fn qemu(testbed: &Testbed, image: &Image, job: &Path, console: &Path) -> Command {
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    qemu.args(["-M", "q35,usb=off,vmport=off,smbus=off,sata=off", "-cpu", CPU]);
    // One CPU on one thread: with two, QEMU's emulation of AMD-V corrupts the outer kernel once in some sixty guests.
    qemu.args(["-accel", "tcg,thread=single,tb-size=512", "-smp", "1"]);
    if testbed.icount {
        qemu.args(["-icount", "shift=0,sleep=off"]);
    }
    qemu.args(["-m", &testbed.memory_mib.to_string()]);
    qemu.args(["-nodefaults", "-no-user-config", "-nic", "none", "-vga", "none", "-display", "none"]);
    qemu.args(["-no-reboot", "-bios", "/usr/share/qemu/qboot.rom"]);
    qemu.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initramfs);
    qemu.arg("-append").arg(format!(
        "console=ttyS0 panic=-1 mitigations=off nokaslr tsc=reliable random.trust_cpu=on quiet {} testbed.job={}",
        testbed.append,
        job.display()
    ));
    qemu.arg("-serial").arg(format!("file:{}", console.display()));
    qemu.args(["-device", "isa-debug-exit,iobase=0x501,iosize=1"]);
    // The first virtio device: its ports are called vport0p1 and so on.
    qemu.args(["-device", "virtio-serial-pci"]);
    for (port, descriptor) in [(1, 1), (2, 2), (3, 0)] {
        qemu.args(["-chardev", &format!("file,id=p{port},path=/proc/self/fd/{descriptor},append=on")]);
        qemu.args(["-device", &format!("virtserialport,chardev=p{port},nr={port}")]);
    }
    qemu.args(["-fsdev", "local,id=h,path=/,security_model=none,multidevs=remap"]);
    qemu.args(["-device", "virtio-9p-pci,fsdev=h,mount_tag=host"]);
    qemu
}
