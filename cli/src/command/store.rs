//! The images of this user, with what the flags say about registries.

use std::sync::Arc;

use monocore_oci::{RegistryOptions, Store};
use monocore_orchestrator::images::{Images, open_store};
use monocore_orchestrator::{Error, Home};

use super::args::RegistryArgs;
use super::output::Bars;

/// Opens the store of `home`.
///
/// # Errors
/// It cannot be made or is of another version, or `MONOCORE_IMAGE_LIMIT` is not a size.
pub(super) fn open(home: &Home) -> anyhow::Result<Store> {
    Ok(open_store(home)?)
}

/// Images as the flags say; progress is shown on a terminal unless `quiet`.
pub(super) fn images(home: &Home, registry: &RegistryArgs, quiet: bool) -> Images {
    images_with(home, registry, Bars::new(quiet))
}

/// The same, with `bars` for the progress.
pub(super) fn images_with(home: &Home, registry: &RegistryArgs, bars: Bars) -> Images {
    Images::new(home)
        .with_registry(registry_options(registry), registry.insecure)
        .with_progress(Arc::new(bars))
        .with_check_before_pull(can_run)
}

fn registry_options(args: &RegistryArgs) -> RegistryOptions {
    let mut options = RegistryOptions::default();
    for (registry, url) in &args.mirror {
        options.mirrors.entry(registry.clone()).or_default().push(url.clone());
    }
    options
}

/// Whether this machine can run what a pull would fetch.
pub(super) fn can_run() -> Result<(), Error> {
    monocore_kvm::probe().map(|_| ()).map_err(|error| Error::Host(error.to_string()))
}
