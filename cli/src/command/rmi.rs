//! `rmi`: removes images by name or id. What no other image needs goes with them.

use anyhow::Context;
use monocore_orchestrator::Home;
use serde::Serialize;

use super::args::RmiArgs;
use super::output;
use super::store;

#[derive(Debug, Serialize)]
struct Removed {
    image: String,
    /// References that went.
    references: u64,
    /// Freed on disk.
    bytes: u64,
}

pub(super) fn main(args: &RmiArgs) -> anyhow::Result<()> {
    let store = store::open(&Home::locate()?)?;
    let mut removed = Vec::new();
    for name in &args.images {
        match store.remove(name) {
            Ok(pruned) => {
                removed.push(Removed { image: name.clone(), references: pruned.images, bytes: pruned.bytes });
            }
            Err(monocore_oci::Error::NoSuchImage(_)) if args.force => {}
            Err(error) => return Err(error).with_context(|| format!("removing {name}")),
        }
    }
    output::listing(args.output.format, &removed, |removed| {
        removed
            .iter()
            .map(|image| format!("removed {}, {} freed\n", image.image, output::size(image.bytes)))
            .collect()
    })
}
