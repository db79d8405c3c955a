//! The verbs of a project: several sandboxes that one file describes.

mod args;
mod attached;
mod config;
mod down;
mod init;
mod lines;
mod live;
mod log;
mod restarts;
mod script;
mod status;
mod tree;
mod up;

use std::sync::Arc;

use monocore_orchestrator::config::{LoadOptions, Project, load as read};
use monocore_orchestrator::{Home, Launcher, ProjectRunner, this_program};

pub(in crate::command) use args::{
    AddArgs, ConfigArgs, ConfigFlags, DownArgs, DownFlags, InitArgs, LogArgs, LogFlags, ProjectArgs,
    RemoveArgs, ScriptArgs, StatusArgs, StatusFlags, TreeArgs, UpArgs, UpFlags,
};
pub(in crate::command) use config::{main as config, show as show_config};
pub(in crate::command) use down::{clean, down, members_of, remove};
pub(in crate::command) use init::{add, init};
pub(in crate::command) use log::{main as log, show as show_log};
pub(in crate::command) use script::{main as run_script, start as start_script};
pub(in crate::command) use status::{ids as show_ids, main as status};
pub(in crate::command) use tree::main as tree;
pub(in crate::command) use up::{apply, create, main as up};

use super::args::{Format, RegistryArgs};
use super::output::Bars;
use super::store;
use lines::Lines;

/// Reads the project that the flags lead to.
///
/// # Errors
/// There is no file, or it has faults: all of them are told at once.
pub(in crate::command) fn load(args: &ProjectArgs) -> anyhow::Result<Project> {
    let project = read(&load_options(args))?;
    project.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(project)
}

/// What the flags and this process's environment say about reading a project.
pub(in crate::command) fn load_options(args: &ProjectArgs) -> LoadOptions {
    LoadOptions {
        files: args.file.clone(),
        project_name: args.more.project_name.clone(),
        project_dir: args.more.project_directory.clone(),
        env_files: args.more.env_file.clone(),
        profiles: args.more.profile.clone(),
        // A variable that is not text cannot stand in a project file.
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
    }
}

/// The project's name: as the flag says, else the file's.
///
/// # Errors
/// As [`load`], where no flag names the project.
pub(in crate::command) fn name(args: &ProjectArgs) -> anyhow::Result<String> {
    match &args.more.project_name {
        // A project that runs can be looked at and ended without its file.
        Some(name) => Ok(name.clone()),
        None => Ok(load(args)?.name),
    }
}

/// Work on the project `name`, told line by line.
fn runner(name: &str, lines: Option<&Lines>, registry: &RegistryArgs) -> anyhow::Result<ProjectRunner> {
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    let bars = lines.map_or_else(|| Bars::new(true), Lines::bars);
    let images = store::images_with(&launcher.home, registry, bars);
    let runner = ProjectRunner::new(launcher, images, name);
    Ok(match lines.cloned() {
        Some(lines) => runner.with_observer(Arc::new(move |event| lines.event(event))),
        None => runner,
    })
}

/// Work on the project of `files`, told line by line.
///
/// # Errors
/// As [`name`].
pub(in crate::command) fn told(files: &ProjectArgs) -> anyhow::Result<ProjectRunner> {
    runner(&name(files)?, Some(&Lines::new(Format::Table)), &RegistryArgs::default())
}
