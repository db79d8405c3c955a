//! `up` and `apply`: makes the sandboxes as the project's file describes them.

use anyhow::Context;
use monocore_orchestrator::config::Project;
use monocore_orchestrator::session::Signals;
use monocore_orchestrator::{
    Change, PlannedStep, ProjectPlan, ProjectRunner, ProjectWatch, UpOptions, instances,
};
use serde::Serialize;

use super::args::UpFlags;
use super::down::members_of;
use super::lines::Lines;
use super::{ProjectArgs, UpArgs, attached, load, runner, told};
use crate::command::output;

pub(in crate::command) fn main(files: &ProjectArgs, args: &UpFlags) -> anyhow::Result<u8> {
    let mut project = load(files)?;
    for (service, replicas) in &args.scale {
        project.scale(service, *replicas)?;
    }
    let services = members_of(files, &args.group, &args.services)?;
    let options = UpOptions {
        services,
        remove_orphans: args.remove_orphans,
        force_recreate: args.force_recreate,
        wait: args.wait,
        only_create: false,
    };
    let lines = Lines::new(args.format);
    let runner = runner(&project.name, Some(&lines), &args.registry)?;
    let wanted = instances(&project)?;
    if args.dry_run {
        show(&runner.plan(&wanted, &options)?, args)?;
        return Ok(0);
    }
    if args.detach || args.wait {
        runner.up(&wanted, &options)?;
        return Ok(0);
    }
    // Before the threads of a watch: a signal would end one that does not block it.
    let signals = Signals::block()?;
    let watch = args.watch.then(|| begin_watch(&runner, &project, &options)).transpose()?;
    attached::up(&runner, &wanted, &options, &signals, watch, &lines)
}

fn begin_watch(
    runner: &ProjectRunner,
    project: &Project,
    options: &UpOptions,
) -> anyhow::Result<ProjectWatch> {
    let watch = ProjectWatch::begin(runner.clone(), project, &options.services)?;
    watch.context("no service watches files: add `watch` to one (`develop.watch` in a Compose file)")
}

/// Makes the sandboxes of `services` without starting them.
///
/// # Errors
/// As [`main`].
pub(in crate::command) fn create(files: &ProjectArgs, services: &[String]) -> anyhow::Result<()> {
    let project = load(files)?;
    let options =
        UpOptions { services: members_of(files, &[], services)?, only_create: true, ..UpOptions::default() };
    told(files)?.up(&instances(&project)?, &options)?;
    Ok(())
}

/// As `up -d --remove-orphans`.
pub(in crate::command) fn apply(mut args: UpArgs) -> anyhow::Result<u8> {
    (args.flags.detach, args.flags.remove_orphans) = (true, true);
    main(&args.project, &args.flags)
}

/// A step for programs.
#[derive(Serialize)]
struct Row<'a> {
    service: &'a str,
    sandbox: &'a str,
    change: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    because: &'a [String],
}

fn show(plan: &ProjectPlan, args: &UpFlags) -> anyhow::Result<()> {
    let row = |step: &'_ PlannedStep| -> (&'static str, Vec<String>) {
        match &step.change {
            Change::Create => ("create", Vec::new()),
            Change::Recreate(parts) => ("recreate", parts.clone()),
            Change::Update(parts) => ("update", parts.clone()),
            Change::Restart(parts) => ("restart", parts.clone()),
            Change::Start => ("start", Vec::new()),
            Change::Keep => ("keep", Vec::new()),
            Change::Remove => ("remove", Vec::new()),
        }
    };
    let changes: Vec<_> = plan.steps.iter().map(row).collect();
    let rows: Vec<_> = plan
        .steps
        .iter()
        .zip(&changes)
        .map(|(step, (change, because))| Row { service: &step.service, sandbox: &step.name, change, because })
        .collect();
    output::listing(args.format, &rows, |rows| {
        let mut table = output::Table::new(&["SERVICE", "SANDBOX", "CHANGE", "BECAUSE OF"]);
        for row in rows {
            table.row([
                row.service.to_owned(),
                row.sandbox.to_owned(),
                row.change.to_owned(),
                row.because.join(", "),
            ]);
        }
        table.to_string()
    })
}
