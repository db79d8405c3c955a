//! Arguments of `volume`.

use clap::{Args, Subcommand};
use monocore_orchestrator::spec;

use super::{Format, FormatArgs};
use crate::command::volume::{Filter, parse_filter};

#[derive(Debug, Subcommand)]
pub(in crate::command) enum VolumeCommand {
    /// Make a volume and print its name
    Create(VolumeCreateArgs),
    /// Show volumes as JSON or by a Go template
    Inspect(VolumeInspectArgs),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(VolumeListArgs),
    /// Remove volumes that no sandbox uses: those without a name of their own, or all
    Prune(VolumePruneArgs),
    /// Remove volumes that no sandbox uses
    #[command(visible_alias = "remove")]
    Rm(VolumeRmArgs),
}

#[derive(Debug, Args)]
pub(in crate::command) struct VolumeCreateArgs {
    /// Describe the volume
    #[arg(long, value_name = "KEY=VALUE", value_parser = spec::parse_label)]
    pub(in crate::command) label: Vec<(String, String)>,
    /// Accepted as in Docker: `local` is the only driver
    #[arg(short, long, value_name = "DRIVER", default_value = "local", value_parser = ["local"])]
    pub(in crate::command) driver: String,
    /// The same as VOLUME
    #[arg(long = "name", value_name = "NAME", hide = true, conflicts_with = "name", value_parser = spec::parse_name)]
    pub(in crate::command) named: Option<String>,
    /// Its name [default: one is made up]
    #[arg(value_name = "VOLUME", value_parser = spec::parse_name)]
    pub(in crate::command) name: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct VolumeInspectArgs {
    /// How to write the result: json, or a Go template such as '{{.Mountpoint}}'
    #[arg(short, long, value_name = "FORMAT", default_value_t = Format::Json)]
    pub(in crate::command) format: Format,
    /// Names
    #[arg(required = true, value_name = "VOLUME")]
    pub(in crate::command) volumes: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct VolumeListArgs {
    /// Show names only
    #[arg(short, long)]
    pub(in crate::command) quiet: bool,
    /// Show only volumes with this: name=TEXT, label=KEY[=VALUE], dangling=true|false, driver=local
    #[arg(short, long, value_name = "FILTER", value_parser = parse_filter)]
    pub(in crate::command) filter: Vec<Filter>,
    #[command(flatten)]
    pub(in crate::command) output: FormatArgs,
}

#[derive(Debug, Args)]
pub(in crate::command) struct VolumePruneArgs {
    /// Remove volumes with a name of their own, too
    #[arg(short, long)]
    pub(in crate::command) all: bool,
    /// Remove only volumes with this: label=KEY[=VALUE]
    #[arg(long, value_name = "FILTER", value_parser = parse_filter)]
    pub(in crate::command) filter: Vec<Filter>,
    /// Accepted for Docker's sake: nothing is asked
    #[arg(short, long)]
    pub(in crate::command) force: bool,
}

#[derive(Debug, Args)]
pub(in crate::command) struct VolumeRmArgs {
    /// Accept a volume that does not exist
    #[arg(short, long)]
    pub(in crate::command) force: bool,
    /// Names
    #[arg(required = true, value_name = "VOLUME")]
    pub(in crate::command) volumes: Vec<String>,
}
