//! Images and volumes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// The name it was pulled by; absent once another image has that name.
    pub reference: Option<String>,
    /// The digest of its configuration.
    pub id: String,
    /// The digest of its manifest.
    pub digest: String,
    /// `os/arch[/variant]`.
    pub platform: String,
    /// When it was made (RFC 3339), as the image says.
    pub created: Option<String>,
    /// Compressed size, bytes.
    pub size_bytes: u64,
}

/// The images in the store, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageList {
    /// The images.
    pub images: Vec<Image>,
}

/// Everything about an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageDetails {
    /// As listings show it.
    #[serde(flatten)]
    pub image: Image,
    /// What it says about its command.
    pub process: ImageProcess,
    /// Its layers, the lowest first.
    pub layers: Vec<ImageLayer>,
    /// What was left out when it was converted, and why.
    pub warnings: Vec<String>,
}

/// What an image says about its command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageProcess {
    /// Put before the command.
    pub entrypoint: Vec<String>,
    /// The default command.
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The directory the command starts in.
    pub workdir: String,
    /// Who runs it.
    pub user: String,
    /// `PORT/PROTOCOL`.
    pub exposed_ports: Vec<String>,
    /// Directories that are volumes.
    pub volumes: Vec<String>,
    /// The signal that asks it to end.
    pub stop_signal: String,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageLayer {
    /// Its digest.
    pub digest: String,
    /// Compressed size, bytes.
    pub size_bytes: u64,
}

/// Which image is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"image": "alpine:latest"}))]
pub struct PullRequest {
    /// The image: `alpine`, `ghcr.io/a/b:c`.
    pub image: String,
    /// The image for another machine: `linux/amd64`.
    #[serde(default)]
    pub platform: Option<String>,
}

/// What happens while an image is fetched. The last event is `done` or `failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum PullEvent {
    /// A part of a layer.
    Progress {
        /// The layer's digest.
        layer: String,
        /// Bytes so far.
        done_bytes: u64,
        /// The layer's size, bytes.
        total_bytes: u64,
    },
    /// The layer is in the store.
    LayerDone {
        /// The layer's digest.
        layer: String,
    },
    /// The image is in the store.
    Done {
        /// The image.
        image: Image,
    },
    /// The image could not be fetched.
    Failed {
        /// For programs.
        code: crate::ErrorCode,
        /// For people.
        message: String,
    },
}

/// What was freed by removing an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemovedImage {
    /// References that went.
    pub references: u64,
    /// Freed on disk, bytes.
    pub bytes: u64,
}

/// A named volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeInfo {
    /// The name.
    pub name: String,
    /// Labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// IDs of the sandboxes that use it, whether or not they run.
    pub used_by: Vec<String>,
}

/// The named volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeList {
    /// The volumes, by name.
    pub volumes: Vec<VolumeInfo>,
}
