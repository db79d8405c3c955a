//! The ways a guest reaches this machine, and how a guest that goes each of them is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use monocore_benches::args::Subject;
use monocore_benches::load::Load;
use monocore_benches::microvm::Qemu;
use monocore_benches::moved;
use monocore_benches::msb::Msb;
use monocore_tests::image::{BUSYBOX, busybox, program, write_archive};
use serde_json::json;

use crate::Args;
use crate::passt::Passt;
use crate::uplink;

/// A way.
pub(crate) struct Mode {
    /// What it is called in the table.
    pub(crate) name: &'static str,
    /// What the guest knows this machine as.
    host: &'static str,
    /// What part of the loads it carries: enough to tell its prices, and few minutes of emulation.
    part: u32,
    launch: Launch,
}

/// Who runs the guest.
enum Launch {
    /// `monocore run` with these flags.
    Monocore(&'static [&'static str]),
    /// Two of `monocore run` with these flags, in one group: the second one dials the first one.
    Peers(&'static [&'static str]),
    /// `monocore run`, and a passt process.
    Passt,
    /// QEMU's microvm with its user network.
    Qemu,
    /// microsandbox, where it was given.
    Msb,
}

/// All ways, ours first.
pub(crate) const MODES: [Mode; 7] = [
    Mode {
        name: "nat",
        host: "10.77.0.1",
        part: 1,
        launch: Launch::Monocore(&["--network", "nat", "--allow-host"]),
    },
    Mode {
        name: "tsi",
        host: "10.77.0.1",
        part: 1,
        launch: Launch::Monocore(&["--network", "tsi", "--allow-host"]),
    },
    Mode {
        name: "peers-nat",
        host: "10.77.0.1",
        part: 2,
        launch: Launch::Peers(&["--network", "nat", "--allow-host"]),
    },
    Mode {
        name: "peers-tsi",
        host: "10.77.0.1",
        part: 2,
        launch: Launch::Peers(&["--network", "tsi", "--allow-host"]),
    },
    Mode { name: "passt", host: Passt::HOST, part: 4, launch: Launch::Passt },
    Mode { name: "qemu", host: "10.0.2.2", part: 8, launch: Launch::Qemu },
    // Its gateway, which stands for this machine, has another address each time.
    Mode {
        name: "msb",
        host: "$(busybox ip route | busybox awk '/^default/ { print $3 }')",
        part: 8,
        launch: Launch::Msb,
    },
];

impl Mode {
    /// What is measured.
    pub(crate) fn loads(&self) -> [Load; 4] {
        let whole =
            [Load::Send(64 << 20), Load::Receive(64 << 20), Load::Requests(2000), Load::Connections(500)];
        whole.map(|load| load.shortened(self.part))
    }

    /// Whether the loads go from one guest to another.
    pub(crate) fn is_between_guests(&self) -> bool {
        matches!(self.launch, Launch::Peers(_))
    }
}

const IMAGE: &str = "bench/load:latest";
const RAM_MIB: u32 = 256;
/// The member that another one dials, and where.
const MEMBER: (&str, u16) = ("10.200.0.10", 7000);

/// What all ways share.
pub(crate) struct Setup {
    work: PathBuf,
    monocore: PathBuf,
    qemu: Qemu,
    msb: Option<Msb>,
    kernel: PathBuf,
    /// A root file system with busybox and the guest's program, and the same as an initramfs.
    root: PathBuf,
    initramfs: PathBuf,
}

/// A guest that runs, and its helpers.
pub(crate) struct Running {
    guest: Child,
    /// Whether it ends by itself when this machine hangs up.
    ends: bool,
    /// Held for as long as the guest runs.
    passt: Option<Passt>,
    /// The guest that it dials.
    member: Option<Box<Running>>,
}

impl Running {
    /// One of ours, which ends when nobody talks to it any more.
    fn ours(guest: Child) -> Self {
        Self { guest, ends: true, passt: None, member: None }
    }
}

impl Setup {
    /// Makes the image, and the same as a directory and an initramfs for the others.
    pub(crate) fn new(args: &Args) -> Result<Self> {
        let work = &args.work;
        let Subject { monocore, kernel } = args.subject.moved(work)?;
        let root = work.join("root");
        let setup = Self {
            work: work.clone(),
            monocore,
            qemu: Qemu::new(work)?,
            msb: args.msb.moved(work)?,
            kernel,
            initramfs: initramfs(&args.load, &root)?,
            root,
        };
        let mut layer = busybox()?;
        program(&mut layer, "bin/bench-load", &fs::read(&args.load).context("read the guest's program")?);
        let archive = work.join("image.tar");
        write_archive(&archive, IMAGE, &json!({ "Env": ["PATH=/bin"] }), &[layer])?;
        let status = setup.monocore().args(["load", "-q", "-i"]).arg(&archive).status()?;
        ensure!(status.success(), "monocore load ended with {status}");
        Ok(setup)
    }

    /// Starts a guest that goes by `mode` and dials `port` of this machine.
    pub(crate) fn start(&self, mode: &Mode, port: u16) -> Result<Running> {
        let load = format!("exec bench-load {}:{port}", mode.host);
        match mode.launch {
            Launch::Monocore(flags) => Ok(Running::ours(self.run(flags, &load)?)),
            Launch::Peers(flags) => {
                let (address, own) = MEMBER;
                let group = format!("bench,ip={address}");
                let member = self.run(&[flags, &["--group", &group]].concat(), &format!("{load} {own}"))?;
                // The member listens some time later.
                let dial = format!("until bench-load {address}:{own}; do busybox sleep 0.1; done");
                let guest = self.run(&[flags, &["--group", "bench"]].concat(), &dial)?;
                let mut running = Running::ours(guest);
                running.member = Some(Box::new(Running::ours(member)));
                Ok(running)
            }
            Launch::Passt => {
                let passt = Passt::start(&self.work)?;
                let script = format!("{} && {load}", Passt::GUEST);
                let guest = self.run(&["--network", &passt.flag()], &script)?;
                let mut running = Running::ours(guest);
                running.passt = Some(passt);
                Ok(running)
            }
            Launch::Msb => {
                uplink::make()?;
                Ok(Running::ours(self.sandbox(&load)?))
            }
            Launch::Qemu => {
                let mut running = Running::ours(self.microvm(&load)?);
                running.ends = false;
                Ok(running)
            }
        }
    }

    fn monocore(&self) -> Command {
        let mut command = Command::new(&self.monocore);
        command.env("MONOCORE_HOME", self.work.join("home")).stdin(Stdio::null());
        command
    }

    fn run(&self, flags: &[&str], script: &str) -> Result<Child> {
        let mut command = self.monocore();
        command.args(["run", "--pull", "never", "-m", &format!("{RAM_MIB}m")]).args(flags);
        spawn(command.args([IMAGE, "sh", "-c", script]))
    }

    fn sandbox(&self, load: &str) -> Result<Child> {
        let mut command = self.msb.as_ref().context("it was not given")?.command();
        command.args(["run", "--net", "host", "--no-stdin", "-m", &format!("{RAM_MIB}M")]);
        command.arg(&self.root).args(["--", "/bin/busybox", "sh", "-c"]);
        command.arg(format!("export PATH=/bin; {load}"));
        spawn(&mut command)
    }

    fn microvm(&self, load: &str) -> Result<Child> {
        let mut command = self.qemu.command(RAM_MIB);
        command.args(["-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net"]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initramfs);
        // What the kernel does not know is put into init's environment.
        command.args(["-append", &format!("quiet panic=-1 reboot=t load={}", load.replace(' ', "+"))]);
        spawn(&mut command)
    }
}

/// Starts a guest.
fn spawn(command: &mut Command) -> Result<Child> {
    command.stdin(Stdio::null()).spawn().with_context(|| format!("start {command:?}"))
}

impl Running {
    /// Waits for the guest's end.
    pub(crate) fn end(&mut self) -> Result<()> {
        if !self.ends {
            self.guest.kill().context("end the guest")?;
        }
        let status = self.guest.wait().context("wait for the guest")?;
        if self.ends && !status.success() {
            bail!("the guest ended with {status}");
        }
        self.member.as_mut().map_or(Ok(()), |member| member.end())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and is waited for all the same.
        let _ = self.guest.kill();
        let _ = self.guest.wait();
    }
}

/// Fills `root` with busybox, the guest's program, and an init that brings the card up with the address QEMU's user network
/// expects and does as it is told; packs it as an initramfs and says where that is.
fn initramfs(load: &Path, root: &Path) -> Result<PathBuf> {
    for dir in ["bin", "dev", "etc", "proc", "run", "sys", "tmp"] {
        fs::create_dir_all(root.join(dir))?;
    }
    moved::copy(Path::new(BUSYBOX), &root.join("bin"))?;
    fs::rename(moved::copy(load, &root.join("bin"))?, root.join("bin/bench-load"))?;
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    let script = "#!/bin/busybox sh\nexport PATH=/bin\nbusybox ip link set eth0 up\n\
        busybox ip addr add 10.0.2.15/24 dev eth0\nexec busybox sh -c \"$(echo \"$load\" | busybox tr + ' ')\"\n";
    fs::write(root.join("init"), script)?;
    let pack =
        "chmod 755 init && ln -s busybox bin/sh && find . | busybox cpio -o -H newc > ../initramfs.cpio";
    let status = Command::new("sh").args(["-c", pack]).current_dir(root).status()?;
    ensure!(status.success(), "packing the initramfs ended with {status}");
    Ok(root.with_file_name("initramfs.cpio"))
}
