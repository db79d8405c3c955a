//! The command line's grammar.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use monocore_orchestrator::session::DetachKeys;
use monocore_orchestrator::spec;
use monocore_spec::{JailMode, Protocol, PublishedPort};

mod inside;
mod lazy;
mod mcp;
mod network;
mod vhost_user;
mod volume;

pub(super) use super::output::Format;
use super::project::{
    AddArgs, ConfigArgs, DownArgs, InitArgs, LogArgs, ProjectArgs, RemoveArgs, ScriptArgs, StatusArgs,
    TreeArgs, UpArgs,
};
use super::run::RunArgs;
pub(super) use inside::{AttachArgs, CpArgs, DiffArgs, RenameArgs, ShellArgs, TopArgs, UpdateArgs};
pub(super) use lazy::Lazy;
pub(super) use mcp::McpArgs;
pub(super) use network::{
    NetworkCommand, NetworkConnectArgs, NetworkCreateArgs, NetworkDisconnectArgs, NetworkLsArgs,
    NetworkRmArgs, NetworksArgs,
};
pub(super) use vhost_user::{BlkArgs, FsArgs, NetArgs, ShareArg, VhostUserCommand, VsockArgs};
pub(super) use volume::{VolumeCommand, VolumeListArgs, VolumePruneArgs, VolumeRmArgs};

use super::select::{Filter, Selection};

/// Run OCI images as microVM sandboxes.
#[derive(Debug, Parser)]
#[command(name = "monocore", version, max_term_width = 120, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a command in a new sandbox
    Run(Lazy<Box<RunArgs>>),
    /// Open a shell, or run a command, in a sandbox of which nothing stays
    Tmp(Lazy<Box<super::run::TmpArgs>>),
    /// Make a sandbox without starting it
    #[command(override_usage = "monocore create [OPTIONS] IMAGE [COMMAND [ARG…]]")]
    Create(Lazy<Box<RunArgs>>),
    /// Start sandboxes that do not run, or run a script of a service: SERVICE:SCRIPT
    Start(Lazy<StartArgs>),
    /// Run one more command in a running sandbox
    Exec(Lazy<ExecArgs>),
    /// Watch and type to the command of a running sandbox
    Attach(Lazy<AttachArgs>),
    /// Open a shell in a running sandbox
    Shell(Lazy<ShellArgs>),
    /// Show the processes of a running sandbox
    Top(Lazy<TopArgs>),
    /// Show what a sandbox changed in its image's files: A added, C changed, D deleted
    Diff(Lazy<DiffArgs>),
    /// Change memory, processors or restart policy of sandboxes
    Update(Lazy<UpdateArgs>),
    /// Manage named volumes
    #[command(subcommand)]
    Volume(Lazy<VolumeCommand>),
    /// Give a sandbox another name
    Rename(Lazy<RenameArgs>),
    /// Copy files between this machine and a sandbox, which need not run
    Cp(Lazy<CpArgs>),
    /// List sandboxes
    #[command(visible_alias = "ls", alias = "list")]
    Ps(Lazy<PsArgs>),
    /// Stop running sandboxes
    Stop(Lazy<StopArgs>),
    /// Stop sandboxes and start them again
    Restart(Lazy<StopArgs>),
    /// Send a signal to the command of running sandboxes
    Kill(Lazy<KillArgs>),
    /// Pause sandboxes: nothing in them runs until they are unpaused
    Pause(Lazy<NamesArgs>),
    /// Let paused sandboxes go on
    Unpause(Lazy<NamesArgs>),
    /// Mount and unmount directories in a sandbox while it runs
    #[command(subcommand)]
    Mount(Lazy<MountCommand>),
    /// Wait until sandboxes have ended and print their exit codes
    Wait(Lazy<NamesArgs>),
    /// Remove sandboxes with their disks and logs
    Rm(Lazy<RmArgs>),
    /// Show the output of a sandbox in the background
    Logs(Lazy<LogsArgs>),
    /// Show everything about sandboxes, as JSON or by a Go template
    Inspect(Lazy<InspectSandboxArgs>),
    /// Show what running sandboxes use
    Stats(Lazy<StatsArgs>),
    /// Follow what happens to sandboxes
    Events(Lazy<super::events::EventsArgs>),
    /// Set up monocore on this machine
    #[command(subcommand, name = "self")]
    Own(Lazy<super::own::SelfCommand>),
    /// Make a program of this user's of a command of an image, or of a script of a service
    Install(Lazy<super::install::InstallArgs>),
    /// Remove programs that `install` made
    Uninstall(Lazy<super::install::UninstallArgs>),
    /// Write a first monocore.toml
    Init(Lazy<InitArgs>),
    /// Add a service to a project's monocore.toml
    Add(Lazy<AddArgs>),
    /// Check a project's file and show how it was understood
    Config(Lazy<ConfigArgs>),
    /// Run a named script of a service in its running sandbox
    RunScript(Lazy<ScriptArgs>),
    /// Make and start the sandboxes of a project
    Up(Lazy<UpArgs>),
    /// Stop and remove the sandboxes of a project
    Down(Lazy<DownArgs>),
    /// Bring a running project to what its file says now; as up -d --remove-orphans
    Apply(Lazy<UpArgs>),
    /// Show the sandboxes of a project
    Status(Lazy<StatusArgs>),
    /// Show the output of a project's sandboxes
    Log(Lazy<LogArgs>),
    /// Understand Docker Compose's verbs and flags, on a compose.yaml or a monocore.toml
    Compose(Lazy<super::compose::ComposeArgs>),
    /// Show a project's groups, services and what they need
    Tree(Lazy<TreeArgs>),
    /// Stop and remove services of a project
    Remove(Lazy<RemoveArgs>),
    /// Remove the sandboxes of a project with its named volumes
    Clean(Lazy<ProjectArgs>),
    /// List the published ports of a running sandbox, tell where one of its ports is, add and remove ports
    Port(Lazy<PortArgs>),
    /// Look at a running sandbox's network
    #[command(subcommand)]
    Net(Lazy<NetCommand>),
    /// Make, list and remove groups of sandboxes that reach each other
    #[command(subcommand)]
    Network(Lazy<NetworkCommand>),
    /// Fetch an image from a registry
    Pull(Lazy<PullArgs>),
    /// List the images in the store
    Images(Lazy<ListArgs>),
    /// Remove images from the store
    Rmi(Lazy<RmiArgs>),
    /// Take in images from an archive (docker save or OCI)
    Load(Lazy<LoadArgs>),
    /// Write images to an archive
    Save(Lazy<SaveArgs>),
    /// Look at one image
    #[command(subcommand)]
    Image(Lazy<ImageCommand>),
    /// Serve the REST API and the dashboard
    Serve(Lazy<ServeArgs>),
    /// Serve sandboxes as tools to an agent (Model Context Protocol), on standard input and output
    Mcp(Lazy<McpArgs>),
    /// Manage the tokens of the REST API
    #[command(subcommand)]
    Token(Lazy<TokenCommand>),
    /// Remove what no image in the store needs
    Prune(Lazy<PruneArgs>),
    /// Show what the state directory takes
    Df(Lazy<FormatArgs>),
    /// Say whether this machine can run sandboxes, and why not
    Doctor(Lazy<FormatArgs>),
    /// Show versions
    Version(Lazy<FormatArgs>),
    /// Write a shell's completions to standard output
    Completion(Lazy<CompletionArgs>),
    /// Serve one of monocore's devices to another virtual machine monitor
    #[command(subcommand, name = "vhost-user")]
    VhostUser(Lazy<VhostUserCommand>),
}

#[derive(Debug, Args)]
pub(super) struct NamesArgs {
    /// Name, ID, unique ID prefix, or service of the project here
    #[arg(required = true, value_name = "SANDBOX")]
    pub(super) sandboxes: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct InspectSandboxArgs {
    /// How to write the result: json, or a Go template such as '{{.State.Status}}'
    #[arg(short, long, value_name = "FORMAT", default_value_t = Format::Json)]
    pub(super) format: Format,
    /// Name, ID, unique ID prefix, or service of the project here
    #[arg(required = true, value_name = "SANDBOX")]
    pub(super) sandboxes: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct StartArgs {
    /// Watch the command's output until it ends, and end with its exit code
    #[arg(short, long)]
    pub(super) attach: bool,
    /// Pass standard input to the command, if it has one (`run -i`, `create -i`)
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Keys that leave the command without ending it
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub(super) detach_keys: DetachKeys,
    #[command(flatten)]
    pub(super) selection: Selection,
}

#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    /// Pass standard input to the command
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Return when the command runs; its output is discarded
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    pub(super) detach: bool,
    /// Keys that leave the command without ending it, where it has a terminal (-it)
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub(super) detach_keys: DetachKeys,
    /// Give the command every capability, also those that --cap-drop takes from the sandbox's
    #[arg(long)]
    pub(super) privileged: bool,
    /// Set an environment variable, or pass the caller's
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(super) env: Vec<OsString>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Vec<PathBuf>,
    /// Working directory [default: the sandbox's]
    #[arg(short, long, value_name = "DIR")]
    pub(super) workdir: Option<String>,
    /// User [default: the sandbox's]
    #[arg(short, long, value_name = "NAME|UID[:GROUP|GID]")]
    pub(super) user: Option<String>,
    /// Name, ID, unique ID prefix, or service of the project here
    #[arg(value_name = "SANDBOX")]
    pub(super) sandbox: String,
    /// The command and its arguments, which are passed on untouched
    #[arg(required = true, value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct PsArgs {
    /// Show sandboxes that do not run, too
    #[arg(short, long)]
    pub(super) all: bool,
    /// Show IDs only
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Show IDs and commands in full
    #[arg(long)]
    pub(super) no_trunc: bool,
    /// Show the sandboxes made last, whether or not they run; -1 for all
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    pub(super) last: Option<i64>,
    /// Show the sandbox made last, whether or not it runs
    #[arg(short, long)]
    pub(super) latest: bool,
    /// Accepted as in Docker: sizes of disks are shown by `df`
    #[arg(short, long, hide = true)]
    pub(super) size: bool,
    /// Show only sandboxes with this: name=TEXT, id=PREFIX, status=STATUS, label=KEY[=VALUE], ancestor=IMAGE, volume=NAME,
    /// exited=CODE, before=SANDBOX, since=SANDBOX
    #[arg(short, long, value_name = "FILTER", value_parser = super::select::parse_filter)]
    pub(super) filter: Vec<Filter>,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

#[derive(Debug, Args)]
pub(super) struct StopArgs {
    #[command(flatten)]
    pub(super) selection: Selection,
    /// Grace period before SIGKILL, seconds or a duration such as 1m [default: the sandbox's, else 10s]
    #[arg(short, long, visible_alias = "timeout", value_name = "DURATION", value_parser = spec::parse_duration)]
    pub(super) time: Option<std::time::Duration>,
    /// Signal sent first [default: the sandbox's, else the image's, else SIGTERM]
    #[arg(short, long, value_name = "SIGNAL", value_parser = spec::Signal::parse)]
    pub(super) signal: Option<spec::Signal>,
}

#[derive(Debug, Args)]
pub(super) struct KillArgs {
    #[command(flatten)]
    pub(super) selection: Selection,
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "SIGKILL", value_parser = spec::Signal::parse)]
    pub(super) signal: spec::Signal,
}

#[derive(Debug, Args)]
pub(super) struct RmArgs {
    #[command(flatten)]
    pub(super) selection: Selection,
    /// Kill a sandbox that runs, and accept one that does not exist
    #[arg(short, long)]
    pub(super) force: bool,
    /// Accepted as in Docker; anonymous volumes lie on the sandbox's disk and always go with it
    #[arg(short, long)]
    pub(super) volumes: bool,
}

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// Name, ID, unique ID prefix, or service of the project here
    #[arg(value_name = "SANDBOX")]
    pub(super) sandbox: String,
    /// Go on until the sandbox ends
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Show only so many of the last lines, or `all`
    #[arg(short = 'n', long, value_name = "N", default_value = "all", value_parser = super::logs::parse_tail)]
    pub(super) tail: super::logs::Tail,
    /// Show only output since a time (2026-11-30T04:41:00Z) or a duration ago (10m)
    #[arg(long, value_name = "TIME", value_parser = super::logs::parse_since)]
    pub(super) since: Option<std::time::SystemTime>,
    /// Begin each line with its time (UTC)
    #[arg(short, long)]
    pub(super) timestamps: bool,
}

#[derive(Debug, Args)]
pub(super) struct StatsArgs {
    /// Name, ID, unique ID prefix, or service of the project here; all that run when there is none
    #[arg(value_name = "SANDBOX")]
    pub(super) sandboxes: Vec<String>,
    /// Accepted as in Docker: figures are always read once
    #[arg(long)]
    pub(super) no_stream: bool,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// Behaviour on a kernel that lacks a part of the jail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum JailArg {
    /// Refuse.
    #[default]
    Strict,
    /// Warn, and go on with the parts there are.
    BestEffort,
}

impl ExecArgs {
    /// The command `command` in `sandbox`, with this process's standard streams, and with a terminal if there is one.
    pub(super) fn of(sandbox: &str, command: Vec<OsString>) -> Self {
        let tty = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        Self {
            interactive: true,
            tty,
            detach: false,
            detach_keys: DetachKeys::default(),
            privileged: false,
            env: Vec::new(),
            env_file: Vec::new(),
            workdir: None,
            user: None,
            sandbox: sandbox.to_owned(),
            command,
        }
    }
}

impl From<JailArg> for JailMode {
    fn from(arg: JailArg) -> Self {
        match arg {
            JailArg::Strict => Self::Strict,
            JailArg::BestEffort => Self::BestEffort,
        }
    }
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct FormatArgs {
    /// How to write the result: table, json, or a Go template such as '{{.ID}}' or 'table {{.ID}}\\t{{.Names}}'
    #[arg(long, value_name = "FORMAT", default_value_t)]
    pub(super) format: Format,
}

#[derive(Debug, Subcommand)]
pub(super) enum MountCommand {
    /// Mount a directory, file or named volume of this machine in a running sandbox
    Add(MountAddArgs),
    /// Unmount what was mounted by `mount add`
    Rm(MountRmArgs),
    /// List the mounts of a sandbox
    Ls(MountLsArgs),
}

#[derive(Debug, Args)]
pub(super) struct MountAddArgs {
    /// Name, ID, unique ID prefix, or service of the project here
    pub(super) sandbox: String,
    /// What to mount and where, as for `run -v`: SOURCE:TARGET, with :ro for read-only
    #[arg(value_name = "MOUNT", value_parser = spec::parse_volume)]
    pub(super) mount: spec::MountSpec,
}

#[derive(Debug, Args)]
pub(super) struct MountRmArgs {
    /// Name, ID, unique ID prefix, or service of the project here
    pub(super) sandbox: String,
    /// Where it is in the sandbox
    pub(super) target: String,
}

#[derive(Debug, Args)]
pub(super) struct MountLsArgs {
    /// Name, ID, unique ID prefix, or service of the project here
    pub(super) sandbox: String,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct PortArgs {
    #[command(subcommand)]
    pub(super) command: Option<PortCommand>,
    /// Name, ID, unique ID prefix, or service of the project here
    #[arg(value_name = "NAME", required = true)]
    pub(super) sandbox: Option<String>,
    /// One of its ports
    #[arg(value_name = "PORT[/PROTO]", value_parser = parse_guest_port)]
    pub(super) port: Option<(u16, Protocol)>,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum PortCommand {
    /// Publish ports of a running sandbox, until it is stopped
    Add(PortChangeArgs),
    /// Close published ports of a running sandbox; connections stay
    Rm(PortRmArgs),
    /// List the published ports of a running sandbox
    Ls(PortLsArgs),
}

#[derive(Debug, Args)]
pub(super) struct PortChangeArgs {
    /// Name, ID, unique ID prefix, or service of the project here
    #[arg(value_name = "NAME")]
    pub(super) sandbox: String,
    /// Ports, as for `run -p`; ranges on both sides, or one number for both
    #[arg(value_name = "[ADDRESS:][HOST]:GUEST[/udp]", required = true, value_parser = spec::parse_publish)]
    pub(super) ports: Vec<Vec<PublishedPort>>,
}

#[derive(Debug, Args)]
pub(super) struct PortRmArgs {
    /// Name, ID, unique ID prefix, or service of the project here
    #[arg(value_name = "NAME")]
    pub(super) sandbox: String,
    /// Ports of this machine
    #[arg(value_name = "[ADDRESS:]HOST[:GUEST][/udp]", required = true, value_parser = parse_closed_port)]
    pub(super) ports: Vec<Vec<PublishedPort>>,
}

/// A place on this host; the guest's port is 0 where it does not matter.
fn parse_closed_port(text: &str) -> Result<Vec<PublishedPort>, String> {
    let place = text.split('/').next().unwrap_or_default();
    // An address of this machine and a port, which has none of the guest.
    let is_address = place.parse::<SocketAddr>().is_ok();
    let whole = if is_address { text.replacen(place, &format!("{place}:1"), 1) } else { text.to_owned() };
    let mut ports = spec::parse_publish(&whole).map_err(|error| error.to_string())?;
    if is_address || !text.contains(':') {
        ports.iter_mut().for_each(|port| port.guest_port = 0);
    }
    Ok(ports)
}

#[derive(Debug, Args)]
pub(super) struct PortLsArgs {
    /// Name, ID, unique ID prefix, or service of the project here
    #[arg(value_name = "NAME")]
    pub(super) sandbox: String,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum NetCommand {
    /// Follow what its network lets through and what not, from the beginning of the run until its end
    Tail(TailArgs),
}

#[derive(Debug, Args)]
pub(super) struct TailArgs {
    /// Name, ID, unique ID prefix, or service of the project here
    #[arg(value_name = "NAME")]
    pub(super) sandbox: String,
    /// How decisions are written; times are UTC
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: TailFormat,
}

/// How decisions are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum TailFormat {
    /// For people.
    #[default]
    Text,
    /// As they are, one JSON object a line.
    Json,
}

#[derive(Debug, Args)]
pub(super) struct PullArgs {
    /// For instance alpine, python:3.12 or ghcr.io/owner/name@sha256:…
    pub(super) image: String,
    /// The image for another machine, for instance linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    pub(super) platform: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) registry: RegistryArgs,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// How registries are reached.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RegistryArgs {
    /// Speak plain HTTP to the image's registry (one on this machine needs no leave)
    #[arg(long)]
    pub(super) insecure: bool,
    /// Ask this mirror first, for instance `docker.io=https://mirror.example`
    #[arg(long, value_name = "REGISTRY=URL", env = "MONOCORE_MIRRORS", value_delimiter = ',', value_parser = parse_mirror)]
    pub(super) mirror: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Show digests only
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

#[derive(Debug, Args)]
pub(super) struct RmiArgs {
    /// Names or digests
    #[arg(required = true, value_name = "IMAGE")]
    pub(super) images: Vec<String>,
    /// Be content if an image is not there
    #[arg(short, long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// The archive; standard input without it
    #[arg(short, long, value_name = "FILE")]
    pub(super) input: Option<PathBuf>,
    /// Show no progress
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

#[derive(Debug, Args)]
pub(super) struct SaveArgs {
    /// Names or digests
    #[arg(required = true, value_name = "IMAGE")]
    pub(super) images: Vec<String>,
    /// The archive; standard output without it
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// What kind of archive
    #[arg(long = "archive", value_enum, default_value_t)]
    pub(super) kind: ArchiveKind,
}

/// Kinds of image archives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ArchiveKind {
    /// What `docker load` reads.
    #[default]
    Docker,
    /// An OCI image layout in a tar file.
    Oci,
}

#[derive(Debug, Subcommand)]
pub(super) enum ImageCommand {
    /// Show an image's configuration and layers
    Inspect(InspectArgs),
    /// List the images in the store
    Ls(ListArgs),
    /// Remove images from the store
    Rm(RmiArgs),
}

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Names or digests
    #[arg(required = true, value_name = "IMAGE")]
    pub(super) images: Vec<String>,
    /// How to write the result
    #[arg(short, long, value_name = "FORMAT", default_value_t = Format::Json)]
    pub(super) format: Format,
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct PruneArgs {
    /// Remove every image, not only what belongs to none
    #[arg(short, long)]
    pub(super) all: bool,
    /// Accepted for Docker's sake: nothing is asked
    #[arg(short, long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

#[derive(Debug, Args)]
pub(super) struct CompletionArgs {
    /// Which shell
    #[arg(value_enum)]
    pub(super) shell: clap_complete::Shell,
}

/// Groups of sandboxes.
fn parse_guest_port(text: &str) -> Result<(u16, Protocol), String> {
    match spec::parse_guest_ports(text) {
        Ok((range, protocol)) if range.first == range.last => Ok((range.first, protocol)),
        Ok(_) => Err("name one port".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_mirror(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((registry, url)) if !registry.is_empty() && !url.is_empty() => Ok((registry.into(), url.into())),
        _ => Err("give REGISTRY=URL, for instance docker.io=https://mirror.example".to_owned()),
    }
}

/// Requests a second for each client of `serve`, unless `--rate-limit` says otherwise.
pub(super) const RATE_LIMIT: u32 = 200;

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Port on loopback (127.0.0.1)
    #[arg(long, value_name = "PORT", default_value = "3456")]
    pub(super) port: u16,
    /// Address and port, instead of loopback; another address than loopback needs TLS and a token
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "port")]
    pub(super) listen: Option<SocketAddr>,
    /// Listen on no TCP port
    #[arg(long, conflicts_with_all = ["port", "listen"])]
    pub(super) no_tcp: bool,
    /// Unix socket, for this user only [default: server/monocore.sock in the state directory]
    #[arg(long, value_name = "FILE")]
    pub(super) socket: Option<PathBuf>,
    /// PEM certificate chain
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(super) tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(super) tls_key: Option<PathBuf>,
    /// Ask for a token on loopback, too
    #[arg(long)]
    pub(super) require_token: bool,
    /// Serve tools for agents at /mcp, too (Model Context Protocol)
    #[arg(long)]
    pub(super) mcp: bool,
    /// What agents may ask for at /mcp; `monocore mcp --print-policy` shows all keys
    #[arg(long, value_name = "FILE", requires = "mcp")]
    pub(super) mcp_policy: Option<PathBuf>,
    /// Requests a second for each token, and for each address from the network; 0 for any number
    #[arg(long, value_name = "NUMBER", default_value_t = RATE_LIMIT)]
    pub(super) rate_limit: u32,
    /// For a program that starts a server for itself: a Unix socket of its own, and the server ends
    /// when its standard input does
    #[arg(long, conflicts_with_all = ["port", "listen", "no_tcp", "socket", "print_unit", "install_unit"])]
    pub(super) private: bool,
    /// Print a systemd user unit for these options
    #[arg(long, conflicts_with = "install_unit")]
    pub(super) print_unit: bool,
    /// Write that unit to this user's units
    #[arg(long)]
    pub(super) install_unit: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it once
    Create(TokenCreateArgs),
    /// List tokens, without their secrets
    Ls(FormatArgs),
    /// Remove tokens
    Rm(TokenRmArgs),
}

#[derive(Debug, Args)]
pub(super) struct TokenCreateArgs {
    /// What the token is for
    #[arg(value_name = "NAME", default_value = "")]
    pub(super) name: String,
    /// What it allows: read, run (sandboxes that see nothing of this machine), admin (everything)
    #[arg(long, value_name = "SCOPE", default_value = "run")]
    pub(super) scope: monocore_server::Scope,
}

#[derive(Debug, Args)]
pub(super) struct TokenRmArgs {
    /// IDs, as `token ls` shows them
    #[arg(required = true, value_name = "ID")]
    pub(super) ids: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_closed_is_named_by_its_place_on_this_machine() {
        let closed = |text: &str| {
            let port = parse_closed_port(text).unwrap()[0];
            (port.address.to_string(), port.host_port, port.guest_port, port.protocol.name())
        };
        assert_eq!(closed("9000"), ("127.0.0.1".into(), 9000, 0, "tcp"));
        assert_eq!(closed("0.0.0.0:9000/udp"), ("0.0.0.0".into(), 9000, 0, "udp"));
        assert_eq!(closed("[::1]:9000"), ("::1".into(), 9000, 0, "tcp"));
        assert_eq!(closed("127.0.0.2:9000:80"), ("127.0.0.2".into(), 9000, 80, "tcp"));
    }
}
