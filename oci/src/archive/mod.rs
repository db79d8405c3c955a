//! Images in archives: what `docker save`, `podman save` and `skopeo copy … oci-archive:` write, and back.

mod contents;
mod load;
mod save;

pub use save::SaveFormat;
