//! Arguments of `network`.

use std::net::Ipv4Addr;

use clap::{Args, Subcommand};
use monocore_orchestrator::spec;
use monocore_spec::Cidr;

use super::FormatArgs;

#[derive(Debug, Subcommand)]
pub(in crate::command) enum NetworkCommand {
    /// Make a group that stays until it is removed
    Create(NetworkCreateArgs),
    /// List groups
    #[command(visible_alias = "list")]
    Ls(NetworkLsArgs),
    /// Show groups and their members, as JSON
    Inspect(NetworksArgs),
    /// Remove groups that have no running member
    #[command(visible_alias = "remove")]
    Rm(NetworkRmArgs),
    /// Remove every group without members
    Prune,
    /// Make a sandbox a member of a group: at once, or from its next start on if it does not run
    Connect(NetworkConnectArgs),
    /// Take a sandbox out of a group
    Disconnect(NetworkDisconnectArgs),
}

#[derive(Debug, Args)]
pub(in crate::command) struct NetworkConnectArgs {
    /// A further name of the sandbox in the group; may be given several times
    #[arg(long, value_name = "NAME", value_parser = spec::parse_alias)]
    pub(in crate::command) alias: Vec<String>,
    /// The sandbox's address in the group [default: the next free one]
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::command) ip: Option<Ipv4Addr>,
    /// [PROJECT/]NAME
    #[arg(value_name = "NETWORK", value_parser = spec::parse_group_name)]
    pub(in crate::command) network: (Option<String>, String),
    /// Name, ID, unique ID prefix, or service of the project here
    pub(in crate::command) sandbox: String,
}

#[derive(Debug, Args)]
pub(in crate::command) struct NetworkDisconnectArgs {
    /// Accepted as in Docker
    #[arg(short, long)]
    pub(in crate::command) force: bool,
    /// [PROJECT/]NAME
    #[arg(value_name = "NETWORK", value_parser = spec::parse_group_name)]
    pub(in crate::command) network: (Option<String>, String),
    /// Name, ID, unique ID prefix, or service of the project here
    pub(in crate::command) sandbox: String,
}

#[derive(Debug, Args)]
pub(in crate::command) struct NetworkCreateArgs {
    /// Its addresses: a private network of 16 to 29 bits [default: the next free /24 of 10.0.0.0/8]
    #[arg(long, value_name = "NETWORK", value_parser = parse_subnet)]
    pub(in crate::command) subnet: Option<Cidr>,
    /// A label; free-form
    #[arg(short, long, value_name = "KEY[=VALUE]", value_parser = spec::parse_label)]
    pub(in crate::command) label: Vec<(String, String)>,
    /// [PROJECT/]NAME
    #[arg(value_name = "NETWORK", value_parser = spec::parse_group_name)]
    pub(in crate::command) network: (Option<String>, String),
}

#[derive(Debug, Args)]
pub(in crate::command) struct NetworkLsArgs {
    /// Show names only
    #[arg(short, long)]
    pub(in crate::command) quiet: bool,
    #[command(flatten)]
    pub(in crate::command) output: FormatArgs,
}

#[derive(Debug, Args)]
pub(in crate::command) struct NetworksArgs {
    /// [PROJECT/]NAME
    #[arg(required = true, value_name = "NETWORK", value_parser = spec::parse_group_name)]
    pub(in crate::command) networks: Vec<(Option<String>, String)>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct NetworkRmArgs {
    #[command(flatten)]
    pub(in crate::command) chosen: NetworksArgs,
    /// Be content if a group is not there
    #[arg(short, long)]
    pub(in crate::command) force: bool,
}

fn parse_subnet(text: &str) -> Result<Cidr, String> {
    let problem = || format!("{text}: a subnet is ADDRESS/BITS, for instance 10.9.0.0/24");
    let (address, prefix) = text.split_once('/').ok_or_else(problem)?;
    Ok(Cidr {
        address: address.parse().map_err(|_| problem())?,
        prefix: prefix.parse().map_err(|_| problem())?,
    })
}
