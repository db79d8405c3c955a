//! The grammar of `compose`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Subcommand};
use monocore_orchestrator::spec::{self, MountSpec};
use monocore_spec::PublishedPort;

use crate::command::args::FormatArgs;
use crate::command::project::{ConfigFlags, DownFlags, LogFlags, ProjectArgs, StatusFlags, UpFlags};

#[derive(Debug, Args)]
pub(in crate::command) struct ComposeArgs {
    #[command(flatten)]
    pub(super) project: ProjectArgs,
    #[command(subcommand)]
    pub(super) command: ComposeCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::command) enum ComposeCommand {
    /// Make and start the project's sandboxes
    Up(UpFlags),
    /// Stop and remove the project's sandboxes
    Down(DownFlags),
    /// Make the project's sandboxes without starting them
    Create(ServicesFlags),
    /// Start services that were stopped
    Start(ServicesFlags),
    /// Stop services
    Stop(StopFlags),
    /// Stop services and start them again
    Restart(StopFlags),
    /// Remove sandboxes of services that were stopped
    Rm(RmFlags),
    /// Send a signal to services
    Kill(KillFlags),
    /// List the project's sandboxes
    Ps(PsFlags),
    /// Show the output of services
    Logs(LogFlags),
    /// Run one more command in a service
    Exec(ExecCall),
    /// Run a command in a new sandbox of a service
    Run(Box<RunCall>),
    /// Copy files between a service and this machine
    Cp(CpCall),
    /// Show the processes of services
    Top(ServicesFlags),
    /// Show what services use
    Stats(ServicesFlags),
    /// Follow what happens to the project's sandboxes
    Events(EventsFlags),
    /// Tell where a port of a service is published
    Port(PortFlags),
    /// List the images of the project's sandboxes
    Images(ImagesFlags),
    /// Fetch the images of services
    Pull(PullFlags),
    /// Build images (not yet)
    Build(ServicesFlags),
    /// Check the project's file and show how it was understood
    #[command(alias = "convert")]
    Config(ConfigFlags),
    /// Freeze services
    Pause(ServicesFlags),
    /// Let paused services go on
    Unpause(ServicesFlags),
    /// Attach to the command of a service
    Attach(AttachFlags),
    /// Wait until services have ended and print their exit codes
    Wait(ServicesFlags),
    /// List the projects that have sandboxes
    Ls(FormatArgs),
    /// Show versions
    Version(FormatArgs),
}

#[derive(Debug, Args)]
pub(in crate::command) struct ServicesFlags {
    /// Services [default: all]
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct StopFlags {
    /// Grace period before SIGKILL [default: each service's]
    #[arg(short, long, value_name = "DURATION", value_parser = spec::parse_duration)]
    timeout: Option<Duration>,
    /// Services [default: all]
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

impl StopFlags {
    pub(super) fn timeout_ms(&self) -> Option<u64> {
        self.timeout.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }
}

#[derive(Debug, Args)]
pub(in crate::command) struct RmFlags {
    /// Accepted as in Compose: nothing is asked
    #[arg(short, long)]
    force: bool,
    /// Stop the services first
    #[arg(short, long)]
    pub(super) stop: bool,
    /// Accepted as in Compose; anonymous volumes lie on the sandbox's disk and always go with it
    #[arg(short, long)]
    volumes: bool,
    /// Services [default: all]
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct KillFlags {
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "SIGKILL")]
    pub(super) signal: String,
    /// Services [default: all]
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct EventsFlags {
    /// Write JSON lines
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::command) struct PortFlags {
    /// Which of the service's sandboxes
    #[arg(long, value_name = "N")]
    pub(super) index: Option<u32>,
    /// tcp or udp
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp")]
    pub(super) protocol: String,
    /// Service
    #[arg(value_name = "SERVICE")]
    pub(super) service: String,
    /// Port in the sandbox
    #[arg(value_name = "PORT")]
    pub(super) port: u16,
}

#[derive(Debug, Args)]
pub(in crate::command) struct AttachFlags {
    /// Which of the service's sandboxes
    #[arg(long, value_name = "N")]
    pub(super) index: Option<u32>,
    /// Service
    #[arg(value_name = "SERVICE")]
    pub(super) service: String,
}

#[derive(Debug, Args)]
pub(in crate::command) struct PsFlags {
    /// Show sandboxes that do not run, too
    #[arg(short, long)]
    pub(super) all: bool,
    /// Show IDs only
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) status: StatusFlags,
}

#[derive(Debug, Args)]
pub(in crate::command) struct ImagesFlags {
    /// Show digests only
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Services [default: all]
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct PullFlags {
    /// Show no progress
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Go on with the other images when one cannot be fetched
    #[arg(long)]
    pub(super) ignore_pull_failures: bool,
    /// Services [default: all]
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct ExecCall {
    /// Return when the command runs
    #[arg(short, long)]
    detach: bool,
    /// Give the command no terminal; else it gets one if the caller has one
    #[arg(short = 'T', long = "no-tty", alias = "no-TTY")]
    no_tty: bool,
    /// Accepted as in Compose: standard input is always passed on
    #[arg(short, long)]
    interactive: bool,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// User
    #[arg(short, long, value_name = "USER")]
    user: Option<OsString>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<OsString>,
    /// Which of the service's sandboxes
    #[arg(long, value_name = "N")]
    pub(super) index: Option<u32>,
    /// Service
    #[arg(value_name = "SERVICE")]
    pub(super) service: String,
    /// The command and its arguments
    #[arg(required = true, value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl ExecCall {
    /// As `monocore exec` has it, in the sandbox `name`.
    pub(super) fn words(&self, name: String) -> Vec<OsString> {
        use std::io::IsTerminal;
        let mut words: Vec<OsString> = vec!["exec".into()];
        if self.detach {
            words.push("--detach".into());
        } else {
            words.push("--interactive".into());
            if !self.no_tty && std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
                words.push("--tty".into());
            }
        }
        for (flag, values) in [
            ("--env", self.env.iter().collect::<Vec<_>>()),
            ("--user", self.user.iter().collect()),
            ("--workdir", self.workdir.iter().collect()),
        ] {
            words.extend(values.into_iter().flat_map(|value| [flag.into(), value.clone()]));
        }
        words.push(name.into());
        words.extend(self.command.iter().cloned());
        words
    }
}

#[derive(Debug, Args)]
pub(in crate::command) struct CpCall {
    /// Keep owners
    #[arg(short, long)]
    archive: bool,
    /// Copy what a symbolic link leads to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// A path, or SERVICE:PATH, or - for a tar stream
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where it goes
    #[arg(value_name = "TARGET")]
    target: String,
}

impl CpCall {
    /// As `monocore cp` has it. `name_of` gives the sandbox of a service.
    pub(super) fn words(
        &self,
        name_of: impl Fn(&str) -> anyhow::Result<String>,
    ) -> anyhow::Result<Vec<OsString>> {
        let place = |text: &String| match text.split_once(':') {
            Some((service, path)) if !service.contains('/') => Ok(format!("{}:{path}", name_of(service)?)),
            _ => Ok::<_, anyhow::Error>(text.clone()),
        };
        let mut words: Vec<OsString> = vec!["cp".into()];
        words.extend(self.archive.then(|| "--archive".into()));
        words.extend(self.follow_link.then(|| "--follow-link".into()));
        words.extend([place(&self.source)?.into(), place(&self.target)?.into()]);
        Ok(words)
    }
}

#[derive(Debug, Args)]
pub(in crate::command) struct RunCall {
    /// Run in the background and print the sandbox's ID
    #[arg(short, long)]
    pub(super) detach: bool,
    /// Remove the sandbox when its command ends; in the foreground this is always so
    #[arg(long)]
    pub(super) rm: bool,
    /// Do not start the services that it needs
    #[arg(long)]
    pub(super) no_deps: bool,
    /// Publish the service's ports, too
    #[arg(short = 'P', long)]
    pub(super) service_ports: bool,
    /// Give the command no terminal; else it gets one if the caller has one
    #[arg(short = 'T', long = "no-tty", alias = "no-TTY")]
    pub(super) no_tty: bool,
    /// Accepted as in Compose: standard input is always passed on in the foreground
    #[arg(short, long)]
    interactive: bool,
    /// Name of the sandbox
    #[arg(long, value_name = "NAME", value_parser = spec::parse_name)]
    pub(super) name: Option<String>,
    /// Set an environment variable, or pass the caller's
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(super) env: Vec<OsString>,
    /// Replace the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub(super) entrypoint: Option<OsString>,
    /// Add a label
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = spec::parse_label)]
    pub(super) label: Vec<(String, String)>,
    /// Publish a port
    #[arg(short, long, value_name = "[ADDRESS:][HOST]:GUEST[/udp]", value_parser = spec::parse_publish)]
    pub(super) publish: Vec<Vec<PublishedPort>>,
    /// Mount a directory or a volume
    #[arg(short, long, value_name = "SOURCE:TARGET[:ro]", value_parser = spec::parse_volume)]
    pub(super) volume: Vec<MountSpec>,
    /// User
    #[arg(short, long, value_name = "USER")]
    pub(super) user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(super) workdir: Option<String>,
    /// Service
    #[arg(value_name = "SERVICE")]
    pub(super) service: String,
    /// The command and its arguments [default: the service's]
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<OsString>,
}
