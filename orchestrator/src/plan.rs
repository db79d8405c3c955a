//! A sandbox's description and image, made into everything a machine needs to start: its own description, open files,
//! and what the agent is told.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use monocore_oci::{ImageConfig, RootImage};
use monocore_protocol::{
    ByteString, Configure, Exec, HostEntry, Mount, MountSource, ROOT_SERIAL, Root, SCRATCH_SERIAL, SHARE_TAG,
    ScratchDisk, Tmpfs, Upper,
};
use monocore_spec::{
    BlockBackend, BlockPart, BlockSpec, DeviceSpec, FileRef, FsSpec, KernelSpec, Kicks, RamSpec,
    SPEC_VERSION, Share, Sink, VmSpec, VsockBackend, VsockSpec,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::boot::BootFiles;
use crate::live::{MachineSize, cpu_max};
use crate::mounts::{Kind, Mounts};
use crate::peers::PeerLine;
use crate::scratch::{self, Scratch};
use crate::spec::{PublishSocket, SandboxSpec};
use crate::{Error, Home, HostSocket, Published, PublishedSocket, RunDir, Timeline, network, process};

/// The name under which a directory that is the root is shared.
const ROOT_SHARE: &str = "root";
/// The guest's address on its socket device; there is one guest per device, so all have the same.
const GUEST_CID: u32 = 3;
/// The word of the kernel command line that has init say when it begins.
const BOOT_MARK: &str = " monocore.mark";

/// What a guest's root is made of, found and ready.
#[derive(Debug)]
pub enum RootFiles<'a> {
    /// An image: what it says about its command, and the disk it becomes.
    Image(&'a ImageConfig, RootImage),
    /// A directory.
    Directory(&'a Path),
}

static NO_IMAGE: LazyLock<ImageConfig> = LazyLock::new(ImageConfig::default);

impl RootFiles<'_> {
    /// What the image says about its command; a directory says nothing.
    #[must_use]
    pub fn config(&self) -> &ImageConfig {
        match self {
            RootFiles::Image(config, _) => config,
            RootFiles::Directory(_) => &NO_IMAGE,
        }
    }
}

/// Where the disk that takes the writes lies.
#[derive(Debug)]
pub(crate) enum DiskPlace {
    /// In a file without a name, in this directory: the disk goes with the machine.
    Nameless(PathBuf),
    /// In this file, which is made if it is not there.
    Named(PathBuf),
}

/// Everything a machine needs to start.
#[derive(Debug)]
pub struct Plan {
    /// The machine; names the descriptors of `files` by number.
    pub vm: VmSpec,
    /// Open until the machine has them.
    pub files: Vec<OwnedFd>,
    /// This process's end of the socket over which the machine hands the guest's connections.
    pub handoff: OwnedFd,
    /// This process's end of the machine control channel.
    pub channel: OwnedFd,
    /// What the guest becomes.
    pub configure: Configure,
    /// The command.
    pub exec: Exec,
    /// Sockets of the host that the guest may connect to, by the numbers that `configure` gives them.
    pub sockets: Vec<HostSocket>,
    /// Sockets of the host that lead into the guest.
    pub published_sockets: Vec<PublishedSocket>,
    /// The way to the other members of its groups.
    pub(crate) peers: Option<PeerLine>,
    /// What the machine is started with.
    pub(crate) size: MachineSize,
    /// Where the points of the run go.
    pub timeline: Timeline,
    /// The disk that takes the writes outlives the machine.
    pub(crate) keeps_disk: bool,
    /// The machine takes shares while it runs.
    pub(crate) live_mounts: bool,
}

impl Plan {
    /// Opens and makes what `spec` asks for: kernel, root, mounts, a scratch disk in `run_dir`. `published` are its ports.
    ///
    /// # Errors
    /// Something cannot be opened or made; there is nothing to run.
    pub fn make(
        home: &Home,
        run_dir: &RunDir,
        spec: &SandboxSpec,
        root: &RootFiles<'_>,
        published: Published,
    ) -> Result<Self, Error> {
        let disk = DiskPlace::Nameless(run_dir.path().to_owned());
        Self::make_with(home, run_dir, spec, root, published, &disk)
    }

    /// The same, with the disk that takes the writes at `place`.
    pub(crate) fn make_with(
        home: &Home,
        run_dir: &RunDir,
        spec: &SandboxSpec,
        root: &RootFiles<'_>,
        published: Published,
        place: &DiskPlace,
    ) -> Result<Self, Error> {
        let image = root.config();
        let exec = process::exec(&spec.process, image)?;
        let timeline = spec.machine.timeline.as_deref().map(Timeline::append_to).transpose()?;
        let timeline = timeline.unwrap_or_default();
        let boot = BootFiles::open(home, spec.machine.kernel.as_deref())?;
        let mut mounts = Mounts::open(home, &spec.mounts, &image.volumes)?;
        let mut files = Files::default();
        let (handoff, far_end) = handoff_pair()?;
        let joined = run_dir.groups();
        // One that is kept may join a group later.
        let has_line = spec.network.mode.is_ours() && !(joined.is_empty() && run_dir.is_ephemeral());
        let interface = network::interface(&spec.network.mode);
        let line = has_line.then(|| PeerLine::new(home, &joined, interface));
        let (peers, far_line) = line.transpose()?.unzip();
        let network =
            network::machine(&spec.network, run_dir, (published, far_line), |file| files.keep(file))?;
        let (carries, card) = network.parts();
        let backend = VsockBackend::Handoff { fd: files.keep(far_end) };
        let mut devices = vec![DeviceSpec::Vsock(VsockSpec { guest_cid: GUEST_CID, backend, carries })];
        let guest_root = match root {
            RootFiles::Image(_, image) => {
                devices.push(root_disk(image, &mut files)?);
                Root::Image { upper: upper(place, spec, &mut devices, &mut files)? }
            }
            RootFiles::Directory(path) => shared_root(home, path, spec.root.read_only, &mut mounts)?,
        };
        let configure = configure(spec, run_dir, guest_root, &mut mounts)?;
        let configure = fitted(configure, &exec, !spec.process.secrets.is_empty());
        let sockets = std::mem::take(&mut mounts.sockets);
        let publish = |wanted: &PublishSocket| PublishedSocket::bind(&wanted.host, &wanted.guest);
        let published_sockets = spec.publish_sockets.iter().map(publish).collect::<Result<_, _>>()?;
        if spec.machine.live_mounts || !mounts.shares.is_empty() {
            devices.push(shares(mounts, spec.machine.live_mounts, &mut files));
        }
        devices.extend((!run_dir.is_ephemeral()).then_some(DeviceSpec::Balloon));
        // Last, so that no other device's place depends on it.
        devices.extend(card.map(DeviceSpec::Net));
        let mut vm = machine(spec, run_dir, boot, devices, &mut files);
        let (channel, far_end) = monocore_channel::pair().map_err(Error::Spawn)?;
        vm.control = Some(files.keep(far_end));
        if let Some(file) = timeline.file() {
            let file = file.try_clone_to_owned().map_err(Error::Spawn)?;
            vm.timeline = Sink::Fd(files.keep(file));
            vm.kernel.command_line.push_str(BOOT_MARK);
        }
        timeline.record("planned");
        let keeps_disk = matches!(place, DiskPlace::Named(_));
        Ok(Self {
            vm,
            files: files.0,
            handoff,
            channel,
            configure,
            exec,
            sockets,
            published_sockets,
            peers,
            timeline,
            keeps_disk,
            live_mounts: spec.machine.live_mounts,
            size: MachineSize::of(&spec.machine),
        })
    }

    /// The descriptors `vm` names.
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.files.iter().map(AsFd::as_fd).collect()
    }
}

/// A directory of the host as the guest's root.
fn shared_root(home: &Home, path: &Path, read_only: bool, mounts: &mut Mounts) -> Result<Root, Error> {
    if mounts.share(home, ROOT_SHARE.into(), path, read_only)? == Kind::File {
        return Err(Error::NoDirectory(path.to_path_buf()));
    }
    Ok(Root::Share { name: ROOT_SHARE.into(), upper: read_only.then_some(Upper::ReadOnly) })
}

/// Files kept open because a spec names their descriptors.
#[derive(Default)]
struct Files(Vec<OwnedFd>);

impl Files {
    fn keep(&mut self, file: impl Into<OwnedFd>) -> i32 {
        let file = file.into();
        let number = file.as_raw_fd();
        self.0.push(file);
        number
    }

    fn reference(&mut self, file: impl Into<OwnedFd>) -> FileRef {
        FileRef::Fd(self.keep(file))
    }
}

fn handoff_pair() -> Result<(OwnedFd, OwnedFd), Error> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|errno| Error::Spawn(errno.into()))
}

/// The image as one disk: its files, and zeroes where there are none.
fn root_disk(image: &RootImage, files: &mut Files) -> Result<DeviceSpec, Error> {
    let mut parts = Vec::with_capacity(2 * image.parts.len());
    let mut end = 0;
    for part in &image.parts {
        if part.offset_bytes > end {
            parts.push(BlockPart { file: None, offset_bytes: 0, len_bytes: part.offset_bytes - end });
        }
        let file = File::open(&part.path).map_err(Error::file("open", &part.path))?;
        parts.push(BlockPart {
            file: Some(files.reference(file)),
            offset_bytes: 0,
            len_bytes: part.len_bytes,
        });
        end = part.offset_bytes + part.len_bytes;
    }
    if image.len_bytes > end {
        parts.push(BlockPart { file: None, offset_bytes: 0, len_bytes: image.len_bytes - end });
    }
    Ok(disk(ROOT_SERIAL, BlockBackend::Concat { parts }))
}

fn disk(serial: &str, backend: BlockBackend) -> DeviceSpec {
    DeviceSpec::Block(BlockSpec { serial: serial.into(), backend })
}

/// Where writes to an image's root go: to a new disk unless there are to be none.
fn upper(
    place: &DiskPlace,
    spec: &SandboxSpec,
    devices: &mut Vec<DeviceSpec>,
    files: &mut Files,
) -> Result<Upper, Error> {
    if spec.root.read_only {
        return Ok(Upper::ReadOnly);
    }
    let bytes = spec.root.disk_bytes.unwrap_or(scratch::DEFAULT_BYTES);
    let scratch = match place {
        DiskPlace::Nameless(dir) => Scratch::create(dir, bytes)?,
        DiskPlace::Named(path) => Scratch::open_or_create(path, bytes)?,
    };
    let backend = BlockBackend::Raw { file: files.reference(scratch.file), read_only: false };
    devices.push(disk(SCRATCH_SERIAL, backend));
    Ok(Upper::Disk(ScratchDisk { grow: scratch.grow }))
}

fn shares(mounts: Mounts, grows: bool, files: &mut Files) -> DeviceSpec {
    let shares = mounts.shares.into_iter().map(|share| Share {
        name: share.name,
        source: files.reference(share.root),
        read_only: share.read_only,
    });
    DeviceSpec::Fs(FsSpec { tag: SHARE_TAG.into(), shares: shares.collect(), grows })
}

fn configure(
    spec: &SandboxSpec,
    run_dir: &RunDir,
    root: Root,
    mounts: &mut Mounts,
) -> Result<Configure, Error> {
    let hosts =
        spec.hosts.iter().map(|entry| HostEntry { address: entry.address, names: vec![entry.name.clone()] });
    let mut configure = Configure::new(root);
    configure.mounts = std::mem::take(&mut mounts.requests);
    configure.hostname = spec.hostname.clone().unwrap_or_else(|| run_dir.record().id.clone());
    configure.hosts = hosts.collect();
    configure.shm_bytes = spec.machine.shm_bytes;
    configure.domainname = spec.machine.domainname.clone().unwrap_or_default();
    configure.sysctls = spec.machine.sysctls.clone().into_iter().collect();
    configure.pids_max = spec.machine.pids_limit;
    configure.cpu_max = spec.machine.cpu_millis.map(cpu_max);
    network::guest(&spec.network, &run_dir.groups(), &mut configure);
    configure.entropy = entropy()?;
    Ok(configure)
}

/// What of the set-up the command decides: where it works, and whose its secrets are.
fn fitted(mut configure: Configure, exec: &Exec, has_secrets: bool) -> Configure {
    configure.workdir = exec.cwd.clone();
    configure.secrets_owner.clone_from(&exec.user);
    if exec.is_init && has_secrets {
        keep_secrets_in_sight(&mut configure);
    }
    configure
}

/// systemd mounts a memory file system over `/run` unless one is there, and would hide the secrets.
fn keep_secrets_in_sight(configure: &mut Configure) {
    let run = ByteString::from("/run");
    if configure.mounts.iter().all(|mount| mount.target != run) {
        let tmpfs = Tmpfs { mode: Some(0o755), exec: true, ..Tmpfs::default() };
        let mount = Mount { source: MountSource::Tmpfs(tmpfs), target: run, read_only: false };
        configure.mounts.insert(0, mount);
    }
}

/// Seed for the guest's random number generator, which has no other source this early.
fn entropy() -> Result<ByteString, Error> {
    let mut seed = [0; 64];
    rustix::rand::getrandom(&mut seed[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::file("read", "/dev/urandom")(errno.into()))?;
    Ok(seed[..].into())
}

fn machine(
    spec: &SandboxSpec,
    run_dir: &RunDir,
    boot: BootFiles,
    devices: Vec<DeviceSpec>,
    files: &mut Files,
) -> VmSpec {
    VmSpec {
        version: SPEC_VERSION,
        name: run_dir.record().name.clone(),
        vcpus: spec.machine.vcpus,
        ram: RamSpec { size_mib: spec.machine.ram_mib, shared: false },
        kernel: KernelSpec {
            image: files.reference(boot.kernel),
            initrd: vec![files.reference(boot.initramfs)],
            command_line: boot.command_line.into(),
            kicks: if boot.foreign { Kicks::Register } else { Kicks::Port },
        },
        devices,
        // Our kernel reports a panic through the exit device; another one can only print it.
        serial: if boot.foreign { Sink::Fd(2) } else { Sink::Discard },
        timeline: Sink::Discard,
        jail: spec.machine.jail,
        control: None,
    }
}

#[cfg(test)]
mod tests;
