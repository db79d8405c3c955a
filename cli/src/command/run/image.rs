//! The image of a run: from the store, or from its registry.

use anyhow::{Context, bail};
use monocore_oci::{Error, Image, Platform, PullOptions, PullPolicy as Ask, Reference, Store};
use monocore_orchestrator::spec::{ImageSpec, PullPolicy};

use crate::command::args::RegistryArgs;
use crate::command::output::Bars;
use crate::command::store;

/// How a missing image is fetched.
pub(in crate::command) struct Wanted {
    pub(super) quiet: bool,
    pub(super) registry: RegistryArgs,
}

/// Finds the image, asking its registry as `spec` says. An image in the store costs reading three small files.
///
/// # Errors
/// There is no such image, or it cannot be fetched.
pub(super) fn find(store: &Store, spec: &ImageSpec, wanted: &Wanted) -> anyhow::Result<Image> {
    let platform = store::platform(spec.platform.as_deref())?;
    if spec.pull != PullPolicy::Always {
        match store.find(&spec.reference) {
            Ok(image) if fits(&image, platform.as_ref()) => return Ok(image),
            Ok(image) if spec.pull == PullPolicy::Never => {
                bail!(
                    "image {} in the store is for {}, not for what --platform says",
                    spec.reference,
                    image.platform
                )
            }
            Err(Error::NoSuchImage(_)) if spec.pull == PullPolicy::Never => {
                bail!("image {} is not in the store, and --pull never forbids fetching it", spec.reference)
            }
            Ok(_) | Err(Error::NoSuchImage(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Better said before a long download than after it.
    monocore_kvm::probe().context("this machine cannot run sandboxes")?;
    let reference: Reference = spec.reference.parse()?;
    let registry = store::registry_options(&wanted.registry, &reference);
    let options = PullOptions { policy: Ask::Always, platform, registry };
    store::pull(store, &reference, &options, &Bars::new(wanted.quiet))
}

fn fits(image: &Image, platform: Option<&Platform>) -> bool {
    platform.is_none_or(|wanted| {
        let (os, architecture) = (&image.platform.os, &image.platform.architecture);
        wanted.os == *os
            && wanted.architecture == *architecture
            && wanted.variant.as_ref().is_none_or(|variant| image.platform.variant.as_ref() == Some(variant))
    })
}
