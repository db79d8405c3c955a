//! Manifests and indexes (OCI image spec 1.1 `manifest.md`, `image-index.md`; Docker image manifest v2, schema 2).
//!
//! Own types, because Docker's documents must be read as well, and what is not used is not required to be there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::platform::Platform;

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What a registry is asked for.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Largest manifest, index or configuration in bytes (what registries take at most).
pub(crate) const DOCUMENT_BYTES: u64 = 4 << 20;
/// Most layers of one image; Docker's own limit is 127.
const LAYERS_MAX: usize = 1024;

/// Says what a piece of content is and how it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Kind of content.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Which platform it is for, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, platform: None, annotations: None }
    }
}

/// One image for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Kind of manifest; may be left out in OCI's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, base first.
    pub layers: Vec<Descriptor>,
}

/// Several manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Kind of index; may be left out in OCI's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
}

/// What a manifest's address can lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// One for each platform.
    Index(Index),
}

impl Document {
    /// Reads a manifest or index.
    ///
    /// # Errors
    /// [`Error::Document`] if it is neither, too large, or of a kind that is no image.
    pub fn parse(raw: &[u8]) -> Result<Self> {
        /// Enough to tell which it is.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Probe {
            schema_version: u32,
            media_type: Option<String>,
            manifests: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
        }
        let probe: Probe = read("manifest", raw)?;
        if probe.schema_version != 2 {
            let reason = format!("schema version {} is not supported, only 2", probe.schema_version);
            return Err(Error::Document { what: "manifest", reason });
        }
        // A document that could be read as both was meant to be taken differently by different readers.
        match (probe.media_type.as_deref(), probe.manifests.is_some(), probe.layers.is_some()) {
            (Some(OCI_INDEX | DOCKER_LIST) | None, true, false) => {
                let index: Index = read("index", raw)?;
                Ok(Self::Index(index))
            }
            (Some(OCI_MANIFEST | DOCKER_MANIFEST) | None, false, true) => {
                let manifest: Manifest = read("manifest", raw)?;
                manifest.check()?;
                Ok(Self::Manifest(manifest))
            }
            (kind, ..) => {
                let reason =
                    format!("neither an image nor an index of images ({})", kind.unwrap_or("no media type"));
                Err(Error::Document { what: "manifest", reason })
            }
        }
    }
}

impl Manifest {
    fn check(&self) -> Result<()> {
        let bad = |reason: String| Err(Error::Document { what: "manifest", reason });
        if self.layers.len() > LAYERS_MAX {
            return bad(format!("{} layers, more than {LAYERS_MAX}", self.layers.len()));
        }
        if let Some(other) = self.layers.iter().find(|layer| !is_layer(&layer.media_type)) {
            return bad(format!("a layer of kind {:?} is no file system", other.media_type));
        }
        if self.config.size > DOCUMENT_BYTES {
            return bad(format!("a configuration of {} bytes", self.config.size));
        }
        Ok(())
    }
}

/// Whether a layer's kind says that it is a tar archive, compressed or not. How it is compressed shows in its bytes.
fn is_layer(media_type: &str) -> bool {
    let kind = media_type.split(';').next().unwrap_or_default();
    let compression = [OCI_LAYER, "application/vnd.docker.image.rootfs.diff.tar"]
        .into_iter()
        .chain(["application/vnd.oci.image.layer.nondistributable.v1.tar"])
        .chain(["application/vnd.docker.image.rootfs.foreign.diff.tar"])
        .find_map(|base| kind.strip_prefix(base));
    matches!(compression, Some("" | "+gzip" | ".gzip" | "+zstd" | ".zstd"))
}

impl Index {
    /// The manifest (or index) for a platform.
    pub(crate) fn choose(&self, platform: &Platform) -> Option<&Descriptor> {
        let of_images = || self.manifests.iter().filter(|entry| !is_attestation(entry));
        of_images()
            .find(|entry| entry.platform.as_ref().is_some_and(|offered| platform.admits(offered)))
            // An index of one image need not say what it is for; its configuration does.
            .or_else(|| of_images().next().filter(|only| only.platform.is_none() && of_images().count() == 1))
    }

    /// The platforms there are, for a message.
    pub(crate) fn platforms(&self) -> String {
        let of_images = self.manifests.iter().filter(|entry| !is_attestation(entry));
        let names: Vec<_> =
            of_images.filter_map(|entry| Some(entry.platform.as_ref()?.to_string())).take(32).collect();
        if names.is_empty() { "none".into() } else { names.join(", ") }
    }
}

/// Whether an entry is BuildKit's record of a build, no image.
fn is_attestation(entry: &Descriptor) -> bool {
    entry.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
}

/// Reads a bounded JSON document.
pub(crate) fn read<'a, T: Deserialize<'a>>(what: &'static str, raw: &'a [u8]) -> Result<T> {
    if raw.len() as u64 > DOCUMENT_BYTES {
        return Err(Error::Document {
            what,
            reason: format!("{} bytes, more than {DOCUMENT_BYTES}", raw.len()),
        });
    }
    serde_json::from_slice(raw).map_err(|error| Error::Document { what, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(media_type: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{}","size":1}}"#, "00".repeat(32))
    }

    #[test]
    fn docker_and_oci_documents_are_read() {
        let config = descriptor("application/vnd.docker.container.image.v1+json");
        let layer = descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip");
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
        assert!(matches!(Document::parse(manifest.as_bytes()), Ok(Document::Manifest(_))));
        let entry = descriptor(OCI_MANIFEST);
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{entry}]}}"#);
        let Ok(Document::Index(index)) = Document::parse(index.as_bytes()) else { panic!("not an index") };
        assert!(index.choose(&Platform::host()).is_some(), "the only one, without a platform");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let config = descriptor(OCI_CONFIG);
        let odd = descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip");
        for raw in [
            r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(),
            r#"{"schemaVersion":2}"#.to_owned(),
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{odd}]}}"#),
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#),
            "[".repeat(100_000),
            format!(r#"{{"schemaVersion":2,"x":"{}"}}"#, "x".repeat(5 << 20)),
        ] {
            assert!(matches!(Document::parse(raw.as_bytes()), Err(Error::Document { .. })));
        }
    }
}
