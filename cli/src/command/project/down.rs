//! `down`, `remove` and `clean`.

use monocore_orchestrator::DownOptions;

use super::args::DownFlags;
use super::lines::Lines;
use super::{ProjectArgs, RemoveArgs, load, name, runner, told};
use crate::command::args::RegistryArgs;

pub(in crate::command) fn down(files: &ProjectArgs, args: &DownFlags) -> anyhow::Result<()> {
    let services = members_of(files, &args.group, &args.services)?;
    let runner = runner(&name(files)?, Some(&Lines::new(args.format)), &RegistryArgs::default())?;
    let grace_ms = args.timeout.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    Ok(runner.down(&DownOptions { services, volumes: args.volumes, grace_ms })?)
}

pub(in crate::command) fn remove(args: &RemoveArgs) -> anyhow::Result<()> {
    let services = members_of(&args.project, &args.group, &args.services)?;
    Ok(told(&args.project)?.down(&DownOptions { services, ..DownOptions::default() })?)
}

pub(in crate::command) fn clean(args: &ProjectArgs) -> anyhow::Result<()> {
    Ok(told(args)?.down(&DownOptions { volumes: true, ..DownOptions::default() })?)
}

/// `services` and the members of `groups`, each of which the project must have.
pub(in crate::command) fn members_of(
    args: &ProjectArgs,
    groups: &[String],
    services: &[String],
) -> anyhow::Result<Vec<String>> {
    if groups.is_empty() && services.is_empty() {
        return Ok(Vec::new());
    }
    let project = load(args)?;
    if let Some(service) = services.iter().find(|name| project.config.service(name).is_none()) {
        let service = service.clone();
        return Err(monocore_orchestrator::Error::NoService { project: project.name, service }.into());
    }
    let mut chosen = services.to_vec();
    for group in groups {
        anyhow::ensure!(
            project.config.group(group).is_some(),
            "project {} has no group {group}",
            project.name
        );
        chosen.extend(project.config.members(group).map(|service| service.name.clone()));
    }
    Ok(chosen)
}
