//! `run-script`: a named script of a service, in its running sandbox.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;

use super::args::ScriptArgs;
use super::lines::Lines;
use super::{ProjectArgs, load, runner};
use crate::command::args::{ExecArgs, Format, RegistryArgs};
use crate::command::{exec, run};

pub(in crate::command) fn main(args: &ScriptArgs) -> ExitCode {
    match call(args, false) {
        Ok(call) => exec::main(call),
        Err(error) => run::failure(&error),
    }
}

/// The script `SERVICE:SCRIPT`, for which the service's sandbox is started if it does not run.
pub(in crate::command) fn start(word: &str) -> ExitCode {
    let args = ScriptArgs { project: ProjectArgs::default(), service: word.to_owned(), words: Vec::new() };
    match call(&args, true) {
        Ok(call) => exec::main(call),
        Err(error) => run::failure(&error),
    }
}

/// The command that the script is; with `starts`, the service's sandbox is started first if it does not run.
fn call(args: &ScriptArgs, starts: bool) -> anyhow::Result<ExecArgs> {
    let (service, script, words) = match (args.service.split_once(':'), args.words.split_first()) {
        (Some((service, script)), _) => (service, script, args.words.as_slice()),
        (None, Some((script, words))) => (args.service.as_str(), script.as_str(), words),
        (None, None) => anyhow::bail!("name a script: SERVICE:SCRIPT, or SERVICE SCRIPT"),
    };
    let project = load(&args.project)?;
    let found = project
        .config
        .service(service)
        .with_context(|| format!("project {} has no service {service}", project.name))?;
    let shell = found.script(script).with_context(|| {
        let known: Vec<_> = found.scripts.keys().map(String::as_str).collect();
        format!("service {service} has no script {script}; it has: {}", known.join(", "))
    })?;
    let runner = runner(&project.name, Some(&Lines::new(Format::Table)), &RegistryArgs::default())?;
    if starts {
        runner.start_members(&[service.to_owned()])?;
    }
    let members = runner.members()?;
    let member = members.iter().find(|member| member.service == service && member.is_running());
    let member =
        member.with_context(|| format!("service {service} does not run; start it with `monocore up`"))?;
    // The shell's $0 is the script's name.
    let command = shell.into_iter().chain([script.to_owned()]).chain(words.iter().cloned());
    Ok(ExecArgs::of(&member.entry.name, command.map(OsString::from).collect()))
}
