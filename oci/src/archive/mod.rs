//! Images in archives: what `docker save`, `podman save` and `skopeo copy … oci-archive:` write, and back.

mod contents;
mod load;
mod save;

#[cfg(feature = "fuzzing")]
pub(crate) use load::read_saved;

pub use save::SaveFormat;
