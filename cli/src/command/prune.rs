//! `prune`: removes what nothing refers to any more, in the store and among run directories.

use monocore_oci::Image;
use monocore_orchestrator::{Home, registry};
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
    // Listing sandboxes removes what dead processes left.
    let sandboxes = registry::list(&home)?;
    let used: Vec<_> =
        sandboxes.iter().filter_map(|entry| entry.kept.as_ref()?.record().image.clone()).collect();
    let in_use = |image: &Image| used.contains(&image.id.to_string());
    let pruned = store::open(&home)?.prune(args.all, in_use)?;
    let pruned = Pruned { images: pruned.images, files: pruned.files, bytes: pruned.bytes };
    output::listing(args.output.format, &pruned, |pruned| {
        format!("{} images, {} files, {} freed\n", pruned.images, pruned.files, output::size(pruned.bytes))
    })
}
