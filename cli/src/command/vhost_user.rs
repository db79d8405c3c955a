//! `vhost-user fs|vsock|blk|net`: one of monocore's devices behind a socket, for QEMU and other front ends. No KVM is needed.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use monocore_blk::{Block, Concat, Disk, Part, Raw};
use monocore_fs::{CachePolicy, Fs, FsConfig, FsShare, ServerConfig};
use monocore_net::{Net, NetConfig};
use monocore_proxy::Nat;
use monocore_spec::{NatSpec, PolicySpec, ProxySpec};
use monocore_vhost_user::Server;
use monocore_virtio::VirtioDevice;
use monocore_vsock::{Limits, UnixSockets, Vsock};
use rustix::fs::{Mode, OFlags};

use super::args::{BlkArgs, FsArgs, NetArgs, ShareArg, VhostUserCommand, VsockArgs};

/// The card's Ethernet address, where the front end names none.
const GUEST_MAC: [u8; 6] = [0x02, 0x6d, 0x6f, 0x6e, 0x6f, 0x02];
/// The unit of a disk's size, bytes.
const SECTOR_BYTES: u64 = 512;

/// Serves one front end after the other until the process is ended.
pub(super) fn main(command: VhostUserCommand) -> anyhow::Result<()> {
    let (socket, device): (PathBuf, Box<dyn VirtioDevice>) = match command {
        VhostUserCommand::Fs(args) => (args.socket.clone(), Box::new(fs(args)?)),
        VhostUserCommand::Vsock(args) => (args.socket.clone(), Box::new(vsock(&args)?)),
        VhostUserCommand::Blk(args) => (args.socket.clone(), Box::new(blk(&args)?)),
        VhostUserCommand::Net(args) => (args.socket.clone(), Box::new(net(args)?)),
    };
    let server = Server::bind(&socket, device).with_context(|| format!("--socket {}", socket.display()))?;
    Ok(server.serve()?)
}

fn fs(args: FsArgs) -> anyhow::Result<Fs> {
    let shares = args.share.into_iter().map(share).collect::<anyhow::Result<_>>()?;
    let server = ServerConfig::for_this_process();
    Ok(Fs::new(FsConfig { tag: args.tag, request_queues: 1, shares, server })?)
}

fn share(arg: ShareArg) -> anyhow::Result<FsShare> {
    let root = rustix::fs::open(&arg.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("--share {}={}", arg.name, arg.path.display()))?;
    Ok(FsShare { name: arg.name, root, read_only: arg.read_only, cache: CachePolicy::default() })
}

/// The front end has the event queue: it, not this process, knows when the guest was moved.
fn vsock(args: &VsockArgs) -> anyhow::Result<Vsock> {
    let backend = UnixSockets::bind(&args.uds_path)
        .with_context(|| format!("--uds-path {}", args.uds_path.display()))?;
    Ok(Vsock::new(args.guest_cid, Box::new(backend), Limits::default()).without_event_queue())
}

fn blk(args: &BlkArgs) -> anyhow::Result<Block> {
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
    Ok(Block::new(disk, &args.serial)?)
}

/// The front end chooses the guest's Ethernet address; the stack learns it.
fn net(args: NetArgs) -> anyhow::Result<Net> {
    let resolvers = if args.dns.is_empty() { monocore_proxy::host_resolvers() } else { args.dns };
    let proxy = ProxySpec {
        policy: PolicySpec { reach: args.reach, rules: args.net_rule },
        publish: args.publish.into_iter().flatten().collect(),
        ..ProxySpec::default()
    };
    let spec = NatSpec { mac: GUEST_MAC, proxy };
    let stack = Nat::new(&spec, &resolvers, None)?;
    Ok(Net::new(NetConfig { mac: GUEST_MAC }, Box::new(stack)))
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
