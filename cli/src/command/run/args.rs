//! The flags of `run`.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use monocore_orchestrator::spec::{
    self, GroupMembership, HostEntry, MountSpec, NetworkMode, PublishSocket, SecretSpec, Signal,
};
use monocore_orchestrator::{Home, Images};
use monocore_protocol::Rlimit;
use monocore_spec::{NetRate, NetRule, PublishedPort, Reach};

use super::foreign::ForeignArgs;
use super::life::LifeArgs;
use crate::command::args::{JailArg, RegistryArgs};
use crate::command::store;

/// More connections than anybody's limit of descriptors.
const MAX_CONNECTIONS: i64 = 1 << 18;

/// Docker's flags where Docker has them.
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    disable_help_flag = true,
    override_usage = "monocore run [OPTIONS] IMAGE [COMMAND [ARG…]]\n       \
                            monocore run [OPTIONS] --rootfs DIR COMMAND [ARG…]"
)]
pub(crate) struct RunArgs {
    /// Pass standard input to the command
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Run in the background and print the sandbox's ID; the sandbox is kept when its command ends
    #[arg(short, long)]
    pub(super) detach: bool,
    /// Remove the sandbox when its command ends; in the foreground this is always so
    #[arg(long)]
    pub(in crate::command) rm: bool,
    /// Write the sandbox's ID to a new file
    #[arg(long, value_name = "FILE")]
    pub(in crate::command) cidfile: Option<PathBuf>,
    /// Process 1 is a small init that reaps orphans, as it is unless the command is an init itself; with =false it is
    /// the command
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) init: Option<bool>,
    /// Show no progress
    #[arg(short, long)]
    pub(super) quiet: bool,

    /// Remove the sandbox that has the name of --name first, running or not
    #[arg(long, requires = "name")]
    pub(in crate::command) replace: bool,
    /// Name the sandbox
    #[arg(long, value_parser = spec::parse_name)]
    pub(super) name: Option<String>,
    /// Describe the sandbox
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = spec::parse_label)]
    pub(super) label: Vec<(String, String)>,
    /// Read labels from a file, one KEY=VALUE a line
    #[arg(long, value_name = "FILE")]
    pub(super) label_file: Vec<PathBuf>,
    /// In the foreground, connect only these: stdin, stdout, stderr
    #[arg(short, long, value_name = "STREAM", value_parser = ["stdin", "stdout", "stderr"], conflicts_with = "detach",
          ignore_case = true)]
    pub(super) attach: Vec<String>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    pub(super) help: Option<bool>,
    #[command(flatten)]
    pub(super) rights: RightsArgs,
    #[command(flatten)]
    pub(super) foreign: ForeignArgs,

    /// Set an environment variable, or pass the caller's
    #[arg(short, long, value_name = "NAME[=VALUE]", help_heading = "Command")]
    pub(super) env: Vec<OsString>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE", help_heading = "Command")]
    pub(super) env_file: Vec<PathBuf>,
    /// The directory the command starts in
    #[arg(short, long, value_name = "DIR", help_heading = "Command", value_parser = parse_workdir)]
    pub(super) workdir: Option<String>,
    /// Put a secret into /run/secrets/NAME: an environment variable (of that name, or VAR) or a file of this machine.
    /// Its value is read at each start and is never written down
    #[arg(long, value_name = "NAME[,env=VAR|,file=PATH]", help_heading = "Command", value_parser = spec::parse_secret)]
    pub(super) secret: Vec<SecretSpec>,
    /// Who runs it
    #[arg(short, long, value_name = "NAME|UID[:GROUP|GID]", help_heading = "Command")]
    pub(super) user: Option<String>,
    /// Replace the image's entrypoint; "" removes it
    #[arg(long, value_name = "COMMAND", help_heading = "Command")]
    pub(super) entrypoint: Option<OsString>,
    /// Limit a resource
    #[arg(long, value_name = "NAME=SOFT[:HARD]", help_heading = "Command", value_parser = spec::parse_ulimit)]
    pub(super) ulimit: Vec<Rlimit>,
    /// What asks the command to end
    #[arg(long, value_name = "SIGNAL", help_heading = "Command", value_parser = Signal::parse)]
    pub(super) stop_signal: Option<Signal>,
    /// How long it may take to, before it is killed
    #[arg(long, value_name = "DURATION", help_heading = "Command", value_parser = spec::parse_duration)]
    pub(super) stop_timeout: Option<Duration>,
    /// Stop each run of the command after this time (exit status 124)
    #[arg(long, value_name = "DURATION", help_heading = "Command", value_parser = spec::parse_duration)]
    pub(super) timeout: Option<Duration>,

    #[command(flatten)]
    pub(super) life: LifeArgs,

    #[command(flatten)]
    pub(super) network: NetworkArgs,

    /// Share a directory, file or Unix socket of this machine, or a named volume
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:ro]", help_heading = "Storage", value_parser = spec::parse_volume)]
    pub(super) volume: Vec<MountSpec>,
    /// Let the command use this user's ssh-agent ($SSH_AUTH_SOCK)
    #[arg(long, help_heading = "Storage")]
    pub(super) ssh_agent: bool,
    /// Make a Unix socket of the sandbox reachable at a path of this machine, for this user only
    #[arg(long, value_name = "GUEST:HOST", help_heading = "Storage", value_parser = spec::parse_publish_socket)]
    pub(super) publish_socket: Vec<PublishSocket>,
    /// The same as --volume, by keys: type=bind|volume|tmpfs,source=…,target=…,readonly
    #[arg(long, value_name = "KEY=VALUE,…", help_heading = "Storage", value_parser = spec::parse_mount)]
    pub(super) mount: Vec<MountSpec>,
    /// Use the mounts of another sandbox that is kept, too
    #[arg(long, value_name = "SANDBOX[:ro]", help_heading = "Storage")]
    pub(in crate::command) volumes_from: Vec<String>,
    /// Docker's form of --root-disk: size=SIZE
    #[arg(long, value_name = "size=SIZE", help_heading = "Storage", value_parser = parse_storage)]
    pub(super) storage_opt: Option<u64>,
    /// A file system in memory
    #[arg(long, value_name = "TARGET[:size=…,mode=…]", help_heading = "Storage", value_parser = spec::parse_tmpfs)]
    pub(super) tmpfs: Vec<MountSpec>,
    /// Make the root file system read-only
    #[arg(long, help_heading = "Storage")]
    pub(super) read_only: bool,
    /// Size of the disk that takes what the sandbox writes to its root [default: 8G]
    #[arg(long, value_name = "SIZE", help_heading = "Storage", value_parser = spec::parse_disk_size)]
    pub(super) root_disk: Option<u64>,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "SIZE", help_heading = "Storage", value_parser = spec::parse_size)]
    pub(super) shm_size: Option<u64>,
    /// A directory of this machine as the root file system, instead of an image
    #[arg(long, value_name = "DIR", help_heading = "Storage")]
    pub(super) rootfs: Option<PathBuf>,

    #[command(flatten)]
    pub(super) cpus: super::cpus::CpuArgs,
    /// Memory: 512m, 2g, or a plain number of bytes (below 1048576: of MiB) [default: 512m]
    #[arg(short, long, aliases = ["ram", "mem"], value_name = "SIZE", help_heading = "Machine", value_parser = spec::parse_ram_mib)]
    pub(super) memory: Option<u32>,
    /// Boot another kernel: an ELF vmlinux with a PVH note
    #[arg(long, value_name = "FILE", help_heading = "Machine")]
    pub(super) kernel: Option<PathBuf>,
    /// Allow `monocore mount add` while it runs, at the price of one thread that Landlock does not hold
    #[arg(long, help_heading = "Machine")]
    pub(super) live_mounts: bool,
    /// What to do where this machine's kernel lacks a part of the jail of the sandbox's process: refuse to run, or warn and
    /// run with the parts there are; `monocore doctor` names them
    #[arg(long, value_enum, value_name = "MODE", default_value_t, help_heading = "Machine")]
    pub(super) jail: JailArg,
    /// Append the points of the run and their times to a file, for benchmarks
    #[arg(long, value_name = "FILE", help_heading = "Machine", hide = true)]
    pub(super) timeline: Option<PathBuf>,

    /// When to ask the registry
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, help_heading = "Image")]
    pub(super) pull: Pull,
    /// The image for another machine, for instance linux/amd64
    #[arg(long, value_name = "OS/ARCH", help_heading = "Image")]
    pub(super) platform: Option<String>,
    #[command(flatten, next_help_heading = "Image")]
    pub(super) registry: RegistryArgs,

    /// The image, then the command and its arguments, which are passed on untouched
    #[arg(value_name = "IMAGE", trailing_var_arg = true)]
    pub(super) words: Vec<OsString>,
}

impl RunArgs {
    /// Images as the flags say.
    pub(in crate::command) fn images(&self, home: &Home) -> Images {
        store::images(home, &self.registry, self.quiet)
    }

    /// The name of the program that the call is about: the command's, else the image's.
    pub(in crate::command) fn program_name(&self) -> Option<String> {
        let words = self.words.iter().filter(|word| *word != "--").take(2).collect::<Vec<_>>();
        let word = words.last()?.to_str()?;
        let file = word.rsplit('/').next()?;
        // A tag or digest is a part of an image only.
        let end = if words.len() == 1 { file.find([':', '@']) } else { None };
        Some(file[..end.unwrap_or(file.len())].to_owned())
    }
}

/// The flags about the network.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub(super) struct NetworkArgs {
    /// How the sandbox reaches others: nat (a network card), tsi (its sockets carried one by one, by monocore's own
    /// kernel: cheaper, TCP and UDP only), none, tap:INTERFACE, or passt:SOCKET; or a network of `monocore network create`,
    /// as --group, but it must exist. May be given several times
    #[arg(long, visible_alias = "net", value_name = "MODE|NAME", default_value = "nat", value_parser = parse_network)]
    pub(super) network: Vec<NetworkArg>,
    /// Make it a member of a group, which is made if need be. Members reach each other by name and address, at any port, with
    /// nat and tsi. May be given several times
    #[arg(long, value_name = "[PROJECT/]NAME[,alias=NAME][,ip=ADDRESS]", value_parser = spec::parse_group)]
    pub(super) group: Vec<GroupMembership>,
    /// A further name for it in its groups
    #[arg(long, visible_alias = "net-alias", value_name = "NAME", value_parser = spec::parse_alias)]
    pub(super) network_alias: Vec<String>,
    /// No network: the same as --network none
    #[arg(long)]
    pub(super) no_net: bool,
    /// What it may reach where no rule says otherwise: none; group (other members of its groups); public (these, and public
    /// addresses); or any (private addresses, too, but neither this machine nor cloud metadata)
    #[arg(long, value_name = "REACH", default_value = "public", value_parser = spec::parse_reach)]
    pub(super) reach: Reach,
    /// Let it reach something or keep it from it: allow:TARGET or deny:TARGET, then ,port=N[-M] ,proto=tcp|udp|icmp ,in;
    /// TARGET is *, host, an address, a network, a name or *.NAME. The first rule that fits decides
    #[arg(long, value_name = "RULE", value_parser = spec::parse_net_rule)]
    pub(super) net_rule: Vec<NetRule>,
    /// Let it reach this machine's own services, as host.monocore.internal
    #[arg(long)]
    pub(super) allow_host: bool,
    /// Let it send no more than so much a second (10MB/s, 10MiB/s, 80Mbit/s), and at once no more than BURST (a size; a tenth of
    /// a second's by default, at least 64 KiB). What is more waits
    #[arg(long, value_name = "RATE[,BURST]", value_parser = spec::parse_rate)]
    pub(super) net_limit_out: Option<NetRate>,
    /// Let it receive no more than so much a second
    #[arg(long, value_name = "RATE[,BURST]", value_parser = spec::parse_rate)]
    pub(super) net_limit_in: Option<NetRate>,
    /// Let it have no more than so many connections at a time, TCP and UDP together, both ways [default: 4096]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_CONNECTIONS))]
    pub(super) net_limit_connections: Option<u32>,
    /// Append allow and deny decisions to a file, one JSON object a line. FILE is a regular file, a FIFO with a reader or a
    /// character device; a symbolic link is not followed
    #[arg(long, value_name = "FILE")]
    pub(super) net_log: Option<PathBuf>,
    /// Empty the file of --net-log before it gets longer than SIZE; 0 for no limit
    #[arg(long, value_name = "SIZE", default_value = "64m", value_parser = spec::parse_size)]
    pub(super) net_log_size: u64,
    /// Publish a port of the sandbox, on loopback unless an address is given; 0 or nothing for HOST takes a free port
    #[arg(short, long, value_name = "[ADDRESS:][HOST]:GUEST[/udp]", value_parser = spec::parse_publish)]
    pub(super) publish: Vec<Vec<PublishedPort>>,
    /// Publish every port the image exposes, each on a free port of loopback; `monocore port` tells which
    #[arg(short = 'P', long)]
    pub(super) publish_all: bool,
    /// Ask this name server instead of this machine's
    #[arg(long, value_name = "ADDRESS")]
    pub(super) dns: Vec<IpAddr>,
    /// A domain to look names up in
    #[arg(long, value_name = "DOMAIN")]
    pub(super) dns_search: Vec<String>,
    /// An option of its resolver, such as ndots:2
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    pub(super) dns_option: Vec<String>,
    /// A port that --publish-all publishes as if the image exposed it
    #[arg(long, value_name = "PORT[-PORT][/PROTO]", value_parser = parse_expose)]
    pub(super) expose: Vec<String>,
    /// Its NIS domain name
    #[arg(long, value_name = "NAME", value_parser = parse_hostname)]
    pub(super) domainname: Option<String>,
    /// Its host name
    #[arg(short = 'h', long, value_parser = parse_hostname)]
    pub(super) hostname: Option<String>,
    /// A line for its /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = spec::parse_host_entry)]
    pub(super) add_host: Vec<HostEntry>,
}

/// What --network takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NetworkArg {
    /// How the sandbox reaches others.
    Mode(NetworkMode),
    /// A group that is there.
    Group(GroupMembership),
}

/// A mode, Docker's words for the usual one, or a group as Docker names a network: `NAME` or `name=NAME,alias=…,ip=…`.
fn parse_network(text: &str) -> Result<NetworkArg, String> {
    if let Ok(mode) = spec::parse_network(text) {
        return Ok(NetworkArg::Mode(mode));
    }
    match text {
        "bridge" | "default" => return Ok(NetworkArg::Mode(NetworkMode::Nat)),
        "host" => {
            let problem =
                "a sandbox is a machine of its own and has no host network: use --allow-host and --publish";
            return Err(problem.to_owned());
        }
        _ => {}
    }
    let group = spec::parse_group(text.strip_prefix("name=").unwrap_or(text));
    group.map(NetworkArg::Group).map_err(|_| {
        "a network is nat, tsi, none, tap:INTERFACE, passt:SOCKET, or a network's name".to_owned()
    })
}

/// The flags about what the command may do in its machine.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Rights")]
pub(super) struct RightsArgs {
    /// Give the command a capability that --cap-drop takes
    #[arg(long, value_name = "NAME", value_parser = spec::parse_capability)]
    pub(super) cap_add: Vec<u64>,
    /// Take a capability from the command, or ALL; without this it has all of them in its own machine
    #[arg(long, value_name = "NAME", value_parser = spec::parse_capability)]
    pub(super) cap_drop: Vec<u64>,
    /// Give the command every capability, whatever --cap-drop says; devices of this machine are never given
    #[arg(long)]
    pub(super) privileged: bool,
    /// no-new-privileges: no program gives the command more rights. Profiles (seccomp, apparmor, label) have no meaning in a
    /// machine of its own
    #[arg(long, value_name = "OPTION", value_parser = parse_security)]
    pub(super) security_opt: Vec<Security>,
    /// One more group for the command
    #[arg(long, value_name = "NAME|GID")]
    pub(super) group_add: Vec<String>,
    /// Set a kernel parameter of the guest, such as net.ipv4.ip_forward=1
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_sysctl)]
    pub(super) sysctl: Vec<(String, String)>,
    /// Most processes and threads of the commands; -1 for no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_pids)]
    pub(super) pids_limit: Option<PidsLimit>,
}

/// Most processes and threads; nothing for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PidsLimit(pub(super) Option<u64>);

/// A security option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    NoNewPrivileges(bool),
    /// A profile that Docker would put around a container.
    Profile,
}

fn parse_security(text: &str) -> Result<Security, String> {
    match text {
        "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true" => {
            Ok(Security::NoNewPrivileges(true))
        }
        "no-new-privileges:false" | "no-new-privileges=false" => Ok(Security::NoNewPrivileges(false)),
        "systempaths=unconfined" | "seccomp=unconfined" | "seccomp=builtin" => Ok(Security::Profile),
        _ if ["apparmor=", "apparmor:", "label=", "label:"].iter().any(|known| text.starts_with(known)) => {
            Ok(Security::Profile)
        }
        _ if text.starts_with("seccomp") => {
            Err("seccomp profiles are not applied in a sandbox; use --cap-drop and no-new-privileges"
                .to_owned())
        }
        _ => Err("give no-new-privileges".to_owned()),
    }
}

fn parse_sysctl(text: &str) -> Result<(String, String), String> {
    let sane = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && name.chars().all(sane) && !name.contains("..") => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("give NAME=VALUE, for instance net.ipv4.ip_forward=1".to_owned()),
    }
}

/// 0 and -1 stand for no limit.
fn parse_pids(text: &str) -> Result<PidsLimit, String> {
    match text.parse::<i64>() {
        Ok(-1 | 0) => Ok(PidsLimit(None)),
        Ok(most) => u64::try_from(most)
            .map(|most| PidsLimit(Some(most)))
            .map_err(|_| "give a number, or -1 for no limit".to_owned()),
        Err(_) => Err("give a number, or -1 for no limit".to_owned()),
    }
}

fn parse_storage(text: &str) -> Result<u64, String> {
    let size = text.strip_prefix("size=").ok_or("only size=SIZE is known")?;
    spec::parse_disk_size(size).map_err(|error| error.to_string())
}

fn parse_expose(text: &str) -> Result<String, String> {
    spec::parse_guest_ports(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// When to ask the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Pull {
    /// When the image is not in the store.
    #[default]
    Missing,
    /// Each time.
    Always,
    /// Never.
    Never,
}

/// RFC 1123, at most what Linux takes.
fn parse_hostname(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
    };
    if text.len() <= 64 && text.split('.').all(label) {
        Ok(text.to_owned())
    } else {
        Err("a host name has letters, digits, '-' and '.', and at most 64 of them".to_owned())
    }
}

fn parse_workdir(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err("give an absolute path".to_owned()) }
}
