//! `vhost-user fs|vsock|blk|net`: one of monocore's devices behind a socket, for QEMU and other front ends. No KVM is needed.
//!
//! The process is jailed as a machine's is, before it takes the first front end.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use monocore_blk::{Block, Concat, Disk, Part, Raw};
use monocore_fs::{CachePolicy, Fs, FsConfig, FsShare, ServerConfig};
use monocore_net::{Net, NetConfig};
use monocore_proxy::Nat;
use monocore_spec::{NatSpec, PolicySpec, ProxySpec};
use monocore_vhost_user::Server;
use monocore_virtio::VirtioDevice;
use monocore_vmm::jail::{Jail, restrict_streams};
use monocore_vmm::{ThreadKind, start_broker};
use monocore_vsock::{Limits, Vsock};
use rustix::fs::{Mode, OFlags};

use super::args::{BlkArgs, FsArgs, JailArg, NetArgs, ShareArg, VhostUserCommand, VsockArgs};

/// The card's Ethernet address, where the front end names none.
const GUEST_MAC: [u8; 6] = [0x02, 0x6d, 0x6f, 0x6e, 0x6f, 0x02];
/// The unit of a disk's size, bytes.
const SECTOR_BYTES: u64 = 512;

/// A device, and what its process needs beside it.
struct Served {
    socket: PathBuf,
    jail: JailArg,
    kind: ThreadKind,
    device: Box<dyn VirtioDevice>,
    /// Roots of shared directories, each with whether it is read-only.
    shares: Vec<(OwnedFd, bool)>,
}

/// Serves one front end after the other until the process is ended. The process has one thread until the device starts.
pub(super) fn main(command: VhostUserCommand) -> anyhow::Result<()> {
    restrict_streams()?;
    let Served { socket, jail, kind, device, shares } = match command {
        VhostUserCommand::Fs(args) => fs(args)?,
        VhostUserCommand::Vsock(args) => vsock(args)?,
        VhostUserCommand::Blk(args) => blk(args)?,
        VhostUserCommand::Net(args) => net(args)?,
    };
    let jail = Jail::prepare_server(kind, shares, jail.into())?;
    let setup = jail.confinement().thread_setup(kind);
    let server =
        Server::bind(&socket, device, setup).with_context(|| format!("--socket {}", socket.display()))?;
    jail.enter()?;
    Ok(server.serve()?)
}

fn fs(args: FsArgs) -> anyhow::Result<Served> {
    let shares: Vec<_> = args.share.into_iter().map(share).collect::<anyhow::Result<_>>()?;
    let roots = shares.iter().map(|share| Ok((share.root.try_clone()?, share.read_only)));
    let roots = roots.collect::<io::Result<_>>()?;
    let server = ServerConfig::for_this_process();
    let device = Fs::new(FsConfig { tag: args.tag, request_queues: 1, shares, server })?;
    let (socket, jail) = (args.server.socket, args.server.jail);
    Ok(Served { socket, jail, kind: ThreadKind::Fs, device: Box::new(device), shares: roots })
}

fn share(arg: ShareArg) -> anyhow::Result<FsShare> {
    let root = rustix::fs::open(&arg.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("--share {}={}", arg.name, arg.path.display()))?;
    Ok(FsShare { name: arg.name, root, read_only: arg.read_only, cache: CachePolicy::default() })
}

/// The front end has the event queue: it, not this process, knows when the guest was moved.
fn vsock(args: VsockArgs) -> anyhow::Result<Served> {
    let connections =
        start_broker(&args.uds_path).with_context(|| format!("--uds-path {}", args.uds_path.display()))?;
    let device = Vsock::new(args.guest_cid, connections, Limits::default()).without_event_queue();
    let (socket, jail) = (args.server.socket, args.server.jail);
    Ok(Served { socket, jail, kind: ThreadKind::Vsock, device: Box::new(device), shares: Vec::new() })
}

fn blk(args: BlkArgs) -> anyhow::Result<Served> {
    let disk: Disk = match &args.file[..] {
        [file] => {
            let opened = OpenOptions::new().read(true).write(!args.read_only).open(file);
            Raw::new(opened.with_context(|| shown(file))?, args.read_only)
                .with_context(|| shown(file))?
                .into()
        }
        files => {
            Concat::new(files.iter().map(|file| part(file)).collect::<anyhow::Result<Vec<_>>>()?)?.into()
        }
    };
    let device = Box::new(Block::new(disk, &args.serial)?);
    let (socket, jail) = (args.server.socket, args.server.jail);
    Ok(Served { socket, jail, kind: ThreadKind::Block, device, shares: Vec::new() })
}

/// The front end chooses the guest's Ethernet address; the stack learns it.
fn net(args: NetArgs) -> anyhow::Result<Served> {
    let resolvers = if args.dns.is_empty() { monocore_proxy::host_resolvers() } else { args.dns };
    let proxy = ProxySpec {
        policy: PolicySpec { reach: args.reach, rules: args.net_rule },
        publish: args.publish.into_iter().flatten().collect(),
        ..ProxySpec::default()
    };
    let spec = NatSpec { mac: GUEST_MAC, proxy };
    let stack = Nat::new(&spec, &resolvers, None)?;
    let device = Box::new(Net::new(NetConfig { mac: GUEST_MAC }, Box::new(stack)));
    let (socket, jail) = (args.server.socket, args.server.jail);
    Ok(Served { socket, jail, kind: ThreadKind::Nat, device, shares: Vec::new() })
}

fn part(path: &Path) -> anyhow::Result<Part> {
    let file = File::open(path).with_context(|| shown(path))?;
    let len_bytes = file.metadata().with_context(|| shown(path))?.len();
    if !len_bytes.is_multiple_of(SECTOR_BYTES) {
        bail!("{}: its length is no multiple of {SECTOR_BYTES} bytes", shown(path));
    }
    Ok(Part { file: Some(file), offset_bytes: 0, len_bytes })
}

fn shown(file: &Path) -> String {
    format!("--file {}", file.display())
}
