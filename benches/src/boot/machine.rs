//! One boot of `monocore vmm`, watched from outside.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use monocore_benches::exits::{Counting, Exits};
use monocore_spec::{
    BlockBackend, BlockPart, BlockSpec, ConsoleSpec, DeviceSpec, FileRef, FsSpec, KernelSpec, Kicks, RamSpec,
    SPEC_VERSION, Sink, TimelineEntry, VmSpec, VsockBackend, VsockSpec,
};
use monocore_vsock::HandoffMessage;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::time::{ClockId, clock_gettime};

use crate::footprint::{self, Footprint};

pub(crate) const RAM_MIB: u32 = 256;
/// The host's port an agent dials.
const AGENT_PORT: u32 = 1024;
/// How long init has to say that it runs once its agent has dialled.
const MARK: Duration = Duration::from_millis(500);
/// How long a guest is left alone before it counts as idle.
const SETTLE: Duration = Duration::from_secs(10);

/// What is booted.
pub(crate) struct Files {
    pub(crate) monocore: PathBuf,
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
}

/// What a boot cost; milliseconds of this clock are millions of instructions.
pub(crate) struct Boot {
    pub(crate) built_ms: f64,
    pub(crate) first_run_ms: f64,
    pub(crate) init_ms: f64,
    pub(crate) agent_ms: f64,
    pub(crate) exits: Exits,
    pub(crate) footprint: Footprint,
    pub(crate) idle_exits_per_s: Option<f64>,
}

/// A file device beside the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileDevice {
    /// None.
    Absent,
    /// One without shares, which takes some while the machine runs.
    Growing,
}

/// Boots once; with `idle`, watches the guest for so long after it has settled.
pub(crate) fn boot(files: &Files, work: &Path, idle: Option<Duration>, device: FileDevice) -> Result<Boot> {
    let timeline = work.join("timeline");
    if timeline.exists() {
        fs::remove_file(&timeline)?;
    }
    let (handoff, far_end) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let spec = serde_json::to_vec(&spec(files, work, &far_end, &timeline, device)?)?;
    let counting = Counting::start()?;
    let began = monotonic_ms();
    let (child, lifeline) = spawn(&files.monocore, &spec, far_end, work)?;
    let mut child = Ended(child);
    let agent = agent(&handoff)?;
    let agent_ms = monotonic_ms() - began;
    let exits = counting.read()?;
    let footprint = footprint::of(child.0.id(), u64::from(RAM_MIB) << 20)?;
    // The agent may dial before init says that it runs.
    sleep(MARK);
    let idle_exits_per_s = idle.map(|span| watch_idle(&counting, span)).transpose()?;
    drop(lifeline);
    child.0.wait()?;
    drop(agent);
    let timeline = fs::read_to_string(&timeline).context("read the timeline")?;
    let at = |event: &str| Ok::<_, anyhow::Error>(moment(&timeline, event)? - began);
    Ok(Boot {
        built_ms: at("built")?,
        first_run_ms: at("first_run")?,
        init_ms: at("mark:1")?,
        agent_ms,
        exits,
        footprint,
        idle_exits_per_s,
    })
}

/// The agent's connection, once the guest has dialled.
fn agent(handoff: &OwnedFd) -> Result<OwnedFd> {
    poll(&mut [PollFd::new(handoff, PollFlags::IN)], None)?;
    let received = HandoffMessage::receive(handoff).context("wait for the agent")?;
    let (message, agent) = received.context("the machine ended before its agent dialled")?;
    ensure!(message.port == AGENT_PORT, "the guest dialled port {}", message.port);
    Ok(agent)
}

/// A child that does not outlive its measurement.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and is waited for all the same.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watch_idle(counting: &Counting, span: Duration) -> Result<f64> {
    sleep(SETTLE);
    let before = counting.read()?.total();
    sleep(span);
    Ok((counting.read()?.total() - before) / span.as_secs_f64())
}

/// Starts `monocore vmm` with its specification, lifeline and handoff socket as inherited descriptors.
fn spawn(monocore: &Path, spec: &[u8], handoff: OwnedFd, work: &Path) -> Result<(Child, UnixStream)> {
    let path = work.join("spec.json");
    fs::File::create(&path)?.write_all(spec)?;
    let spec = File::open(&path)?;
    let (lifeline, other) = UnixStream::pair()?;
    fcntl_setfd(&spec, FdFlags::empty())?;
    fcntl_setfd(&other, FdFlags::empty())?;
    fcntl_setfd(&handoff, FdFlags::empty())?;
    let child = Command::new(monocore)
        .arg("vmm")
        .args([spec.as_raw_fd().to_string(), other.as_raw_fd().to_string()])
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("start {}", monocore.display()))?;
    Ok((child, lifeline))
}

fn spec(
    files: &Files,
    work: &Path,
    handoff: &OwnedFd,
    timeline: &Path,
    device: FileDevice,
) -> Result<VmSpec> {
    let root = work.join("root.img");
    File::create(&root)?.set_len(1 << 20)?;
    let part = BlockPart { file: Some(FileRef::Path(root)), offset_bytes: 0, len_bytes: 1 << 20 };
    let mut devices = vec![
        DeviceSpec::Vsock(VsockSpec {
            guest_cid: 3,
            backend: VsockBackend::Handoff { fd: handoff.as_raw_fd() },
            carries: None,
        }),
        DeviceSpec::Block(BlockSpec {
            serial: "root".into(),
            backend: BlockBackend::Concat { parts: vec![part] },
        }),
        DeviceSpec::Console(ConsoleSpec { output: Sink::Discard, input: None }),
    ];
    if device == FileDevice::Growing {
        devices.push(DeviceSpec::Fs(FsSpec { tag: "monocore".into(), shares: Vec::new(), grows: true }));
    }
    Ok(VmSpec {
        version: SPEC_VERSION,
        name: "bench".into(),
        vcpus: 1,
        ram: RamSpec { size_mib: RAM_MIB, shared: false },
        kernel: KernelSpec {
            image: FileRef::Path(files.kernel.clone()),
            initrd: vec![FileRef::Path(files.initramfs.clone())],
            command_line: "quiet monocore.mark".into(),
            kicks: Kicks::Port,
        },
        devices,
        serial: Sink::Discard,
        timeline: Sink::Path(timeline.to_path_buf()),
        jail: monocore_spec::JailMode::default(),
        control: None,
    })
}

/// When the machine came to `event`, by what it wrote.
pub(crate) fn moment(timeline: &str, event: &str) -> Result<f64> {
    for line in timeline.lines() {
        let entry: TimelineEntry = serde_json::from_str(line)?;
        if entry.event == event {
            return Ok(Duration::from_nanos(entry.monotonic_ns).as_secs_f64() * 1e3);
        }
    }
    bail!("the machine never came to {event}, only to:\n{timeline}")
}

/// This clock now, in milliseconds.
pub(crate) fn monotonic_ms() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    let since = Duration::from_secs(part(now.tv_sec)) + Duration::from_nanos(part(now.tv_nsec));
    since.as_secs_f64() * 1e3
}
