//! What a jailed process can and cannot do. Each deed is done by this test's own program, started anew and jailed.
#![allow(clippy::unwrap_used, reason = "a test's own steps succeed or the test fails")]

use std::fs::{self, File};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use monocore_vmm::jail::{self, Jail};
use monocore_vmm::spec::{
    BlockBackend, BlockSpec, DeviceSpec, FileRef, FsSpec, KernelSpec, RamSpec, SPEC_VERSION, Share, Sink,
    VmSpec,
};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

const DEED: &str = "MONOCORE_TEST_DEED";
const SHARE: &str = "MONOCORE_TEST_SHARE";
/// SIGSYS: what seccomp ends a process with.
const SIGSYS: i32 = 31;
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
        },
        devices,
        serial: Sink::Discard,
        timeline: Sink::Discard,
    }
}

fn disk() -> DeviceSpec {
    DeviceSpec::Block(BlockSpec { serial: "d".into(), backend: BlockBackend::Concat { parts: Vec::new() } })
}

fn fs_device(share: &str, read_only: bool) -> DeviceSpec {
    let share = Share { name: "s".into(), source: FileRef::Path(share.into()), read_only };
    DeviceSpec::Fs(FsSpec { tag: "monocore".into(), shares: vec![share] })
}

fn enter(devices: Vec<DeviceSpec>) {
    Jail::prepare(&spec(devices)).unwrap().enter().unwrap();
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
        "open" => {
            enter(vec![disk()]);
            drop(File::open("/dev/null"));
        }
        "socket" => {
            enter(vec![disk()]);
            drop(std::net::UdpSocket::bind("127.0.0.1:0"));
        }
        "exec" => {
            enter(vec![disk()]);
            drop(Command::new("/bin/true").status());
        }
        "exec as file server" => {
            enter(vec![fs_device(&share, false)]);
            drop(Command::new("/bin/true").status());
        }
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
        "gain" => {
            enter(vec![disk()]);
            // SIGSYS does not come here: prctl is the main thread's.
            std::process::exit(i32::from(!rustix::thread::no_new_privs().unwrap()));
        }
        other => panic!("unknown deed {other}"),
    }
    std::process::exit(0);
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
    for deed in ["compute", "gain"] {
        let status = jailed(deed, Path::new(""));
        assert!(status.success(), "{deed}: {status}");
    }
}

#[test]
fn a_forbidden_system_call_ends_the_process() {
    for deed in ["open", "socket", "exec"] {
        let status = jailed(deed, Path::new(""));
        assert_eq!(status.signal(), Some(SIGSYS), "{deed}: {status}");
    }
}

#[test]
fn the_file_server_opens_beneath_its_shares_only() {
    let share = tempfile::tempdir().unwrap();
    fs::write(share.path().join("file"), "x").unwrap();
    let outcome = |deed| jailed(deed, share.path());
    assert_eq!(outcome("exec as file server").signal(), Some(SIGSYS));
    for deed in ["read beneath", "write beneath"] {
        let status = outcome(deed);
        assert!(status.success(), "{deed}: {status}");
    }
    if jail::has_landlock() {
        for deed in ["read outside", "write read-only"] {
            let status = outcome(deed);
            assert_eq!(status.code(), Some(DENIED), "{deed}: {status}");
        }
    }
}

#[test]
fn descriptors_nobody_names_are_closed() {
    let status = jailed("descriptors", Path::new(""));
    assert!(status.success(), "{status}");
}
