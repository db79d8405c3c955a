//! Images for sandboxes: from the store, or from their registries.

use std::sync::Arc;

use monocore_oci::{
    Image, Limits, Platform, Progress, PullOptions, Reference, RegistryOptions, Silent, Store,
};

use crate::spec::{ImageSpec, PullPolicy, parse_size};
use crate::{Error, Home};

/// The variable that replaces the bound on an image's size.
const IMAGE_LIMIT: &str = "MONOCORE_IMAGE_LIMIT";

/// Finds images, and fetches those that the store lacks.
#[derive(Clone)]
pub struct Images {
    home: Home,
    registry: RegistryOptions,
    insecure: bool,
    progress: Arc<dyn Progress>,
    before_pull: fn() -> Result<(), Error>,
}

impl Images {
    /// Images in the store of `home`, which is opened when one is asked for. Pulls tell nobody how they proceed.
    #[must_use]
    pub fn new(home: &Home) -> Self {
        Self {
            home: home.clone(),
            registry: RegistryOptions::default(),
            insecure: false,
            progress: Arc::new(Silent),
            before_pull: || Ok(()),
        }
    }

    /// Sets how registries are reached. With `insecure` the registry of each image is asked over plain HTTP.
    #[must_use]
    pub fn with_registry(mut self, options: RegistryOptions, insecure: bool) -> Self {
        (self.registry, self.insecure) = (options, insecure);
        self
    }

    /// Sets who is told how pulls proceed.
    #[must_use]
    pub fn with_progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Sets a check that runs before a registry is asked: a failure is better told before a long download than after.
    #[must_use]
    pub fn with_check_before_pull(mut self, check: fn() -> Result<(), Error>) -> Self {
        self.before_pull = check;
        self
    }

    /// Finds an image, asking its registry as `spec` says. An image in the store costs reading three small files.
    ///
    /// # Errors
    /// There is no such image, or it cannot be fetched.
    pub fn find(&self, spec: &ImageSpec) -> Result<Image, Error> {
        let platform = spec.platform.as_deref().map(parse_platform).transpose()?;
        let mut stored = None;
        if spec.pull != PullPolicy::Always {
            match open_store(&self.home)?.find(&spec.reference) {
                Ok(image) if fits(&image, platform.as_ref()) => return Ok(image),
                Ok(image) if spec.pull == PullPolicy::Never => {
                    return Err(Error::OtherPlatform {
                        reference: spec.reference.clone(),
                        platform: image.platform.to_string(),
                    });
                }
                Err(monocore_oci::Error::NoSuchImage(_)) if spec.pull == PullPolicy::Never => {
                    return Err(Error::NotStored(spec.reference.clone()));
                }
                Ok(image) => stored = Some(image.platform.to_string()),
                Err(monocore_oci::Error::NoSuchImage(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let reference = spec.reference.parse()?;
        (self.before_pull)().and_then(|()| self.pull(&reference, platform)).map_err(|source| match stored {
            Some(platform) => {
                Error::NotFetched { reference: spec.reference.clone(), platform, source: Box::new(source) }
            }
            None => source,
        })
    }

    /// Fetches an image from its registry, whether the store has it or not.
    ///
    /// # Errors
    /// The store's and the registry's.
    pub fn pull(&self, reference: &Reference, platform: Option<Platform>) -> Result<Image, Error> {
        let mut registry = self.registry.clone();
        if self.insecure {
            registry.plain_http.push(reference.registry().to_owned());
        }
        let options = PullOptions { policy: monocore_oci::PullPolicy::Always, platform, registry };
        // The asynchronous part of the program begins and ends here.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(Error::Runtime)?;
        let store = open_store(&self.home)?;
        Ok(runtime.block_on(store.pull(reference, &options, &self.progress))?)
    }
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Images").field("home", &self.home).finish_non_exhaustive()
    }
}

/// Opens the image store of `home`, with the bound on an image's size that the environment sets.
///
/// # Errors
/// It cannot be made or is of another version, or `MONOCORE_IMAGE_LIMIT` is not a size.
pub fn open_store(home: &Home) -> Result<Store, Error> {
    let limits = match std::env::var_os(IMAGE_LIMIT).filter(|value| !value.is_empty()) {
        Some(value) => {
            let bytes = parse_size(&value.to_string_lossy())
                .map_err(|error| Error::Variable { name: IMAGE_LIMIT, problem: error.to_string() })?;
            Limits::with_image_bytes(bytes)
        }
        None => Limits::default(),
    };
    Ok(Store::open_with(home.root(), limits)?)
}

/// Reads `os/arch[/variant]`.
///
/// # Errors
/// It is not one.
pub fn parse_platform(text: &str) -> Result<Platform, Error> {
    text.parse().map_err(|problem| Error::Platform { text: text.to_owned(), problem })
}

fn fits(image: &Image, platform: Option<&Platform>) -> bool {
    platform.is_none_or(|wanted| {
        let (os, architecture) = (&image.platform.os, &image.platform.architecture);
        wanted.os == *os
            && wanted.architecture == *architecture
            && wanted.variant.as_ref().is_none_or(|variant| image.platform.variant.as_ref() == Some(variant))
    })
}
