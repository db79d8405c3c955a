//! Arguments of `vhost-user`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use monocore_orchestrator::spec;
use monocore_spec::{NetRule, PublishedPort, Reach};

use super::JailArg;

/// Serving a device of monocore's to another virtual machine monitor.
#[derive(Debug, Subcommand)]
pub(in crate::command) enum VhostUserCommand {
    /// Shared directories (virtio-fs)
    Fs(FsArgs),
    /// Sockets (virtio-vsock)
    Vsock(VsockArgs),
    /// A disk (virtio-blk)
    Blk(BlkArgs),
    /// A network card with a user-mode stack behind it (virtio-net)
    Net(NetArgs),
}

/// Options that every device server has.
#[derive(Debug, Args)]
pub(in crate::command) struct ServerArgs {
    /// The socket to listen on
    #[arg(long, value_name = "PATH")]
    pub(in crate::command) socket: PathBuf,
    /// What to do where this machine's kernel lacks a part of the jail of this process: refuse to run, or warn and run with the
    /// parts there are; `monocore doctor` names them
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    pub(in crate::command) jail: JailArg,
}

#[derive(Debug, Args)]
pub(in crate::command) struct FsArgs {
    #[command(flatten)]
    pub(in crate::command) server: ServerArgs,
    /// A directory or file, and its name below the device's root
    #[arg(long, value_name = "NAME=PATH[:ro]", required = true, value_parser = parse_share)]
    pub(in crate::command) share: Vec<ShareArg>,
    /// The tag the guest mounts
    #[arg(long, default_value = "monocore")]
    pub(in crate::command) tag: String,
}

/// A share as the command line names it.
#[derive(Clone, Debug)]
pub(in crate::command) struct ShareArg {
    pub(in crate::command) name: String,
    pub(in crate::command) path: PathBuf,
    pub(in crate::command) read_only: bool,
}

#[derive(Debug, Args)]
pub(in crate::command) struct VsockArgs {
    #[command(flatten)]
    pub(in crate::command) server: ServerArgs,
    /// Where this machine's programs connect to and say "CONNECT port"; the guest's connections to port P arrive at
    /// this path with _P
    #[arg(long, value_name = "PATH")]
    pub(in crate::command) uds_path: PathBuf,
    /// The guest's context id
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..=0xffff_fffe))]
    pub(in crate::command) guest_cid: u32,
}

#[derive(Debug, Args)]
pub(in crate::command) struct BlkArgs {
    #[command(flatten)]
    pub(in crate::command) server: ServerArgs,
    /// Its content, a raw file; several make one read-only disk, one after the other
    #[arg(long, value_name = "FILE", required = true)]
    pub(in crate::command) file: Vec<PathBuf>,
    /// Refuse writes
    #[arg(long)]
    pub(in crate::command) read_only: bool,
    /// What the guest reads as the disk's serial number
    #[arg(long, default_value = "monocore")]
    pub(in crate::command) serial: String,
}

#[derive(Debug, Args)]
pub(in crate::command) struct NetArgs {
    #[command(flatten)]
    pub(in crate::command) server: ServerArgs,
    /// What the guest may reach where no rule says otherwise: none, public, or any
    #[arg(long, value_name = "REACH", default_value = "public", value_parser = spec::parse_reach)]
    pub(in crate::command) reach: Reach,
    /// Let it reach something or keep it from it; see `monocore run --help`
    #[arg(long, value_name = "RULE", value_parser = spec::parse_net_rule)]
    pub(in crate::command) net_rule: Vec<NetRule>,
    /// Publish a port of the guest, on loopback unless an address is given
    #[arg(short, long, value_name = "[ADDRESS:][HOST]:GUEST[/udp]", value_parser = spec::parse_publish)]
    pub(in crate::command) publish: Vec<Vec<PublishedPort>>,
    /// The name servers that are asked
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::command) dns: Vec<IpAddr>,
}

fn parse_share(text: &str) -> Result<ShareArg, String> {
    let (name, path) = text.split_once('=').ok_or("give NAME=PATH, or NAME=PATH:ro")?;
    let (path, read_only) = path.strip_suffix(":ro").map_or((path, false), |path| (path, true));
    if name.is_empty() || name.contains('/') || path.is_empty() {
        return Err("give NAME=PATH, the name without '/'".to_owned());
    }
    Ok(ShareArg { name: name.to_owned(), path: path.into(), read_only })
}
