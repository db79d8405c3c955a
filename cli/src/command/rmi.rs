//! `rmi`: removes images by name or id. What no other image needs goes with them.

use anyhow::{Context, bail};
use monocore_orchestrator::{Home, SandboxEntry, registry};
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
    let home = Home::locate()?;
    let store = store::open(&home)?;
    let sandboxes = registry::list(&home)?;
    let mut removed = Vec::new();
    for name in &args.images {
        if let Ok(image) = store.find(name) {
            let id = Some(image.id.to_string());
            let uses =
                |entry: &&SandboxEntry| entry.kept.as_ref().is_some_and(|kept| kept.record().image == id);
            if let Some(user) = sandboxes.iter().find(uses) {
                bail!("image {name} belongs to sandbox {}: remove the sandbox first", user.name);
            }
        }
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
