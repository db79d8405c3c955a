//! `network`: groups of sandboxes that reach each other, by Docker's verbs.

use anyhow::{Context, bail, ensure};
use monocore_orchestrator::spec::GroupMembership;
use monocore_orchestrator::{Error, GroupRecord, Home, KeptSandbox, NewGroup, groups, registry};

use super::args::{
    NetworkCommand, NetworkConnectArgs, NetworkCreateArgs, NetworkDisconnectArgs, NetworkLsArgs,
    NetworkRmArgs, NetworksArgs,
};
use super::named;
use super::output::{self, Table};

pub(super) fn main(command: NetworkCommand) -> anyhow::Result<()> {
    let home = Home::locate()?;
    match command {
        NetworkCommand::Create(args) => create(&home, args),
        NetworkCommand::Ls(args) => list(&home, &args),
        NetworkCommand::Inspect(args) => inspect(&home, &args),
        NetworkCommand::Rm(args) => remove(&home, &args),
        NetworkCommand::Prune => prune(&home),
        NetworkCommand::Connect(args) => connect(&home, args),
        NetworkCommand::Disconnect(args) => disconnect(&home, &args),
    }
}

fn connect(home: &Home, args: NetworkConnectArgs) -> anyhow::Result<()> {
    let (project, group) = args.network;
    let kept = kept(home, &args.sandbox)?;
    let found = groups::find(home, project.as_deref(), &group)?;
    let spec = &kept.record().spec;
    ensure!(spec.network.mode.is_ours(), "groups need the network nat or tsi");
    let is_member = |membership: &GroupMembership| membership.group == group && membership.project == project;
    if spec.network.groups.iter().any(is_member) {
        bail!("sandbox {} is a member of {} already", kept.record().name, found.full_name());
    }
    let membership = GroupMembership {
        project: project.clone(),
        aliases: args.alias,
        address: args.ip,
        ..GroupMembership::new(group.clone())
    };
    Ok(registry::join_group(home, &kept, membership)?)
}

fn disconnect(home: &Home, args: &NetworkDisconnectArgs) -> anyhow::Result<()> {
    let (project, group) = &args.network;
    let kept = kept(home, &args.sandbox)?;
    let found = groups::find(home, project.as_deref(), group)?;
    let is_member =
        |membership: &GroupMembership| membership.group == *group && membership.project == *project;
    if !kept.record().spec.network.groups.iter().any(is_member) {
        bail!("sandbox {} is not a member of {}", kept.record().name, found.full_name());
    }
    Ok(registry::leave_group(home, &kept, project.as_deref(), group)?)
}

/// The kept sandbox that `wanted` means.
fn kept(home: &Home, wanted: &str) -> anyhow::Result<KeptSandbox> {
    let entry = named::find(home, wanted)?;
    let is_not_kept = || format!("sandbox {} ends with its command and is not kept", entry.name);
    entry.kept.clone().with_context(is_not_kept)
}

fn create(home: &Home, args: NetworkCreateArgs) -> anyhow::Result<()> {
    let (project, name) = args.network;
    let labels = args.label.into_iter().collect();
    let group = groups::create(home, NewGroup { project, name, subnet: args.subnet, labels })?;
    output::print(&format!("{}\n", group.full_name()))
}

fn list(home: &Home, args: &NetworkLsArgs) -> anyhow::Result<()> {
    let all = groups::list(home)?;
    if args.quiet {
        return output::print(
            &all.iter().map(|group| format!("{}\n", group.full_name())).collect::<String>(),
        );
    }
    output::listing(args.output.format, &all, |all| table(all).to_string())
}

fn table(groups: &[GroupRecord]) -> Table {
    let mut table = Table::new(&["NETWORK", "SUBNET", "MEMBERS"]);
    for group in groups {
        let members: Vec<&str> = group.members.iter().map(|member| member.name.as_str()).collect();
        table.row([group.full_name(), group.subnet.to_string(), members.join(", ")]);
    }
    table
}

fn inspect(home: &Home, args: &NetworksArgs) -> anyhow::Result<()> {
    let found = args.networks.iter().map(|(project, name)| groups::find(home, project.as_deref(), name));
    let found = found.collect::<Result<Vec<_>, _>>()?;
    output::print(&format!("{}\n", serde_json::to_string_pretty(&found)?))
}

fn remove(home: &Home, args: &NetworkRmArgs) -> anyhow::Result<()> {
    for (project, name) in &args.chosen.networks {
        let full = match groups::find(home, project.as_deref(), name) {
            Err(Error::NoGroup(_)) if args.force => continue,
            found => found?.full_name(),
        };
        groups::remove(home, project.as_deref(), name)?;
        output::print(&format!("{full}\n"))?;
    }
    Ok(())
}

fn prune(home: &Home) -> anyhow::Result<()> {
    let removed = groups::prune(home)?;
    output::print(&removed.iter().map(|name| format!("{name}\n")).collect::<String>())
}
