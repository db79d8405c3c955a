//! The command line: one module per verb, what they share in `output`.

mod args;
mod attach;
mod completion;
mod compose;
mod cp;
mod create;
mod df;
mod diagnostics;
mod diff;
mod doctor;
mod end;
mod events;
mod exec;
mod images;
mod inspect;
mod install;
mod load;
mod logs;
mod mcp;
mod mount;
mod named;
mod net;
mod network;
mod output;
mod own;
mod pause;
mod port;
mod project;
mod prune;
mod ps;
mod pull;
mod rename;
mod rm;
mod rmi;
mod run;
mod save;
mod select;
mod serve;
mod shell;
mod start;
mod stats;
mod store;
mod supervise;
mod terminal;
mod token;
mod top;
mod update;
mod version;
mod vhost_user;
mod vmm;
mod volume;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command, ImageCommand, Lazy};

/// The status for failures that are monocore's own, not the command's, as Docker has it.
const OUR_FAILURE: u8 = 125;

/// What the programs `monocore` and `mc` do.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    // The machine's own process: it starts with every sandbox, so it does not wait for a grammar to be built.
    if words.get(1).is_some_and(|word| word == "vmm") {
        // Its warnings are the guest's to cause, as many as it likes, so they are written only for who asked.
        if std::env::var_os("MONOCORE_LOG").is_some() {
            diagnostics::start();
        }
        return vmm::main(&words[2..]);
    }
    match words.get(1).is_some_and(|word| word == "serve") {
        true => diagnostics::start_server(),
        false => diagnostics::start(),
    }
    if words.get(1).is_some_and(|word| word == "supervise") {
        return supervise::main(&words[2..]);
    }
    match Cli::try_parse_from(&words) {
        Ok(cli) => dispatch(cli.command),
        Err(error) => usage(&error),
    }
}

#[allow(clippy::too_many_lines, reason = "one line for each verb")]
fn dispatch(command: Command) -> ExitCode {
    let result = match command {
        Command::Run(Lazy(args)) => return run::main(*args),
        Command::Tmp(Lazy(args)) => return run::tmp(*args),
        Command::Create(Lazy(args)) => return create::main(*args),
        Command::Start(args) => return start::main(&args),
        Command::Exec(Lazy(args)) => return exec::main(args),
        Command::Attach(Lazy(args)) => return attach::main(args),
        Command::Shell(Lazy(args)) => return shell::main(args),
        Command::Top(args) => top::main(&args),
        Command::Diff(args) => diff::main(&args),
        Command::Update(args) => update::main(&args),
        Command::Volume(command) => volume::main(&command),
        Command::Rename(args) => rename::main(&args),
        Command::Cp(args) => cp::main(&args),
        Command::Ps(args) => ps::main(&args),
        Command::Stop(args) => end::stop(&args),
        Command::Restart(args) => start::restart(&args),
        Command::Kill(args) => end::kill(&args),
        Command::Pause(args) => pause::pause(&args),
        Command::Unpause(args) => pause::unpause(&args),
        Command::Mount(command) => mount::main(&command),
        Command::Wait(args) => end::wait(&args),
        Command::Rm(args) => rm::main(&args),
        Command::Logs(args) => logs::main(&args),
        Command::Inspect(args) => inspect::sandboxes(&args),
        Command::Stats(args) => stats::main(&args),
        Command::Events(args) => events::main(&args),
        Command::Compose(Lazy(args)) => return compose::main(args),
        Command::Own(command) => own::main(&command),
        Command::Install(args) => install::install(&args),
        Command::Uninstall(args) => install::uninstall(&args),
        Command::Init(args) => project::init(&args),
        Command::Add(args) => project::add(&args),
        Command::Config(args) => project::config(&args),
        Command::RunScript(args) => return project::run_script(&args),
        Command::Up(args) => return status(project::up(&args.project, &args.flags)),
        Command::Apply(Lazy(args)) => return status(project::apply(args)),
        Command::Down(args) => project::down(&args.project, &args.flags),
        Command::Status(args) => project::status(&args.project, &args.flags),
        Command::Log(args) => project::log(&args),
        Command::Tree(args) => project::tree(&args),
        Command::Remove(args) => project::remove(&args),
        Command::Clean(args) => project::clean(&args),
        Command::Port(args) => port::main(&args),
        Command::Net(command) => net::main(&command),
        Command::Network(Lazy(command)) => network::main(command),
        Command::Pull(args) => pull::main(&args),
        Command::Images(Lazy(args)) | Command::Image(Lazy(ImageCommand::Ls(args))) => images::main(&args),
        Command::Rmi(Lazy(args)) | Command::Image(Lazy(ImageCommand::Rm(args))) => rmi::main(&args),
        Command::Image(Lazy(ImageCommand::Inspect(args))) => inspect::main(&args),
        Command::Load(args) => load::main(&args),
        Command::Save(args) => save::main(&args),
        Command::Serve(Lazy(args)) => serve::main(args),
        Command::Mcp(Lazy(args)) => mcp::main(args),
        Command::Token(command) => token::main(&command),
        Command::Prune(Lazy(args)) => prune::main(args),
        Command::Df(Lazy(args)) => df::main(args),
        Command::Doctor(Lazy(args)) => return doctor::main(args),
        Command::Version(Lazy(args)) => version::main(args),
        Command::Completion(args) => completion::main(&args),
        Command::VhostUser(Lazy(command)) => vhost_user::main(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

/// The status of a verb that has more than success and failure.
fn status(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Help and versions go to standard output and are no failure; anything else is ours.
fn usage(error: &clap::Error) -> ExitCode {
    // A reader that went away is no reason for another message.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(OUR_FAILURE),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_projects_page_has_every_verb_and_flag() {
        let page = include_str!("../../docs/guide/projects.md");
        let (_, table) = page.split_once("## Commands and flags").unwrap();
        let (table, _) = table.split_once("\n## ").unwrap();
        let verbs = "init add config up apply down remove status tree log run-script clean install uninstall";
        let mut grammar = Cli::command();
        // A verb's own grammar is made only then.
        grammar.build();
        for verb in verbs.split(' ') {
            let command = grammar.find_subcommand(verb).unwrap();
            assert!(table.contains(&format!("`{verb}")), "{verb}");
            let flags = command.get_arguments().filter_map(clap::Arg::get_long);
            for flag in flags.filter(|flag| *flag != "help") {
                assert!(table.contains(&format!("--{flag}")), "{verb} --{flag}");
            }
        }
        let compose = grammar.find_subcommand("compose").unwrap();
        assert!(compose.get_subcommands().count() > 20 && table.contains("`compose VERB`"));
        assert!(table.contains("`tmp IMAGE") && table.contains("--rmi"));
    }
}
