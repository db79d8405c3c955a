//! `prune`: removes what nothing refers to any more, in the store and among run directories.

use monocore_orchestrator::{Home, RunDir};
use serde::Serialize;

use super::args::PruneArgs;
use super::output;
use super::store;

#[derive(Debug, Serialize)]
struct Pruned {
    /// References removed.
    images: u64,
    files: u64,
    bytes: u64,
}

pub(super) fn main(args: PruneArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    // Looking at the run directories removes those of dead processes.
    RunDir::list(&home)?;
    let pruned = store::open(&home)?.prune(args.all, |_| false)?;
    let pruned = Pruned { images: pruned.images, files: pruned.files, bytes: pruned.bytes };
    output::listing(args.output.format, &pruned, |pruned| {
        format!("{} images, {} files, {} freed\n", pruned.images, pruned.files, output::size(pruned.bytes))
    })
}
