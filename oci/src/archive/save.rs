//! From the store into an archive.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde_json::json;
use tar::{Builder, EntryType, Header};

use crate::digest::Digest;
use crate::error::{Error, Result, at};
use crate::image::Image;
use crate::manifest::{Descriptor, Index, OCI_INDEX, OCI_MANIFEST};
use crate::reference::Reference;
use crate::store::{REF_NAME, Store};

/// What an archive is to be read by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SaveFormat {
    /// `docker load` of any version, and everything that reads OCI layouts (what Docker itself writes from 25 on).
    #[default]
    Docker,
    /// An OCI layout and nothing else.
    Oci,
}

impl Store {
    /// Writes images into an archive, layers as they were fetched. Blocks. The same images give the same bytes.
    ///
    /// # Errors
    /// As [`Store::find`]; those of the store and of `out`.
    pub fn save(&self, names: &[&str], format: SaveFormat, out: impl Write) -> Result<()> {
        let _in_use = self.shared.paths.lock_use()?;
        let images = names.iter().map(|name| Ok((*name, self.find(name)?))).collect::<Result<Vec<_>>>()?;
        let mut archive = Archive { builder: Builder::new(out), blobs: BTreeSet::new() };
        archive.document("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let mut entries = Vec::new();
        let mut saved = Vec::new();
        for (name, image) in &images {
            let manifest = self.shared.manifest(&image.digest)?;
            for digest in
                [image.digest, image.id].into_iter().chain(manifest.layers.iter().map(|layer| layer.digest))
            {
                archive.blob(&self.shared.paths.blob(&digest), &digest)?;
            }
            let reference = reference_of(name, image);
            entries.push(entry(
                &self.shared.paths.blob(&image.digest),
                image,
                manifest.media_type,
                reference.as_ref(),
            )?);
            saved.push(json!({
                "Config": blob_path(&image.id),
                "RepoTags": reference.iter().filter(|name| name.tag().is_some()).map(Reference::familiar).collect::<Vec<_>>(),
                "Layers": image.layers.iter().map(|layer| blob_path(&layer.digest)).collect::<Vec<_>>(),
            }));
        }
        let index = Index { schema_version: 2, media_type: Some(OCI_INDEX.to_owned()), manifests: entries };
        archive.json("index.json", &index)?;
        if format == SaveFormat::Docker {
            archive.json("manifest.json", &saved)?;
        }
        archive.builder.into_inner().and_then(|mut out| out.flush()).map_err(failed)
    }
}

/// The reference an image is saved under: the one it was asked for by, none if by its id.
fn reference_of(name: &str, image: &Image) -> Option<Reference> {
    let reference: Reference = name.parse().ok()?;
    (image.reference.as_deref() == Some(&*reference.to_string())).then_some(reference)
}

fn entry(
    path: &Path,
    image: &Image,
    media_type: Option<String>,
    reference: Option<&Reference>,
) -> Result<Descriptor> {
    let size = std::fs::metadata(path).map_err(at("read", path))?.len();
    let mut entry = Descriptor::new(media_type.as_deref().unwrap_or(OCI_MANIFEST), image.digest, size);
    entry.platform = Some(image.platform.clone());
    entry.annotations = reference.map(|reference| {
        let name = reference.to_string();
        [(REF_NAME.to_owned(), name.clone()), ("io.containerd.image.name".to_owned(), name)].into()
    });
    Ok(entry)
}

struct Archive<W: Write> {
    builder: Builder<W>,
    blobs: BTreeSet<Digest>,
}

impl<W: Write> Archive<W> {
    fn json(&mut self, path: &str, value: &impl serde::Serialize) -> Result<()> {
        let raw = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
        self.document(path, &raw)
    }

    fn document(&mut self, path: &str, raw: &[u8]) -> Result<()> {
        self.builder.append_data(&mut header(raw.len() as u64), path, raw).map_err(failed)
    }

    fn blob(&mut self, path: &Path, digest: &Digest) -> Result<()> {
        if !self.blobs.insert(*digest) {
            return Ok(());
        }
        let file = File::open(path).map_err(at("open", path))?;
        let size = file.metadata().map_err(at("read", path))?.len();
        self.builder.append_data(&mut header(size), blob_path(digest), file).map_err(failed)
    }
}

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(size);
    header
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn failed(source: io::Error) -> Error {
    at("write", "archive")(source)
}
