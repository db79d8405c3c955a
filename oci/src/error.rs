//! What can go wrong with images.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;

/// Why an operation on images failed; says what, on which input, and where it can be known, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A reference cannot be read.
    #[error("invalid image reference {reference:?}: {reason}")]
    Reference {
        /// As it was given.
        reference: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The registry could not be reached, or the connection broke and could not be taken up again.
    #[error("cannot reach registry {registry}: {reason}")]
    Connection {
        /// Host and port.
        registry: String,
        /// What happened, down to the system's own words.
        reason: String,
    },
    /// The registry refused access.
    #[error("registry {registry} denies access to {what}: {reason}{}", login_hint(registry))]
    Denied {
        /// Host and port.
        registry: String,
        /// What was asked for.
        what: String,
        /// The registry's words.
        reason: String,
    },
    /// The registry does not have it.
    #[error("registry {registry} has no {what}")]
    NotFound {
        /// Host and port.
        registry: String,
        /// What was asked for.
        what: String,
    },
    /// The registry's answer is none that the protocol allows.
    #[error("registry {registry}: {reason}")]
    Registry {
        /// Host and port.
        registry: String,
        /// What it did.
        reason: String,
    },
    /// A file cannot be fetched from a web server.
    #[error("cannot download {url}: {reason}")]
    Download {
        /// Its address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// Content differs from what its descriptor promises.
    #[error("{what} {expected} failed verification: {reason}; nothing of it was kept")]
    Verification {
        /// Which kind of content.
        what: &'static str,
        /// The digest that was promised.
        expected: Digest,
        /// How it differs.
        reason: String,
    },
    /// A manifest, index or configuration cannot be used.
    #[error("unusable {what}: {reason}")]
    Document {
        /// Which kind of document.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The image exists, but not for this platform.
    #[error("image {image} is not available for {platform}; it has {available}")]
    Platform {
        /// The image's reference.
        image: String,
        /// What was looked for.
        platform: String,
        /// What there is.
        available: String,
    },
    /// A layer cannot be converted.
    #[error("layer {layer}: {source}")]
    Layer {
        /// The layer's digest.
        layer: Digest,
        /// What is wrong with it.
        source: monocore_erofs::Error,
    },
    /// The image's layers together are larger than the store's limit.
    #[error("the image has more than {limit_bytes} bytes {what}")]
    TooLarge {
        /// Whether compressed or not.
        what: &'static str,
        /// [`Limits::image_bytes`](crate::Limits::image_bytes).
        limit_bytes: u64,
    },
    /// The store has no such image.
    #[error("no such image: {0}")]
    NoSuchImage(String),
    /// More than one image is meant by a name.
    #[error("{name:?} means more than one image; give more of its id")]
    Ambiguous {
        /// As it was given.
        name: String,
    },
    /// An archive cannot be loaded.
    #[error("cannot load archive: {0}")]
    Archive(String),
    /// A file of the store cannot be read or written.
    #[error("{action} {}: {source}", path.display())]
    Store {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Credentials cannot be obtained.
    #[error("credentials for {registry}: {reason}")]
    Credentials {
        /// Host and port.
        registry: String,
        /// What went wrong.
        reason: String,
    },
    /// A certificate kept for a registry cannot be used.
    #[error("certificate {}: {reason}", path.display())]
    Certificates {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A task on another thread did not come back.
    #[error("internal task failed: {0}")]
    Task(String),
}

/// What to do about a registry that denies access. monocore reads Docker's credentials and keeps none of its own.
fn login_hint(registry: &str) -> String {
    format!(
        "; if it is private, run `docker login {registry}` or `skopeo login --authfile ~/.docker/config.json \
         {registry}`, or name a credential helper in that file"
    )
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Turns an `io::Error` into [`Error::Store`].
pub(crate) fn at(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::Store { action, path, source }
}

/// Runs what blocks on a thread for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Task(error.to_string()))?
}
