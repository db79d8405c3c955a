//! `config`: the project as it was understood.

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
        ConfigFormat::Toml => output::print(&toml::to_string_pretty(&project.config)?),
        ConfigFormat::Json => output::print(&format!("{}\n", serde_json::to_string_pretty(&project.config)?)),
    }
}
