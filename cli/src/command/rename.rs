//! `rename`: another name for a sandbox.

use anyhow::Context;
use monocore_orchestrator::{Home, registry};

use super::args::RenameArgs;
use super::named;

pub(super) fn main(args: &RenameArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    let entry = named::find(&home, &args.sandbox)?;
    let kept = entry.kept.with_context(|| {
        format!("sandbox {} runs in the foreground: it keeps its name until it ends", entry.name)
    })?;
    Ok(registry::rename(&home, &kept, &args.name)?)
}
