//! `config`: the project as it was understood.

use monocore_orchestrator::config;

use super::args::{ConfigArgs, ConfigFlags, ConfigFormat};
use super::{ProjectArgs, load};
use crate::command::output;

pub(in crate::command) fn main(args: &ConfigArgs) -> anyhow::Result<()> {
    show(&args.project, &args.flags)
}

/// Shows the project of `files`.
///
/// # Errors
/// There is no file, or it has faults.
pub(in crate::command) fn show(files: &ProjectArgs, args: &ConfigFlags) -> anyhow::Result<()> {
    if args.schema {
        return output::print(&format!("{}\n", serde_json::to_string_pretty(&config::json_schema())?));
    }
    let project = load(files)?;
    if args.quiet {
        return Ok(());
    }
    if args.services {
        let names: String =
            project.config.services.iter().map(|service| format!("{}\n", service.name)).collect();
        return output::print(&names);
    }
    match args.format {
        ConfigFormat::Toml => output::print(&project.config.to_toml()),
        ConfigFormat::Json => output::print(&format!("{}\n", serde_json::to_string_pretty(&project.config)?)),
    }
}
