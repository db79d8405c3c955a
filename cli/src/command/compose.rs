//! `compose`: Docker Compose's verbs and flags, for habits and scripts that exist.
//!
//! A verb for single sandboxes is translated into monocore's own words, with the sandboxes' names in the place of the
//! services', and is then read as if it had been typed.

mod args;
mod one_off;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use monocore_orchestrator::config::Service;
use monocore_orchestrator::spec::{ImageSpec, PullPolicy};
use monocore_orchestrator::{Home, LABEL_PROJECT, Member, ProjectRunner, registry};

pub(super) use args::ComposeArgs;

use super::args::{Cli, Format, RegistryArgs};
use super::output::{self, Table};
use super::project::{self, ProjectArgs};
use super::{dispatch, run, status, store};
use args::ComposeCommand;

pub(super) fn main(args: ComposeArgs) -> ExitCode {
    let files = args.project;
    match args.command {
        ComposeCommand::Up(flags) => status(project::up(&files, &flags)),
        ComposeCommand::Down(flags) => done(project::down(&files, &flags)),
        ComposeCommand::Ps(mut flags) => {
            flags.status.running = !flags.all;
            let show = if flags.quiet { project::show_ids } else { project::status };
            done(show(&files, &flags.status))
        }
        ComposeCommand::Logs(flags) => done(project::show_log(&files, &flags)),
        ComposeCommand::Config(flags) => done(project::show_config(&files, &flags)),
        ComposeCommand::Run(call) => match one_off::run(&files, *call) {
            Ok(code) => ExitCode::from(code),
            Err(error) => run::failure(&error),
        },
        ComposeCommand::Exec(call) => match member_name(&files, &call.service, call.index) {
            Ok(name) => typed(call.words(name)),
            Err(error) => run::failure(&error),
        },
        ComposeCommand::Cp(call) => match call.words(|service| member_name(&files, service, None)) {
            Ok(words) => typed(words),
            Err(error) => run::failure(&error),
        },
        ComposeCommand::Ls(flags) => done(list(flags.format)),
        other => match control(&files, other) {
            Ok(Some(words)) => typed(words),
            Ok(None) => ExitCode::SUCCESS,
            Err(error) => run::failure(&error),
        },
    }
}

/// The verbs that act on services and have nothing of their own to show; words that are still to be read, if any.
fn control(files: &ProjectArgs, command: ComposeCommand) -> anyhow::Result<Option<Vec<OsString>>> {
    let runner = || project::told(files);
    match command {
        ComposeCommand::Create(flags) => project::create(files, &flags.services)?,
        ComposeCommand::Start(flags) => runner()?.start_members(&checked(files, flags.services)?)?,
        ComposeCommand::Stop(flags) => {
            let grace_ms = flags.timeout_ms();
            runner()?.stop(&checked(files, flags.services)?, grace_ms)?;
        }
        ComposeCommand::Restart(flags) => {
            let (grace_ms, services) = (flags.timeout_ms(), checked(files, flags.services)?);
            runner()?.stop(&services, grace_ms)?;
            runner()?.start_members(&services)?;
        }
        ComposeCommand::Rm(flags) => remove(&runner()?, &flags, &checked(files, flags.services.clone())?)?,
        ComposeCommand::Pull(flags) => pull(files, &flags)?,
        ComposeCommand::Images(flags) => images(files, &flags)?,
        ComposeCommand::Kill(flags) => {
            let words = ["kill", "--signal", &flags.signal].map(OsString::from).to_vec();
            return with_names(words, files, &flags.services, Member::is_running);
        }
        ComposeCommand::Pause(flags) => return each(&["pause"], files, &flags.services),
        ComposeCommand::Unpause(flags) => return each(&["unpause"], files, &flags.services),
        ComposeCommand::Stats(flags) => return each(&["stats"], files, &flags.services),
        ComposeCommand::Top(flags) => return each(&["top"], files, &flags.services),
        ComposeCommand::Wait(flags) => {
            return with_names(vec!["wait".into()], files, &flags.services, |_| true);
        }
        ComposeCommand::Attach(flags) => {
            return Ok(Some(vec!["attach".into(), member_name(files, &flags.service, flags.index)?.into()]));
        }
        ComposeCommand::Port(flags) => {
            let name = member_name(files, &flags.service, flags.index)?;
            let port = format!("{}/{}", flags.port, flags.protocol);
            return Ok(Some(vec!["port".into(), name.into(), port.into()]));
        }
        ComposeCommand::Events(flags) => {
            let filter = format!("label={LABEL_PROJECT}={}", project::name(files)?);
            let mut words: Vec<OsString> = ["events", "--filter", &filter].map(OsString::from).to_vec();
            if flags.json {
                words.extend(["--format", "json"].map(OsString::from));
            }
            return Ok(Some(words));
        }
        ComposeCommand::Version(_) => return Ok(Some(vec!["version".into()])),
        ComposeCommand::Build(_) => bail!(
            "compose build: monocore does not build images yet; build them elsewhere and `monocore load` them"
        ),
        // Taken care of by the caller.
        ComposeCommand::Up(_)
        | ComposeCommand::Down(_)
        | ComposeCommand::Ps(_)
        | ComposeCommand::Logs(_)
        | ComposeCommand::Config(_)
        | ComposeCommand::Run(_)
        | ComposeCommand::Exec(_)
        | ComposeCommand::Cp(_)
        | ComposeCommand::Ls(_) => {}
    }
    Ok(None)
}

/// Reads `words` as if they had been typed after `monocore`, and does what they say.
fn typed(words: Vec<OsString>) -> ExitCode {
    match Cli::try_parse_from([OsString::from("monocore")].into_iter().chain(words)) {
        Ok(cli) => dispatch(cli.command),
        Err(error) => super::usage(&error),
    }
}

fn done(result: anyhow::Result<()>) -> ExitCode {
    status(result.map(|()| 0))
}

/// `services`, each of which the project must have.
fn checked(files: &ProjectArgs, services: Vec<String>) -> anyhow::Result<Vec<String>> {
    project::members_of(files, &[], &services)
}

fn each(words: &[&str], files: &ProjectArgs, services: &[String]) -> anyhow::Result<Option<Vec<OsString>>> {
    with_names(words.iter().map(OsString::from).collect(), files, services, Member::is_running)
}

/// `words` and the names of the sandboxes of `services` that `takes` accepts; nothing if there are none.
fn with_names(
    mut words: Vec<OsString>,
    files: &ProjectArgs,
    services: &[String],
    takes: impl Fn(&Member) -> bool,
) -> anyhow::Result<Option<Vec<OsString>>> {
    let services = checked(files, services.to_vec())?;
    let members = project::told(files)?.members()?;
    let chosen = members
        .iter()
        .filter(|member| (services.is_empty() || services.contains(&member.service)) && takes(member));
    let names: Vec<OsString> = chosen.map(|member| member.entry.name.clone().into()).collect();
    let is_empty = names.is_empty();
    words.extend(names);
    Ok((!is_empty).then_some(words))
}

/// The name of a service's sandbox, of the first that there is without `index`.
fn member_name(files: &ProjectArgs, service: &str, index: Option<u32>) -> anyhow::Result<String> {
    let runner = project::told(files)?;
    let members = runner.members()?;
    let is_it =
        |member: &&Member| member.service == service && index.is_none_or(|number| member.number == number);
    let member = members.iter().find(is_it).with_context(|| {
        format!("project {} has no sandbox of service {service}; `up` makes it", runner.project())
    })?;
    Ok(member.entry.name.clone())
}

fn remove(runner: &ProjectRunner, flags: &args::RmFlags, services: &[String]) -> anyhow::Result<()> {
    if flags.stop {
        runner.stop(services, None)?;
    }
    let stopped: Vec<_> = runner
        .members()?
        .into_iter()
        .filter(|member| !member.is_running() && (services.is_empty() || services.contains(&member.service)))
        .collect();
    Ok(runner.remove(&stopped)?)
}

fn pull(files: &ProjectArgs, flags: &args::PullFlags) -> anyhow::Result<()> {
    let services = checked(files, flags.services.clone())?;
    let project = project::load(files)?;
    let images = store::images(&Home::locate()?, &RegistryArgs::default(), flags.quiet);
    let is_chosen = |service: &&Service| services.is_empty() || services.contains(&service.name);
    for service in project.config.services.iter().filter(is_chosen) {
        let image = ImageSpec {
            reference: service.base.clone(),
            pull: PullPolicy::Always,
            platform: service.platform.clone(),
        };
        match images.find(&image) {
            Ok(_) => output::print(&format!("{}: {}\n", service.name, service.base))?,
            Err(error) if flags.ignore_pull_failures => {
                output::error(&anyhow::Error::from(error).context(service.name.clone()));
            }
            Err(error) => return Err(anyhow::Error::from(error).context(service.name.clone())),
        }
    }
    Ok(())
}

fn images(files: &ProjectArgs, flags: &args::ImagesFlags) -> anyhow::Result<()> {
    let services = checked(files, flags.services.clone())?;
    let members = project::told(files)?.members()?;
    let chosen = members.iter().filter(|member| services.is_empty() || services.contains(&member.service));
    let mut table = Table::new(&["SANDBOX", "IMAGE", "IMAGE ID"]);
    let mut ids = String::new();
    for member in chosen {
        let id = member.entry.kept.as_ref().and_then(|kept| kept.record().image.clone()).unwrap_or_default();
        ids.push_str(&format!("{id}\n"));
        table.row([
            member.entry.name.clone(),
            member.entry.root.clone(),
            super::images::short(&id).to_owned(),
        ]);
    }
    output::print(&if flags.quiet { ids } else { table.to_string() })
}

/// The projects that have sandboxes.
fn list(format: Format) -> anyhow::Result<()> {
    #[derive(serde::Serialize)]
    struct Row {
        name: String,
        running: usize,
        sandboxes: usize,
    }
    let mut rows: Vec<Row> = Vec::new();
    for entry in registry::list(&Home::locate()?)? {
        let Some(name) = entry.labels.get(LABEL_PROJECT) else { continue };
        let row = match rows.iter_mut().position(|row| row.name == *name) {
            Some(index) => &mut rows[index],
            None => {
                rows.push(Row { name: name.clone(), running: 0, sandboxes: 0 });
                let last = rows.len() - 1;
                &mut rows[last]
            }
        };
        row.sandboxes += 1;
        row.running += usize::from(entry.running.is_some());
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    output::listing(format, &rows, |rows| {
        let mut table = Table::new(&["NAME", "RUNNING", "SANDBOXES"]);
        for row in rows {
            table.row([row.name.clone(), row.running.to_string(), row.sandboxes.to_string()]);
        }
        table.to_string()
    })
}
