//! The verbs of a project: several sandboxes that one file describes.

mod args;
mod attached;
mod config;
mod down;
mod init;
mod lines;
mod log;
mod script;
mod status;
mod tree;
mod up;

use std::sync::Arc;

use monocore_orchestrator::config::{LoadOptions, Project, load as read};
use monocore_orchestrator::{Home, Launcher, ProjectRunner, this_program};

pub(in crate::command) use args::{
    AddArgs, ConfigArgs, DownArgs, InitArgs, LogArgs, ProjectArgs, RemoveArgs, ScriptArgs, StatusArgs,
    TreeArgs, UpArgs,
};
pub(in crate::command) use config::main as config;
pub(in crate::command) use down::{clean, down, remove};
pub(in crate::command) use init::{add, init};
pub(in crate::command) use log::main as log;
pub(in crate::command) use script::main as run_script;
pub(in crate::command) use status::main as status;
pub(in crate::command) use tree::main as tree;
pub(in crate::command) use up::{apply, main as up};

use super::args::RegistryArgs;
use super::store;
use lines::Lines;

/// Reads the project that the flags lead to.
///
/// # Errors
/// There is no file, or it has faults: all of them are told at once.
fn load(args: &ProjectArgs) -> anyhow::Result<Project> {
    let options = LoadOptions {
        files: args.file.clone(),
        project_name: args.more.project_name.clone(),
        project_dir: args.more.project_directory.clone(),
        env_files: args.more.env_file.clone(),
        profiles: args.more.profile.clone(),
        // A variable that is not text cannot stand in a project file.
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        ..LoadOptions::default()
    };
    let project = read(&options)?;
    project.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(project)
}

/// The project's name: as the flag says, else the file's.
///
/// # Errors
/// As [`load`], where no flag names the project.
fn name(args: &ProjectArgs) -> anyhow::Result<String> {
    match &args.more.project_name {
        // A project that runs can be looked at and ended without its file.
        Some(name) => Ok(name.clone()),
        None => Ok(load(args)?.name),
    }
}

/// Work on the project `name`, told line by line.
fn runner(name: &str, lines: Option<Lines>, registry: &RegistryArgs) -> anyhow::Result<ProjectRunner> {
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    let images = store::images(&launcher.home, registry, lines.is_none());
    let runner = ProjectRunner::new(launcher, images, name);
    Ok(match lines {
        Some(lines) => runner.with_observer(Arc::new(move |event| lines.event(event))),
        None => runner,
    })
}
