//! An image of the store and the block device it becomes.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::{ConfigDocument, ImageConfig};
use crate::digest::Digest;
use crate::error::{Error, Result, at};
use crate::layer;
use crate::manifest::{Descriptor, Manifest};
use crate::platform::Platform;
use crate::store::Shared;

/// An image in the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its id: the digest of its configuration.
    pub id: Digest,
    /// Digest of its manifest.
    pub digest: Digest,
    /// The full reference it was found under; none if another tool put it into the layout without one.
    pub reference: Option<String>,
    /// Digest of what the registry has under that reference (perhaps an index of several platforms' manifests).
    pub remote_digest: Option<Digest>,
    /// What it runs on.
    pub platform: Platform,
    /// When it was made, in RFC 3339, as its maker says.
    pub created: Option<String>,
    /// How it is run.
    pub config: ImageConfig,
    /// Its layers, base first.
    pub layers: Vec<LayerInfo>,
    shared: Arc<Shared>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerInfo {
    /// Digest of the layer as fetched.
    pub digest: Digest,
    /// Its size in bytes as fetched.
    pub size: u64,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Kind and compression.
    pub media_type: String,
}

/// The read-only block device an image becomes: an EROFS file system in several files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootImage {
    /// The files, ascending and without overlap; between them and up to `len_bytes` the device reads as zeroes.
    pub parts: Vec<RootPart>,
    /// Length of the device in bytes, a multiple of 4096.
    pub len_bytes: u64,
}

/// One file of a [`RootImage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootPart {
    /// The file.
    pub path: PathBuf,
    /// Where it begins on the device, a multiple of 4096 (of 2 MiB for layers' data).
    pub offset_bytes: u64,
    /// How much of it belongs to the device: all, a multiple of 4096.
    pub len_bytes: u64,
}

/// `<config_digest>.json`: what [`RootImage`] is made of; the last file written of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parts {
    pub(crate) version: u32,
    pub(crate) metadata_bytes: u64,
    pub(crate) inodes: u64,
    pub(crate) layers: Vec<LayerPart>,
    pub(crate) warnings: Vec<String>,
}

/// Where a layer's data lies on the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LayerPart {
    pub(crate) diff_id: Digest,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Of the conversion's results; another version's are made anew.
pub(crate) const PARTS_VERSION: u32 = 1;

impl Image {
    pub(crate) fn new(
        shared: Arc<Shared>,
        entry: &Descriptor,
        manifest: &Manifest,
        config: ConfigDocument,
    ) -> Self {
        let annotation = |key: &str| entry.annotations.as_ref()?.get(key).cloned();
        let layers = manifest.layers.iter().zip(config.diff_ids()).map(|(layer, diff_id)| LayerInfo {
            digest: layer.digest,
            size: layer.size,
            diff_id: *diff_id,
            media_type: layer.media_type.clone(),
        });
        Self {
            id: manifest.config.digest,
            digest: entry.digest,
            reference: annotation(crate::store::REF_NAME),
            remote_digest: annotation(crate::store::REMOTE_DIGEST).and_then(|digest| digest.parse().ok()),
            layers: layers.collect(),
            platform: config.platform,
            created: config.created,
            config: config.config,
            shared,
        }
    }

    /// Size of the image in bytes as fetched: its layers, each once.
    pub fn size(&self) -> u64 {
        let distinct: BTreeMap<_, _> = self.layers.iter().map(|layer| (layer.digest, layer.size)).collect();
        distinct.values().sum()
    }

    /// The block device this image becomes. For an image that was pulled or loaded this reads one small file and
    /// looks at the lengths of the others. One that another tool put into the layout is converted first, on this
    /// thread.
    ///
    /// # Errors
    /// Those of the store; [`Error::Layer`] if a layer has to be converted and cannot be.
    pub fn root(&self) -> Result<RootImage> {
        if let Some(root) = self.ready()? {
            return Ok(root);
        }
        let _in_use = self.shared.paths.lock_use()?;
        let diff_ids: Vec<Digest> = self.layers.iter().map(|layer| layer.diff_id).collect();
        let budget = Arc::new(layer::Budget::new(&self.shared));
        for info in &self.layers {
            layer::convert_stored(&self.shared, info, &budget)?;
        }
        layer::build(&self.shared, &self.id, &diff_ids)?;
        self.ready()?.ok_or_else(|| Error::Document {
            what: "converted image",
            reason: format!("{} is damaged although it was just written", self.id),
        })
    }

    /// What was left out of the image when it was converted, and why, in words for the user.
    ///
    /// # Errors
    /// Those of the store.
    pub fn warnings(&self) -> Result<Vec<String>> {
        Ok(self.shared.parts(&self.id)?.map(|parts| parts.warnings).unwrap_or_default())
    }

    /// The device, if all of it is there.
    fn ready(&self) -> Result<Option<RootImage>> {
        let Some(parts) = self.shared.parts(&self.id)? else { return Ok(None) };
        let paths = &self.shared.paths;
        let metadata = (paths.image_metadata(&self.id), 0, parts.metadata_bytes);
        let data = parts.layers.iter().filter(|layer| layer.bytes > 0);
        let data = data.map(|layer| (paths.layer_data(&layer.diff_id), layer.offset, layer.bytes));
        let mut root = RootImage { parts: Vec::new(), len_bytes: 0 };
        for (path, offset_bytes, len_bytes) in std::iter::once(metadata).chain(data) {
            if fs::metadata(&path).map_or(0, |file| file.len()) != len_bytes {
                return Ok(None);
            }
            root.len_bytes = offset_bytes + len_bytes;
            root.parts.push(RootPart { path, offset_bytes, len_bytes });
        }
        Ok(Some(root))
    }
}

impl Shared {
    /// The parts of a converted image; `None` if it is not converted, or not by this version.
    pub(crate) fn parts(&self, config: &Digest) -> Result<Option<Parts>> {
        let path = self.paths.image_parts(config);
        match fs::read(&path) {
            Ok(raw) => {
                Ok(serde_json::from_slice(&raw).ok().filter(|parts: &Parts| parts.version == PARTS_VERSION))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at("read", path)(error)),
        }
    }
}
