//! What a jail stops: every act of the table, by every thread of every kind of jailed process. Each act has a process of its
//! own, which enters the real jail and then tries.
#![allow(clippy::unwrap_used, reason = "a test's own steps succeed or the test fails")]

#[path = "acts/shapes.rs"]
mod shapes;
#[path = "acts/sys.rs"]
mod sys;
#[path = "acts/table.rs"]
mod table;

use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use monocore_vmm::jail;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, setrlimit, waitpid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use shapes::{SHAPES, Shape, Who};
use table::{Act, Ground};

/// Which shape the runner is to try.
const SHAPE: &str = "MONOCORE_TEST_SHAPE";
/// A call that waits this long was not stopped, seconds.
const PATIENCE: u32 = 10;

/// How an act came out.
#[derive(Debug)]
#[allow(dead_code, reason = "a failure shows how the process ended")]
enum Outcome {
    /// The filter ended the process.
    Stopped,
    /// The call returned this; errors are negative.
    Returned(i64),
    /// The process ended in another way before the call returned.
    Lost(WaitStatus),
}

/// A folder, sockets and a terminal for all acts of one runner.
struct Scene {
    dir: tempfile::TempDir,
    _listeners: (UnixListener, UnixListener),
    keyboard: OwnedFd,
    terminal: OwnedFd,
    abstract_name: String,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let abstract_name = format!("monocore-acts-{}", std::process::id());
        for share in ["share", "fixed"] {
            fs::create_dir(dir.path().join(share)).unwrap();
        }
        let by_path = UnixListener::bind(dir.path().join("socket")).unwrap();
        let by_name = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal =
            rustix::fs::open(ptsname(&keyboard, Vec::new()).unwrap(), flags, Mode::empty()).unwrap();
        let listeners = (by_path, UnixListener::bind_addr(&by_name).unwrap());
        Self { dir, _listeners: listeners, keyboard, terminal, abstract_name }
    }

    /// What one act finds; called in the act's process.
    fn ground(&self) -> Ground {
        let path = |name: &str| {
            let path = self.path().join(name);
            std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap()
        };
        fs::write(self.path().join("file"), "secret").unwrap();
        // What an earlier act left.
        let _ = fs::remove_file(self.path().join("fresh"));
        let _ = fs::remove_dir(self.path().join("fresh"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        Ground {
            outside: i32::try_from(std::os::unix::process::parent_id()).unwrap(),
            file: path("file"),
            folder: path("share"),
            fresh: path("fresh"),
            socket: self.path().join("socket"),
            abstract_name: self.abstract_name.clone(),
            pair: (near.into(), far.into()),
            tcp: TcpStream::connect(listener.local_addr().unwrap()).unwrap().into(),
            open: File::open(self.path().join("file")).unwrap().into(),
        }
    }

    /// Makes the terminal all standard streams of this process, and types something.
    fn sit_down(&self) {
        rustix::io::write(&self.keyboard, b"password\n").unwrap();
        rustix::stdio::dup2_stdin(&self.terminal).unwrap();
        rustix::stdio::dup2_stdout(&self.terminal).unwrap();
        rustix::stdio::dup2_stderr(&self.terminal).unwrap();
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Does `act` as `who` of a process like `shape`, or without a jail.
fn attempt(scene: &Scene, jailed: Option<(&Shape, Who)>, act: &'static Act) -> Outcome {
    let (told, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let process = sys::process(|| {
        sys::end_after(PATIENCE);
        let ground = scene.ground();
        scene.sit_down();
        let attempt = move || {
            let result = (act.attempt)(&ground);
            rustix::io::write(&tell, &result.to_ne_bytes()).unwrap();
        };
        match jailed {
            Some((shape, who)) => {
                jail::restrict_streams().unwrap();
                shape.enter(scene.path(), who, attempt);
            }
            None => attempt(),
        }
    });
    outcome(process, &told)
}

fn outcome(process: Pid, told: &OwnedFd) -> Outcome {
    let (_, status) = waitpid(Some(process), WaitOptions::empty()).unwrap().unwrap();
    let mut result = [0; 8];
    // The parent's own writing end is gone with the closure, so an act that told nothing reads as the end.
    let count = rustix::io::read(told, &mut result).unwrap_or(0);
    if status.terminating_signal() == Some(Signal::SYS.as_raw()) {
        Outcome::Stopped
    } else if count == result.len() {
        Outcome::Returned(i64::from_ne_bytes(result))
    } else {
        Outcome::Lost(status)
    }
}

/// Tries every act as every thread of `shape`, and says what was not stopped.
fn failures(shape: &Shape) -> Vec<String> {
    let scene = Scene::new();
    let mut failures = Vec::new();
    for &who in shape.threads {
        for act in table::all().filter(|act| !shape.is_excused(who, act)) {
            let outcome = attempt(&scene, Some((shape, who)), act);
            let refused = |result: i64| act.refusals.iter().any(|errno| i64::from(-errno) == result);
            match outcome {
                Outcome::Stopped => {}
                Outcome::Returned(result) if refused(result) => {}
                other => failures.push(format!("{} as {who:?}: {}: {other:?}", shape.name, act.name)),
            }
        }
    }
    failures
}

/// Not a test of its own: what the others start, so that each has a process with one thread to fork from.
#[test]
#[ignore = "started by the other tests"]
fn runner() {
    let Ok(name) = std::env::var(SHAPE) else { return };
    // A filter's signal would leave a core file.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).unwrap();
    let failures = match SHAPES.iter().find(|shape| shape.name == name) {
        Some(shape) => failures(shape),
        None => failures_outside(),
    };
    let mut out = std::io::stderr();
    for failure in &failures {
        writeln!(out, "{failure}").unwrap();
    }
    assert!(failures.is_empty(), "{} acts were not stopped", failures.len());
}

fn run(shape: &str) {
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "runner", "--ignored", "--nocapture", "--test-threads=1"])
        .env(SHAPE, shape)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn there_are_as_many_acts_as_were_asked_for() {
    assert!(table::all().count() >= 60);
}

/// Acts that succeed where there is no jail: else the test could not tell a jail from bad arguments.
fn failures_outside() -> Vec<String> {
    let scene = Scene::new();
    let acts = table::all().filter(|act| act.succeeds_outside);
    acts.filter_map(|act| match attempt(&scene, None, act) {
        Outcome::Returned(result) if result >= 0 => None,
        other => Some(format!("{} without a jail: {other:?}", act.name)),
    })
    .collect()
}

#[test]
fn the_acts_succeed_without_a_jail() {
    run("none");
}

macro_rules! shapes {
    ($($test:ident: $shape:literal,)*) => { $(
        #[test]
        fn $test() {
            run($shape);
        }
    )* };
}

shapes! {
    a_machine_without_a_network: "run",
    a_machine_with_shares: "shares",
    a_machine_that_takes_shares_later: "grows",
    a_machine_with_a_network_card: "nat",
    a_machine_whose_sockets_are_carried: "tsi",
    a_machine_with_a_tap_interface: "tap",
    a_machine_behind_passt: "passt",
    a_file_server: "vhost-user fs",
    a_socket_server: "vhost-user vsock",
    a_disk_server: "vhost-user blk",
    a_network_server: "vhost-user net",
    a_broker: "broker",
}
