//! `network`: groups of sandboxes that reach each other, by Docker's verbs.

use monocore_orchestrator::{Error, GroupRecord, Home, NewGroup, groups};

use super::args::{NetworkCommand, NetworkCreateArgs, NetworkLsArgs, NetworkRmArgs, NetworksArgs};
use super::output::{self, Table};

pub(super) fn main(command: NetworkCommand) -> anyhow::Result<()> {
    let home = Home::locate()?;
    match command {
        NetworkCommand::Create(args) => create(&home, args),
        NetworkCommand::Ls(args) => list(&home, &args),
        NetworkCommand::Inspect(args) => inspect(&home, &args),
        NetworkCommand::Rm(args) => remove(&home, &args),
        NetworkCommand::Prune => prune(&home),
    }
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
