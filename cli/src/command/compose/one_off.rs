//! `compose run`: a command in a new sandbox of a service.

use std::io::IsTerminal;

use anyhow::Context;
use monocore_orchestrator::spec::{RestartPolicy, SandboxSpec, parse_env};
use monocore_orchestrator::{
    Home, LABEL_PROJECT, LABEL_SERVICE, Launcher, UpOptions, instances, this_program,
};

use super::args::RunCall;
use crate::command::args::RegistryArgs;
use crate::command::project::{self, ProjectArgs};
use crate::command::{run, store};

/// The label of a sandbox that is not a member of its project's services.
const LABEL_ONE_OFF: &str = "dev.monocore.one-off";

/// Starts what the service needs, then the command; its exit code.
///
/// # Errors
/// The project has no such service, or something cannot be started.
pub(super) fn run(files: &ProjectArgs, call: RunCall) -> anyhow::Result<u8> {
    let project = project::load(files)?;
    let service = project
        .config
        .service(&call.service)
        .with_context(|| format!("project {} has no service {}", project.name, call.service))?;
    if !call.no_deps && !service.depends_on.is_empty() {
        let services = service.depends_on.keys().cloned().collect();
        let options = UpOptions { services, ..UpOptions::default() };
        project::told(files)?.up(&instances(&project)?, &options)?;
    }
    let mut spec = service.sandbox_spec(&project)?;
    let detach = call.detach;
    let rm = call.rm;
    let command_is_entrypoint = service.command.is_some();
    change(&mut spec, call, command_is_entrypoint)?;
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    let images = store::images(&launcher.home, &RegistryArgs::default(), false);
    if detach {
        run::in_background(&launcher, spec, &images, rm, None)
    } else {
        run::in_foreground(&launcher, &spec, &images)
    }
}

/// Changes `spec` as the flags say. With `command_is_entrypoint` the service's command stands in the place of the image's
/// entrypoint, and a command on the command line takes its place.
fn change(spec: &mut SandboxSpec, call: RunCall, command_is_entrypoint: bool) -> anyhow::Result<()> {
    let service = spec.labels.remove(LABEL_SERVICE).unwrap_or_default();
    let project = spec.labels.remove(LABEL_PROJECT).unwrap_or_default();
    spec.labels.insert(LABEL_ONE_OFF.to_owned(), format!("{project}/{service}"));
    spec.labels.extend(call.label);
    spec.name = call.name;
    spec.restart = RestartPolicy::No;
    spec.health = None;
    if !call.service_ports {
        spec.network.publish.clear();
    }
    spec.network.publish.extend(call.publish.into_iter().flatten());
    spec.mounts.retain(|mount| !call.volume.iter().any(|other| other.target == mount.target));
    spec.mounts.extend(call.volume);
    let process = &mut spec.process;
    for text in &call.env {
        let variable = parse_env(text, |name| std::env::var_os(name)).context("--env")?;
        if let Some(variable) = variable {
            process.env.retain(|other| other.name != variable.name);
            process.env.push(variable);
        }
    }
    if let Some(program) = call.entrypoint {
        process.entrypoint = Some(if program.is_empty() { Vec::new() } else { vec![program] });
        process.args.clear();
    }
    if !call.command.is_empty() {
        if command_is_entrypoint {
            process.entrypoint = Some(Vec::new());
        }
        process.args = call.command;
    }
    process.user = call.user.or(process.user.take());
    process.workdir = call.workdir.or(process.workdir.take());
    process.stdin = !call.detach;
    let has_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    process.tty = !call.detach && !call.no_tty && has_terminal;
    Ok(())
}
