//! The flags of a project's verbs.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use monocore_orchestrator::spec;

use crate::command::args::{Format, FormatArgs, RegistryArgs};
use crate::command::logs::{Tail, parse_since, parse_tail};

/// Which project.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::command) struct ProjectArgs {
    /// Project file; several are merged [default: monocore.toml, monocore.yaml or compose.yaml here or above]
    #[arg(short, long, value_name = "FILE")]
    pub(in crate::command) file: Vec<PathBuf>,
    #[command(flatten)]
    pub(in crate::command) more: MoreProjectArgs,
}

/// The same but for `--file`, whose short form is another flag's in `log`.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::command) struct MoreProjectArgs {
    /// Project name [default: the file's, else its directory's]
    #[arg(short, long, value_name = "NAME", env = "MONOCORE_PROJECT", value_parser = spec::parse_name)]
    pub(in crate::command) project_name: Option<String>,
    /// Directory that relative paths begin at [default: that of the first file]
    #[arg(long, value_name = "DIR")]
    pub(in crate::command) project_directory: Option<PathBuf>,
    /// File of variables for `${…}` in the project file [default: .env]
    #[arg(long, value_name = "FILE")]
    pub(in crate::command) env_file: Vec<PathBuf>,
    /// Include the services of a profile
    #[arg(long, value_name = "PROFILE", env = "MONOCORE_PROFILES", value_delimiter = ',')]
    pub(in crate::command) profile: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct UpArgs {
    #[command(flatten)]
    pub(in crate::command) project: ProjectArgs,
    #[command(flatten)]
    pub(in crate::command) flags: UpFlags,
}

#[derive(Debug, Args)]
pub(in crate::command) struct UpFlags {
    /// Return when everything runs, instead of showing the output until Ctrl-C
    #[arg(short, long)]
    pub(super) detach: bool,
    /// Return when every service with a health check is healthy; implies --detach
    #[arg(long)]
    pub(super) wait: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Replace sandboxes that are as described, too
    #[arg(long)]
    pub(super) force_recreate: bool,
    /// Set how many sandboxes a service has
    #[arg(long, value_name = "SERVICE=N", value_parser = parse_scale)]
    pub(super) scale: Vec<(String, u16)>,
    /// Follow the files under `watch` of the services: copy what changes, restart what has to be
    #[arg(short, long, conflicts_with_all = ["detach", "wait", "dry_run"])]
    pub(super) watch: bool,
    /// Remove sandboxes of services that the file no longer has
    #[arg(long)]
    pub(super) remove_orphans: bool,
    /// Only the members of this group
    #[arg(short, long, value_name = "GROUP")]
    pub(super) group: Vec<String>,
    /// How the steps are written
    #[arg(long, value_name = "FORMAT", default_value_t)]
    pub(super) format: Format,
    #[command(flatten)]
    pub(super) registry: RegistryArgs,
    /// Only these services and what they need
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// Reads `SERVICE=N`.
pub(in crate::command) fn parse_scale(text: &str) -> Result<(String, u16), String> {
    text.split_once('=')
        .and_then(|(service, number)| Some((service.to_owned(), number.parse().ok()?)))
        .ok_or_else(|| "give SERVICE=NUMBER".to_owned())
}

#[derive(Debug, Args)]
pub(in crate::command) struct DownArgs {
    #[command(flatten)]
    pub(in crate::command) project: ProjectArgs,
    #[command(flatten)]
    pub(in crate::command) flags: DownFlags,
}

#[derive(Debug, Args)]
pub(in crate::command) struct DownFlags {
    /// Remove the project's named volumes, too
    #[arg(short, long)]
    pub(super) volumes: bool,
    /// Grace period before SIGKILL [default: each service's]
    #[arg(short, long, value_name = "DURATION", value_parser = spec::parse_duration)]
    pub(super) timeout: Option<Duration>,
    /// Only the members of this group
    #[arg(short, long, value_name = "GROUP")]
    pub(super) group: Vec<String>,
    /// How the steps are written
    #[arg(long, value_name = "FORMAT", default_value_t)]
    pub(super) format: Format,
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct RemoveArgs {
    #[command(flatten)]
    pub(super) project: ProjectArgs,
    /// The members of this group
    #[arg(short, long, value_name = "GROUP")]
    pub(super) group: Vec<String>,
    /// Services
    #[arg(value_name = "SERVICE", required_unless_present = "group")]
    pub(super) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct StatusArgs {
    #[command(flatten)]
    pub(in crate::command) project: ProjectArgs,
    #[command(flatten)]
    pub(in crate::command) flags: StatusFlags,
}

#[derive(Debug, Args)]
pub(in crate::command) struct StatusFlags {
    #[command(flatten)]
    pub(super) output: FormatArgs,
    /// Only sandboxes that run, as `compose ps` wants.
    #[arg(skip)]
    pub(in crate::command) running: bool,
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct TreeArgs {
    #[command(flatten)]
    pub(super) project: ProjectArgs,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

#[derive(Debug, Args)]
pub(in crate::command) struct LogArgs {
    /// Project file; several are merged [default: monocore.toml, monocore.yaml or compose.yaml here or above]
    #[arg(long, value_name = "FILE")]
    pub(super) file: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) more: MoreProjectArgs,
    #[command(flatten)]
    pub(super) flags: LogFlags,
}

#[derive(Debug, Args)]
pub(in crate::command) struct LogFlags {
    /// Go on until every sandbox has ended
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Show only so many of each sandbox's last lines, or `all`
    #[arg(short = 'n', long, value_name = "N", default_value = "all", value_parser = parse_tail)]
    pub(super) tail: Tail,
    /// Show only output since a time (2026-11-30T04:41:00Z) or a duration ago (10m)
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    pub(super) since: Option<SystemTime>,
    /// Show only lines that match a regular expression
    #[arg(long, value_name = "REGEX")]
    pub(super) grep: Option<regex::bytes::Regex>,
    /// Begin each line with its time (UTC)
    #[arg(short, long)]
    pub(super) timestamps: bool,
    /// Do not begin each line with the name of its sandbox
    #[arg(long, alias = "no-log-prefix")]
    pub(super) no_prefix: bool,
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct InitArgs {
    /// Take the answers that the directory's files suggest, and ask nothing
    #[arg(short, long)]
    pub(super) yes: bool,
    /// Name of the first service
    #[arg(long, value_name = "NAME", value_parser = spec::parse_name)]
    pub(super) name: Option<String>,
    /// Image of the first service
    #[arg(long, value_name = "IMAGE")]
    pub(super) image: Option<String>,
    /// The project's directory [default: this one]
    #[arg(value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct AddArgs {
    #[command(flatten)]
    pub(super) project: ProjectArgs,
    /// Name of the service
    #[arg(long, value_name = "NAME", value_parser = spec::parse_name)]
    pub(super) name: String,
    /// Group of the service
    #[arg(short, long, value_name = "GROUP")]
    pub(super) group: Option<String>,
    /// Publish a port
    #[arg(long, value_name = "[ADDRESS:][HOST]:GUEST[/udp]")]
    pub(super) publish: Vec<String>,
    /// Mount a directory or a volume
    #[arg(short, long, value_name = "SOURCE:TARGET[:ro]")]
    pub(super) volume: Vec<String>,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(super) env: Vec<String>,
    /// A service that is started before this one
    #[arg(long, value_name = "SERVICE")]
    pub(super) depends_on: Vec<String>,
    /// Image of the service
    #[arg(value_name = "IMAGE")]
    pub(super) image: String,
    /// The command and its arguments [default: the image's]
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct ConfigArgs {
    #[command(flatten)]
    pub(super) project: ProjectArgs,
    #[command(flatten)]
    pub(super) flags: ConfigFlags,
}

#[derive(Debug, Args)]
pub(in crate::command) struct ConfigFlags {
    /// Only check the file; write nothing
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Write the names of the services only
    #[arg(long)]
    pub(super) services: bool,
    /// Write the JSON schema of monocore.toml, and read no file
    #[arg(long)]
    pub(super) schema: bool,
    /// How the project is written
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: ConfigFormat,
}

/// How a project is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::command) enum ConfigFormat {
    /// As a monocore.toml.
    #[default]
    Toml,
    /// As JSON, of the same keys.
    Json,
}

#[derive(Debug, Args)]
pub(in crate::command) struct ScriptArgs {
    #[command(flatten)]
    pub(super) project: ProjectArgs,
    /// Service, as SERVICE or SERVICE:SCRIPT
    #[arg(value_name = "SERVICE")]
    pub(super) service: String,
    /// Name of the script, and arguments that it gets as $1, $2, …
    #[arg(value_name = "SCRIPT", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) words: Vec<String>,
}
