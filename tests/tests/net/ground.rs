//! What the tests of the network stand on: addresses that are public to a policy and lead to this machine, an image with our
//! programs, and processes at the other end.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use monocore_test_images::image::Layer;
use monocore_tests::image::{busybox, program};
use monocore_tests::world::World;
use serde_json::json;

/// The image with a shell and our programs.
pub(crate) const IMAGE: &str = "test/net:latest";
/// An address that is public to the policy and leads here, and its network.
pub(crate) const PEER_V4: &str = "93.184.216.34";
pub(crate) const PUBLIC_V4: &str = "93.184.216.0/24";
/// The same of IPv6.
pub(crate) const PEER_V6: &str = "2a00:1234::34";
pub(crate) const PUBLIC_V6: &str = "2a00:1234::/64";
/// What our programs are linked with.
const LIBRARIES: [&str; 3] =
    ["lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/libc.so.6", "lib/x86_64-linux-gnu/libgcc_s.so.1"];

/// How a sandbox reaches others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A card and a user-mode stack behind it.
    Nat,
    /// The guest's own sockets, carried to this machine's.
    Tsi,
}

impl Mode {
    /// What `--network` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Tsi => "tsi",
        }
    }

    /// Whether the guest has a card that it can send any frame through.
    pub(crate) fn has_card(self) -> bool {
        self == Self::Nat
    }

    /// A number of its own, to keep ports apart.
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::Nat => 0,
            Self::Tsi => 1,
        }
    }
}

static TURN: RwLock<()> = RwLock::new(());

/// Held by a test that measures time by waits: two guests on one emulated processor stretch each other's.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    // A test that failed leaves nothing half done.
    TURN.write().unwrap_or_else(PoisonError::into_inner)
}

/// Held by every other test.
pub(crate) fn beside_others() -> RwLockReadGuard<'static, ()> {
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}

/// A process of this machine that ends with this value.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The world with [`IMAGE`] in it and the public addresses leading here.
pub(crate) fn world() -> &'static World {
    static READY: OnceLock<&'static World> = OnceLock::new();
    READY.get_or_init(|| {
        ip(&["route", "replace", "local", PUBLIC_V4, "dev", "lo"]);
        ip(&["-6", "route", "replace", "local", PUBLIC_V6, "dev", "lo"]);
        let world = World::get();
        let mut programs = Layer::default();
        for dir in ["lib", "lib/x86_64-linux-gnu", "lib64"] {
            programs.dir(dir);
        }
        for library in LIBRARIES {
            program(&mut programs, library, &std::fs::read(Path::new("/").join(library)).unwrap());
        }
        for path in [SUITE, LOAD].map(Path::new) {
            let name = path.file_name().unwrap().to_str().unwrap();
            program(&mut programs, &format!("bin/{name}"), &std::fs::read(path).unwrap());
        }
        let config = json!({ "Env": ["PATH=/bin"] });
        world.load(IMAGE, &config, &[busybox().unwrap(), programs]);
        world
    })
}

/// The program that is both ends of many tests.
pub(crate) const SUITE: &str = env!("CARGO_BIN_EXE_socket-suite");

/// The program that loads and attacks.
const LOAD: &str = env!("CARGO_BIN_EXE_net-load");

/// Debian's `ip` with these arguments.
pub(crate) fn ip(arguments: &[&str]) {
    let made = Command::new("ip").args(arguments).status().expect("Debian's iproute2");
    assert!(made.success(), "ip {arguments:?}");
}

/// Starts a program that says `ready` when it is.
pub(crate) fn start(command: &mut Command) -> Running {
    let mut child = Running(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = [0; 6];
    child.0.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"ready\n");
    child
}

/// `monocore run` of [`IMAGE`] in `mode`.
pub(crate) fn run(mode: Mode, flags: &[&str], command: &[&str]) -> Command {
    world().run_command([&["--network", mode.name()], flags, &[IMAGE], command].concat())
}
