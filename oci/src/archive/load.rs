//! From an archive into the store.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::contents::{Contents, Piece};
use crate::config::ConfigDocument;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::hash::{Hasher, digest_of};
use crate::image::{Image, LayerInfo};
use crate::layer::{self, FileChunks, Job};
use crate::manifest::{Descriptor, Document, Index, Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, read};
use crate::platform::Platform;
use crate::progress::Progress;
use crate::reference::Reference;
use crate::store::{REF_NAME, Store, annotation};

/// containerd's and Docker's name for the full reference of an entry.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// Indexes within indexes that are followed.
const INDEX_DEPTH: u32 = 4;

/// An image of Docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// An image found in an archive.
struct Found {
    manifest: Manifest,
    raw: Vec<u8>,
    config: Vec<u8>,
    /// Where each layer is in the archive.
    places: Vec<String>,
    names: Vec<String>,
}

impl Store {
    /// Loads every image of an archive written by `docker save`, or of an OCI layout in an archive, perhaps
    /// compressed with gzip or zstd. Blocks. Of several platforms' images the machine's own is taken.
    ///
    /// # Errors
    /// [`Error::Archive`] if it is no such archive; those of verification and of the store. Images before the one
    /// that failed are kept.
    pub fn load(&self, archive: File, progress: &dyn Progress) -> Result<Vec<Image>> {
        let _in_use = self.shared.paths.lock_use()?;
        let contents = Contents::open(&self.shared, archive)?;
        let found = if contents.has("manifest.json") {
            of_docker(&contents)?
        } else if contents.has("index.json") {
            of_layout(&contents)?
        } else {
            return Err(Error::Archive("it has neither manifest.json nor index.json".into()));
        };
        let mut images = Vec::new();
        for found in found {
            images.extend(self.take(&contents, &found, progress)?);
        }
        Ok(images)
    }

    /// Brings one image in, under all its names.
    fn take(&self, contents: &Contents, found: &Found, progress: &dyn Progress) -> Result<Vec<Image>> {
        let shared = &self.shared;
        let config = ConfigDocument::parse(&found.config, found.manifest.layers.len())?;
        let budget = Arc::new(layer::Budget::new(shared));
        let info = |(layer, diff_id): (&Descriptor, &Digest)| LayerInfo {
            digest: layer.digest,
            size: layer.size,
            diff_id: *diff_id,
            media_type: layer.media_type.clone(),
        };
        let mut layers: Vec<(LayerInfo, &String)> = Vec::new();
        for (info, place) in found.manifest.layers.iter().zip(config.diff_ids()).map(info).zip(&found.places)
        {
            if layers.iter().all(|(known, _)| *known != info) {
                layers.push((info, place));
            }
        }
        layer::check_fetched(shared, layers.iter().map(|(info, _)| info))?;
        for (info, place) in layers {
            let _lock = shared.paths.lock_content(&info.digest)?;
            let job = Job { shared: Arc::clone(shared), info, budget: Arc::clone(&budget) };
            if let Some(missing) = job.missing_or_count()? {
                job.ingest(FileChunks::new(contents.piece(place)?, PathBuf::from(place)), missing, progress)?;
            }
        }
        let config_digest = found.manifest.config.digest;
        shared.put_document("image configuration", &config_digest, &found.config)?;
        layer::build(shared, &config_digest, config.diff_ids())?;
        let digest = digest_of(&found.raw);
        shared.put_document("manifest", &digest, &found.raw)?;
        let media_type = found.manifest.media_type.as_deref().unwrap_or(OCI_MANIFEST);
        let mut entry = Descriptor::new(media_type, digest, found.raw.len() as u64);
        entry.platform = Some(config.platform.clone());
        if found.names.is_empty() {
            return Ok(vec![self.publish(entry, None, None)?]);
        }
        found.names.iter().map(|name| self.publish(entry.clone(), Some(name), None)).collect()
    }
}

/// Reads Docker's `manifest.json` and nothing it names.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_saved(raw: &[u8]) {
    let _: Result<Vec<Saved>> = read("manifest.json", raw);
}

/// Images of Docker's own format: layers are plain archives named in `manifest.json`; a manifest is made for them.
fn of_docker(contents: &Contents) -> Result<Vec<Found>> {
    let raw = contents.document("manifest.json")?;
    let saved: Vec<Saved> = read("manifest.json", &raw)?;
    saved.into_iter().map(|saved| docker_image(contents, saved)).collect()
}

fn docker_image(contents: &Contents, saved: Saved) -> Result<Found> {
    let config = contents.document(&saved.config)?;
    let parsed = ConfigDocument::parse(&config, saved.layers.len())?;
    let mut layers = Vec::new();
    for (place, diff_id) in saved.layers.iter().zip(parsed.diff_ids()) {
        let piece = contents.piece(place)?;
        let size = piece.size();
        // What is not compressed has its DiffID for a digest; it is verified when it is taken.
        let (suffix, digest) = match compression(contents.piece(place)?)? {
            "" => ("", *diff_id),
            suffix => (suffix, digest_of_piece(piece)?),
        };
        layers.push(Descriptor::new(&format!("{OCI_LAYER}{suffix}"), digest, size));
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(OCI_MANIFEST.to_owned()),
        config: Descriptor::new(OCI_CONFIG, digest_of(&config), config.len() as u64),
        layers,
    };
    let raw = serde_json::to_vec(&manifest).map_err(|error| Error::Archive(error.to_string()))?;
    let names = saved.repo_tags.unwrap_or_default();
    let names = names.iter().filter_map(|name| Some(name.parse::<Reference>().ok()?.to_string())).collect();
    Ok(Found { manifest, raw, config, places: saved.layers, names })
}

/// Images of an OCI layout.
fn of_layout(contents: &Contents) -> Result<Vec<Found>> {
    let raw = contents.document("index.json")?;
    let index: Index = read("index.json", &raw)?;
    index.manifests.iter().filter_map(|entry| layout_image(contents, entry).transpose()).collect()
}

/// The image of an entry; `None` if it is for other platforms only.
fn layout_image(contents: &Contents, entry: &Descriptor) -> Result<Option<Found>> {
    let mut digest = entry.digest;
    for _ in 0..=INDEX_DEPTH {
        let raw = blob(contents, "manifest", &digest)?;
        match Document::parse(&raw)? {
            Document::Index(index) => match index.choose(&Platform::host()) {
                Some(chosen) => digest = chosen.digest,
                None => return Ok(None),
            },
            Document::Manifest(manifest) => {
                let config = blob(contents, "image configuration", &manifest.config.digest)?;
                let places = manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
                let names = name_of(entry).into_iter().collect();
                return Ok(Some(Found { manifest, raw, config, places, names }));
            }
        }
    }
    Err(Error::Archive("indexes within indexes without end".into()))
}

/// The reference of an entry; a bare tag, as `skopeo` may leave, names no repository and so no image.
fn name_of(entry: &Descriptor) -> Option<String> {
    let name = annotation(entry, IMAGE_NAME)
        .or_else(|| annotation(entry, REF_NAME).filter(|name| name.contains(['/', ':', '@'])))?;
    Some(name.parse::<Reference>().ok()?.to_string())
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn blob(contents: &Contents, what: &'static str, digest: &Digest) -> Result<Vec<u8>> {
    let raw = contents.document(&blob_path(digest))?;
    match digest_of(&raw) {
        found if found == *digest => Ok(raw),
        found => {
            Err(Error::Verification { what, expected: *digest, reason: format!("the archive has {found}") })
        }
    }
}

/// The ending of the media type of a layer compressed like this.
fn compression(mut piece: Piece<'_>) -> Result<&'static str> {
    use std::io::Read;
    let mut start = [0; 4];
    let len = piece.read(&mut start).map_err(|error| Error::Archive(error.to_string()))?;
    Ok(match &start[..len] {
        [0x1f, 0x8b, ..] => "+gzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "+zstd",
        _ => "",
    })
}

fn digest_of_piece(mut piece: Piece<'_>) -> Result<Digest> {
    use std::io::Read;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match piece.read(&mut buffer).map_err(|error| Error::Archive(error.to_string()))? {
            0 => return Ok(hasher.finish()),
            len => hasher.update(&buffer[..len]),
        }
    }
}
