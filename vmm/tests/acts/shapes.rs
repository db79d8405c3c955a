//! Every kind of jailed process, and its threads.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use monocore_fs::{Fs, FsConfig, ServerConfig};
use monocore_virtio::ThreadSetup;
use monocore_vmm::jail::{Jail, enter_as_broker};
use monocore_vmm::spec::{
    BlockBackend, BlockSpec, ConsoleSpec, DeviceSpec, FileRef, FsSpec, JailMode, KernelSpec, Kicks,
    ProxySpec, RamSpec, SPEC_VERSION, Share, Sink, VmSpec, VsockBackend, VsockSpec,
};
use monocore_vmm::{Confinement, StartsOn, ThreadKind};

use super::table::{self, Act};

/// A kind of jailed process.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) threads: &'static [Who],
    process: Process,
}

/// Which thread of a process does an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The one the process began with.
    Main,
    /// One that the main thread starts.
    Thread(ThreadKind),
    /// The one that starts the file server's, where shares may be added.
    Keeper,
    /// A file server's that it starts.
    KeptFs,
}

enum Process {
    /// A machine with this network, with or without shares.
    Machine { network: Network, shares: Shares },
    /// A vhost-user server.
    Server(ThreadKind),
    /// A socket device's broker.
    Broker,
}

#[derive(Clone, Copy)]
enum Shares {
    None,
    Some,
    Growing,
}

/// A machine's way to the network.
#[derive(Clone, Copy)]
enum Network {
    None,
    /// By its sockets.
    Sockets,
    /// By this card.
    Card(&'static str),
}

const NONE: Network = Network::None;
const NAT: Network = Network::Card(r#"{"nat":{"mac":[2,0,0,0,0,1]}}"#);
const TSI: Network = Network::Sockets;
const TAP: Network = Network::Card(r#"{"tap":{"mac":[2,0,0,0,0,1],"interface":{"fd":3}}}"#);
const PASST: Network = Network::Card(r#"{"passt":{"mac":[2,0,0,0,0,1],"fd":3}}"#);

use ThreadKind::{Balloon, Block, Console, Fs as FileServer, Nat, Passt, Rng, Tap, Tsi, Vcpu, Vsock};
use Who::{Keeper, KeptFs, Main, Thread};

const fn machine(name: &'static str, network: Network, shares: Shares, threads: &'static [Who]) -> Shape {
    Shape { name, threads, process: Process::Machine { network, shares } }
}

const fn server(name: &'static str, kind: ThreadKind, threads: &'static [Who]) -> Shape {
    Shape { name, threads, process: Process::Server(kind) }
}

pub(crate) const SHAPES: &[Shape] = &[
    machine(
        "run",
        NONE,
        Shares::None,
        &[Main, Thread(Vcpu), Thread(Vsock), Thread(Block), Thread(Console), Thread(Rng), Thread(Balloon)],
    ),
    machine("shares", NONE, Shares::Some, &[Main, Thread(FileServer), Thread(Vcpu), Thread(Vsock)]),
    machine("grows", NAT, Shares::Growing, &[Main, Keeper, KeptFs, Thread(Vcpu), Thread(Vsock), Thread(Nat)]),
    machine("nat", NAT, Shares::None, &[Main, Thread(Nat), Thread(Vcpu), Thread(Vsock), Thread(Block)]),
    machine("tsi", TSI, Shares::None, &[Main, Thread(Tsi), Thread(Vcpu), Thread(Block)]),
    machine("tap", TAP, Shares::None, &[Main, Thread(Tap), Thread(Vcpu)]),
    machine("passt", PASST, Shares::None, &[Main, Thread(Passt), Thread(Vcpu)]),
    server("vhost-user fs", FileServer, &[Main, Thread(FileServer)]),
    server("vhost-user vsock", Vsock, &[Main, Thread(Vsock)]),
    server("vhost-user blk", Block, &[Main, Thread(Block)]),
    server("vhost-user net", Nat, &[Main, Thread(Nat)]),
    Shape { name: "broker", threads: &[Main], process: Process::Broker },
];

impl Shape {
    /// Whether `who` may do this all the same.
    pub(crate) fn is_excused(&self, who: Who, act: &Act) -> bool {
        let of = |table: &[Act]| table.iter().any(|other| other.name == act.name);
        match (&self.process, who) {
            // To connect to sockets of a path is what the broker is for.
            (Process::Broker, _) => act.name == "connect to a Unix socket by path",
            // Landlock would hold every thread that it starts as well.
            (_, Keeper) => of(table::FILES) || of(table::METADATA),
            (_, KeptFs | Thread(FileServer)) => of(table::METADATA),
            // The main thread may what each thread that it starts may.
            (_, Main) => self.threads.contains(&Thread(FileServer)) && of(table::METADATA),
            _ => false,
        }
    }

    /// Enters the jail of this shape and has `who` do `act`. `dir` has the shares.
    pub(crate) fn enter(&self, dir: &Path, who: Who, act: impl FnOnce() + Send + 'static) {
        let (jail, fs) = match &self.process {
            Process::Broker => {
                enter_as_broker(&dir.join("share/broker")).unwrap();
                return act();
            }
            Process::Machine { network, shares } => {
                (Jail::prepare(&spec(devices(dir, *network, *shares))).unwrap(), Some(empty_fs()))
            }
            Process::Server(kind) => {
                let root = |name: &str| File::open(dir.join(name)).unwrap().into();
                let shares = match kind {
                    FileServer => vec![(root("share"), false), (root("fixed"), true)],
                    _ => Vec::new(),
                };
                (Jail::prepare_server(*kind, shares, JailMode::Strict).unwrap(), None)
            }
        };
        let confinement = jail.confinement();
        jail.enter().unwrap();
        match who {
            Main => act(),
            Thread(kind) => run_thread(confinement.thread_setup(kind), act),
            Keeper => keep(&confinement, act),
            KeptFs => {
                let setup = confinement.fs_setup(&fs.unwrap().handle());
                keep(&confinement, move || run_thread(setup, act));
            }
        }
    }
}

fn run_thread(setup: ThreadSetup, act: impl FnOnce() + Send + 'static) {
    let confined = move || {
        setup().unwrap();
        act();
    };
    thread::spawn(confined).join().unwrap();
}

fn keep(confinement: &Arc<dyn Confinement>, act: impl FnOnce() + Send + 'static) {
    let StartsOn::KeptThread(keeper) = confinement.starts_on(FileServer) else { panic!("no keeper") };
    keeper.run(act).unwrap();
}

fn empty_fs() -> Fs {
    let server = ServerConfig::for_this_process();
    let config = FsConfig { tag: "monocore".into(), request_queues: 1, shares: Vec::new(), server };
    Fs::new(config).unwrap()
}

fn devices(dir: &Path, network: Network, shares: Shares) -> Vec<DeviceSpec> {
    let carries = matches!(network, Network::Sockets).then(ProxySpec::default);
    let mut devices = vec![
        DeviceSpec::Block(BlockSpec {
            serial: "d".into(),
            backend: BlockBackend::Concat { parts: Vec::new() },
        }),
        DeviceSpec::Vsock(VsockSpec { guest_cid: 3, backend: VsockBackend::Attached, carries }),
        DeviceSpec::Console(ConsoleSpec { output: Sink::Discard, input: None }),
        DeviceSpec::Rng,
        DeviceSpec::Balloon,
    ];
    let share =
        |name: &str, read_only| Share { name: name.into(), source: FileRef::Path(dir.join(name)), read_only };
    let fs = |shares, grows| DeviceSpec::Fs(FsSpec { tag: "monocore".into(), shares, grows });
    match shares {
        Shares::None => {}
        Shares::Some => devices.push(fs(vec![share("share", false), share("fixed", true)], false)),
        Shares::Growing => devices.push(fs(Vec::new(), true)),
    }
    if let Network::Card(card) = network {
        devices.push(DeviceSpec::Net(serde_json::from_str(card).unwrap()));
    }
    devices
}

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
        jail: JailMode::Strict,
        control: None,
    }
}
