//! What a jailed process can do, and what its file server cannot; `acts.rs` has what nobody can. Each deed is done by this test's own program, started anew and jailed.
#![allow(clippy::unwrap_used, reason = "a test's own steps succeed or the test fails")]

use std::fs::{self, File};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use monocore_fs::{CachePolicy, Fs, FsConfig, FsShare, ServerConfig};
use monocore_vmm::jail::{self, Jail};
use monocore_vmm::spec::{
    BlockBackend, BlockSpec, ConsoleSpec, DeviceSpec, FileRef, FsSpec, KernelSpec, Kicks, NatSpec, NetSpec,
    ProxySpec, RamSpec, SPEC_VERSION, Share, Sink, VmSpec, VsockBackend, VsockSpec,
};
use monocore_vmm::{Confinement, StartsOn, ThreadKind};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

const DEED: &str = "MONOCORE_TEST_DEED";
const SHARE: &str = "MONOCORE_TEST_SHARE";
/// A deed that was denied by an error, not by death.
const DENIED: i32 = 42;

fn spec(devices: Vec<DeviceSpec>) -> VmSpec {
    VmSpec {
        version: SPEC_VERSION,
        name: "jail".into(),
        vcpus: 1,
        ram: RamSpec { size_mib: 32, shared: false },
        kernel: KernelSpec {
            image: FileRef::Path("/nowhere".into()),
            initrd: Vec::new(),
            command_line: String::new(),
            kicks: Kicks::default(),
        },
        devices,
        serial: Sink::Discard,
        timeline: Sink::Discard,
        jail: monocore_vmm::spec::JailMode::default(),
        control: None,
    }
}

fn disk() -> DeviceSpec {
    DeviceSpec::Block(BlockSpec { serial: "d".into(), backend: BlockBackend::Concat { parts: Vec::new() } })
}

fn fs_device(share: &str, read_only: bool) -> DeviceSpec {
    let share = Share { name: "s".into(), source: FileRef::Path(share.into()), read_only };
    DeviceSpec::Fs(FsSpec { tag: "monocore".into(), shares: vec![share], grows: false })
}

fn vsock(carries: Option<ProxySpec>) -> DeviceSpec {
    DeviceSpec::Vsock(VsockSpec { guest_cid: 3, backend: VsockBackend::Attached, carries })
}

fn nat() -> DeviceSpec {
    DeviceSpec::Net(NetSpec::Nat(NatSpec { mac: [2, 0, 0, 0, 0, 1], proxy: ProxySpec::default() }))
}

/// Every kind of device, one that takes shares later among them.
fn all_devices() -> Vec<DeviceSpec> {
    vec![
        disk(),
        vsock(None),
        DeviceSpec::Console(ConsoleSpec { output: Sink::Discard, input: None }),
        DeviceSpec::Rng,
        DeviceSpec::Fs(FsSpec { tag: "monocore".into(), shares: Vec::new(), grows: true }),
    ]
}

fn enter(devices: Vec<DeviceSpec>) {
    Jail::prepare(&spec(devices)).unwrap().enter().unwrap();
}

/// Enters the jail of a machine that takes shares later.
fn enter_growing() -> Arc<dyn Confinement> {
    enter_growing_with(nat())
}

fn enter_growing_with(network: DeviceSpec) -> Arc<dyn Confinement> {
    let mut devices = all_devices();
    devices.push(network);
    let jail = Jail::prepare(&spec(devices)).unwrap();
    let confinement = jail.confinement();
    jail.enter().unwrap();
    confinement
}

/// A thread of the machine's takes much memory and gives it back. It is the first one that is started: this test's own has a heap
/// already, which a later one might share.
fn shrink_as(kind: ThreadKind) {
    let jail = Jail::prepare(&spec(vec![nat()])).unwrap();
    let setup = jail.confinement().thread_setup(kind);
    jail.enter().unwrap();
    let thread = std::thread::spawn(move || {
        setup().unwrap();
        for _ in 0..3 {
            drop((0..400).map(|_| vec![1_u8; 20_000]).collect::<Vec<_>>());
        }
    });
    thread.join().unwrap();
}

/// A thread empties the file of receipts it was given.
fn empty_as(kind: ThreadKind, network: DeviceSpec) {
    let file = tempfile::tempfile().unwrap();
    let setup = enter_growing_with(network).thread_setup(kind);
    let thread = std::thread::spawn(move || {
        setup().unwrap();
        file.set_len(0).unwrap();
    });
    thread.join().unwrap();
}

/// What the file server's thread may open, as its shares come and go.
fn serve_growing(share: &str) {
    let config = FsConfig {
        tag: "monocore".into(),
        request_queues: 1,
        shares: Vec::new(),
        server: ServerConfig::for_this_process(),
    };
    let roots = ["first", "later"].map(|name| File::open(format!("{share}/{name}")).unwrap());
    let [first, later] = roots.map(OwnedFd::from);
    let shares = Fs::new(config).unwrap().handle();
    let confinement = enter_growing();
    let StartsOn::KeptThread(keeper) = confinement.starts_on(ThreadKind::Fs) else { panic!("no keeper") };
    let setup = confinement.fs_setup(&shares);
    // Each time by a new thread, as each start of the device has one.
    let opens = || {
        let (setup, share) = (Arc::clone(&setup), share.to_owned());
        let start = move || {
            std::thread::spawn(move || {
                setup().unwrap();
                ["first/file", "later/file", "outside"].map(|name| opens(&format!("{share}/{name}")))
            })
        };
        keeper.run(start).unwrap().join().unwrap()
    };
    let add = |name: &str, root, read_only| {
        let (shares, name) = (shares.clone(), name.to_owned());
        let share = FsShare { name, root, read_only, cache: CachePolicy::Auto };
        keeper.run(move || shares.add(share)).unwrap().unwrap();
    };
    assert_eq!(opens(), [Rights::None; 3]);
    add("first", first, false);
    assert_eq!(opens(), [Rights::ReadWrite, Rights::None, Rights::None]);
    add("later", later, true);
    assert_eq!(opens(), [Rights::ReadWrite, Rights::Read, Rights::None]);
    shares.remove("first").unwrap();
    assert_eq!(opens(), [Rights::None, Rights::Read, Rights::None]);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rights {
    None,
    Read,
    ReadWrite,
}

/// How a file can be opened, asked as the file server asks.
fn opens(path: &str) -> Rights {
    let open =
        |flags| openat2(CWD, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    match (open(OFlags::RDONLY), open(OFlags::RDWR)) {
        (Err(Errno::ACCESS), Err(Errno::ACCESS)) => Rights::None,
        (Ok(_), Err(Errno::ACCESS)) => Rights::Read,
        (Ok(_), Ok(_)) => Rights::ReadWrite,
        other => panic!("{path}: {other:?}"),
    }
}

/// Opens as the file server may; an error is told by the exit status.
fn open_beneath(path: &str, flags: OFlags) {
    let mode = if flags.contains(OFlags::CREATE) { Mode::from(0o600) } else { Mode::empty() };
    let outcome = openat2(CWD, path, flags | OFlags::CLOEXEC, mode, ResolveFlags::NO_MAGICLINKS);
    match outcome {
        Ok(_) => {}
        Err(Errno::ACCESS) => std::process::exit(DENIED),
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Not a test of its own: what the others start.
#[test]
#[ignore = "started by the other tests"]
fn child() {
    let Ok(deed) = std::env::var(DEED) else { return };
    let share = std::env::var(SHARE).unwrap_or_default();
    match deed.as_str() {
        "compute" => enter(vec![disk()]),
        "read beneath" => {
            enter(vec![fs_device(&share, true)]);
            open_beneath(&format!("{share}/file"), OFlags::RDONLY);
        }
        "write read-only" => {
            enter(vec![fs_device(&share, true)]);
            open_beneath(&format!("{share}/file"), OFlags::WRONLY);
        }
        "write beneath" => {
            enter(vec![fs_device(&share, false)]);
            open_beneath(&format!("{share}/new"), OFlags::WRONLY | OFlags::CREATE);
        }
        "read outside" => {
            enter(vec![fs_device(&share, false)]);
            open_beneath("/etc/passwd", OFlags::RDONLY);
        }
        "descriptors" => {
            let (kept, other) = (File::open("/dev/null").unwrap(), File::open("/dev/null").unwrap());
            let mut spec = spec(Vec::new());
            spec.kernel.initrd.push(FileRef::Fd(kept.as_raw_fd()));
            // Not a destructor's any more: the number is closed beneath it.
            let other = other.into_raw_fd();
            jail::close_others(&jail::named_descriptors(&spec)).unwrap();
            assert!(Path::new(&format!("/proc/self/fd/{}", kept.as_raw_fd())).exists());
            assert!(!Path::new(&format!("/proc/self/fd/{other}")).exists());
        }
        "unknown kind" => {
            let jail = Jail::prepare(&spec(vec![disk()])).unwrap();
            let confinement = jail.confinement();
            jail.enter().unwrap();
            confinement.thread_setup(ThreadKind::Vsock)().unwrap_err();
        }
        "gain" => {
            let status = File::open("/proc/thread-self/status").unwrap();
            let mut text = vec![0; 8192];
            enter(vec![disk()]);
            let count = rustix::io::read(&status, &mut text).unwrap();
            let text = String::from_utf8_lossy(&text[..count]);
            assert!(text.contains("NoNewPrivs:\t1") && text.contains("Seccomp:\t2"), "{text}");
        }
        other => growing(other, &share),
    }
    std::process::exit(0);
}

/// Deeds of a machine that takes shares later.
fn growing(deed: &str, share: &str) {
    match deed {
        "shrink as nat" => shrink_as(ThreadKind::Nat),
        "empty as nat" => empty_as(ThreadKind::Nat, nat()),
        "empty as tsi" => empty_as(ThreadKind::Tsi, vsock(Some(ProxySpec::default()))),
        "serve growing" => serve_growing(share),
        other => panic!("unknown deed {other}"),
    }
}

fn jailed(deed: &str, share: &Path) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DEED, deed)
        .env(SHARE, share)
        .status()
        .unwrap()
}

#[test]
fn what_a_machine_does_is_allowed() {
    for deed in ["compute", "gain", "unknown kind", "shrink as nat", "empty as nat", "empty as tsi"] {
        let status = jailed(deed, Path::new(""));
        assert!(status.success(), "{deed}: {status}");
    }
}

#[test]
fn the_file_server_opens_beneath_its_shares_only() {
    let share = tempfile::tempdir().unwrap();
    fs::write(share.path().join("file"), "x").unwrap();
    let outcome = |deed| jailed(deed, share.path());
    for deed in ["read beneath", "write beneath"] {
        let status = outcome(deed);
        assert!(status.success(), "{deed}: {status}");
    }
    if jail::landlock_version() > 0 {
        for deed in ["read outside", "write read-only"] {
            let status = outcome(deed);
            assert_eq!(status.code(), Some(DENIED), "{deed}: {status}");
        }
    }
}

#[test]
fn the_file_server_follows_its_shares_as_they_come_and_go() {
    let share = tempfile::tempdir().unwrap();
    for name in ["first", "later"] {
        fs::create_dir(share.path().join(name)).unwrap();
        fs::write(share.path().join(name).join("file"), "x").unwrap();
    }
    fs::write(share.path().join("outside"), "x").unwrap();
    if jail::landlock_version() > 0 {
        let status = jailed("serve growing", share.path());
        assert!(status.success(), "{status}");
    }
}

#[test]
fn descriptors_nobody_names_are_closed() {
    let status = jailed("descriptors", Path::new(""));
    assert!(status.success(), "{status}");
}
