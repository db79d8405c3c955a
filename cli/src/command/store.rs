//! The image store of this user, and what several verbs do with it.

use anyhow::Context;
use monocore_oci::{Error, Image, Limits, Platform, PullOptions, Reference, RegistryOptions, Store};
use monocore_orchestrator::{Home, spec};

use super::args::RegistryArgs;
use super::output::Bars;

/// The variable that replaces the bound on an image's size.
const IMAGE_LIMIT: &str = "MONOCORE_IMAGE_LIMIT";

/// Opens the store of `home`.
///
/// # Errors
/// It cannot be made or is of another version, or `MONOCORE_IMAGE_LIMIT` is not a size.
pub(super) fn open(home: &Home) -> anyhow::Result<Store> {
    let limits = match std::env::var_os(IMAGE_LIMIT).filter(|value| !value.is_empty()) {
        Some(value) => {
            let bytes = spec::parse_size(&value.to_string_lossy()).context(IMAGE_LIMIT)?;
            Limits::with_image_bytes(bytes)
        }
        None => Limits::default(),
    };
    Ok(Store::open_with(home.root(), limits)?)
}

/// An error of the store, with what a user can do about an image that is too large.
pub(super) fn explain(error: Error) -> anyhow::Error {
    match error {
        Error::TooLarge { .. } => {
            anyhow::anyhow!("{error}; if you trust it, set {IMAGE_LIMIT} to a larger size, such as 256G")
        }
        error => error.into(),
    }
}

/// Reads a platform as flags give it.
///
/// # Errors
/// It is none.
pub(super) fn platform(text: Option<&str>) -> anyhow::Result<Option<Platform>> {
    let parse =
        |text: &str| text.parse().map_err(anyhow::Error::msg).with_context(|| format!("--platform {text}"));
    text.map(parse).transpose()
}

/// How to reach the registry of `reference`.
pub(super) fn registry_options(args: &RegistryArgs, reference: &Reference) -> RegistryOptions {
    let mut options = RegistryOptions::default();
    if args.insecure {
        options.plain_http.push(reference.registry().to_owned());
    }
    for (registry, url) in &args.mirror {
        options.mirrors.entry(registry.clone()).or_default().push(url.clone());
    }
    options
}

/// Pulls an image; the asynchronous part of the program begins and ends here.
///
/// # Errors
/// The store's and the registry's.
pub(super) fn pull(
    store: &Store,
    reference: &Reference,
    options: &PullOptions,
    bars: &Bars,
) -> anyhow::Result<Image> {
    runtime()?.block_on(store.pull(reference, options, bars)).map_err(explain)
}

/// Drives what is asynchronous.
///
/// # Errors
/// The system has no threads or descriptors left.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build().context("starting the threads for network and conversion")
}
