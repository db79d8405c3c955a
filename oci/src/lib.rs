//! OCI images: pulled from registries, loaded from archives, verified, converted to EROFS, stored.
//!
//! A [`Store`] is an OCI image layout (readable by skopeo, crane and umoci) with a folder `erofs` beside its blobs:
//!
//! ```text
//! oci-layout, index.json, blobs/sha256/…      the image layout
//! erofs/layers/<diff_id>.data, .tree          a layer's file contents and entries
//! erofs/images/<config_digest>.erofs, .json   an image's metadata and where its parts lie
//! tmp/, locks/                                work in progress; kept from one process to the next
//! ```
//!
//! Nothing becomes visible before its digest and size (and a layer's DiffID) are verified; it then appears by
//! `rename`. So a crash or a full disk leaves what was there before, or all of the new. Any number of processes may
//! use a store at once; the same layer is fetched by one of them while the others wait.
//!
//! `docs/design/images.md` has the reasons.
//!
//! Knows nothing of virtual machines. Asynchronous on the outside (tokio); hashing, inflating and converting run on
//! threads that may block. Registries and images are not trusted: every size is bounded.
//!
//! ```no_run
//! # async fn example() -> Result<(), monocore_oci::Error> {
//! use monocore_oci::{PullOptions, Reference, Silent, Store};
//!
//! let store = Store::open("/home/me/.monocore")?;
//! let image = store.pull(&"alpine".parse::<Reference>()?, &PullOptions::default(), &Silent).await?;
//! for part in image.root()?.parts {
//!     println!("{} at {}", part.path.display(), part.offset_bytes);
//! }
//! # Ok(())
//! # }
//! ```

mod archive;
mod config;
mod digest;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hash;
mod image;
mod layer;
mod manifest;
mod platform;
mod progress;
mod pull;
mod reference;
mod registry;
mod store;

pub use archive::SaveFormat;
pub use config::{Healthcheck, ImageConfig};
pub use digest::Digest;
pub use error::Error;
pub use hash::digest_of_reader;
pub use image::{Image, LayerInfo, RootImage, RootPart};
pub use manifest::{Descriptor, Document, Index, Manifest};
pub use monocore_erofs::Limits;
pub use platform::Platform;
pub use progress::{Progress, Silent};
pub use pull::{PullOptions, PullPolicy};
pub use reference::Reference;
pub use registry::{RegistryOptions, download};
pub use store::{DiskUsage, Pruned, Store};
