//! The image store: an OCI image layout and the EROFS form of what is in it.

mod index;
mod lock;
mod paths;
mod private;
mod prune;
mod write;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use monocore_erofs::Limits;

use crate::config::ConfigDocument;
use crate::digest::Digest;
use crate::error::{Error, Result, at};
use crate::hash::digest_of;
use crate::image::Image;
use crate::manifest::{DOCUMENT_BYTES, Descriptor, Document, Manifest};
use crate::reference::Reference;

pub(crate) use index::{REF_NAME, REMOTE_DIGEST, annotation};
pub(crate) use lock::Lock;
pub(crate) use paths::Paths;
pub(crate) use private::file_options;
pub use prune::{DiskUsage, Pruned};
pub(crate) use write::{TempFile, sync_directory};

/// A store of images. Cheap to clone; any number of them, in any number of processes, may have the same folder open.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) paths: Paths,
    pub(crate) limits: Limits,
}

impl Store {
    /// Opens the store in `home` (`home/oci`), making it if it is not there.
    ///
    /// # Errors
    /// [`Error::Store`] if it cannot be made; [`Error::Document`] if the folder is an image layout of another version.
    pub fn open(home: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(home, Limits::default())
    }

    /// Opens the store with other bounds on what images may cost.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(home: impl AsRef<Path>, limits: Limits) -> Result<Self> {
        let paths = Paths::new(home.as_ref().join("oci"));
        paths.create()?;
        Ok(Self { shared: Arc::new(Shared { paths, limits }) })
    }

    /// The image a reference means, if it is in the store. Reads three small files; no network, no layer.
    ///
    /// # Errors
    /// [`Error::Store`] and [`Error::Document`] if the store is damaged.
    pub fn resolve(&self, reference: &Reference) -> Result<Option<Image>> {
        let entry = self.shared.index()?.find(reference).cloned();
        entry.map(|entry| self.image(&entry)).transpose()
    }

    /// The image meant by a reference, or by an id: its configuration's digest, or the first digits of it.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Ambiguous`]; as [`Self::resolve`].
    pub fn find(&self, name: &str) -> Result<Image> {
        if let Ok(reference) = name.parse::<Reference>()
            && let Some(image) = self.resolve(&reference)?
        {
            return Ok(image);
        }
        let digits = name.strip_prefix("sha256:").unwrap_or(name);
        let is_id = digits.len() >= 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut found: Vec<Image> = Vec::new();
        for image in if is_id { self.list()? } else { Vec::new() } {
            let matches = image.id.hex().starts_with(digits) || image.digest.hex().starts_with(digits);
            if matches && found.iter().all(|other| other.id != image.id) {
                found.push(image);
            }
        }
        match found.len() {
            0 => Err(Error::NoSuchImage(name.to_owned())),
            1 => Ok(found.remove(0)),
            _ => Err(Error::Ambiguous { name: name.to_owned() }),
        }
    }

    /// All images, one for each reference, in no particular order.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn list(&self) -> Result<Vec<Image>> {
        let index = self.shared.index()?;
        index.manifests().iter().map(|entry| self.image(entry)).collect()
    }

    /// Makes an image known, under a reference or by its id only, once all of it is there and durable.
    pub(crate) fn publish(
        &self,
        entry: Descriptor,
        name: Option<&str>,
        remote: Option<&Digest>,
    ) -> Result<Image> {
        let paths = &self.shared.paths;
        for folder in [paths.blobs(), paths.layers(), paths.images()] {
            sync_directory(&folder)?;
        }
        let entry = self.shared.change_index(|index| index.put(entry, name, remote))?;
        self.image(&entry)
    }

    /// The image of an entry of the index.
    pub(crate) fn image(&self, entry: &Descriptor) -> Result<Image> {
        let manifest = self.shared.manifest(&entry.digest)?;
        let config = self.shared.document("image configuration", &manifest.config.digest)?;
        let config = ConfigDocument::parse(&config, manifest.layers.len())?;
        Ok(Image::new(Arc::clone(&self.shared), entry, &manifest, config))
    }
}

impl Shared {
    /// The manifest of a digest.
    pub(crate) fn manifest(&self, digest: &Digest) -> Result<Manifest> {
        match Document::parse(&self.document("manifest", digest)?)? {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(_) => {
                Err(Error::Document { what: "manifest", reason: format!("{digest} is an index of images") })
            }
        }
    }

    /// A small blob, verified.
    pub(crate) fn document(&self, what: &'static str, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.paths.blob(digest);
        let mut raw = Vec::new();
        let file = fs::File::open(&path).map_err(at("open", &path))?;
        file.take(DOCUMENT_BYTES + 1).read_to_end(&mut raw).map_err(at("read", &path))?;
        let found = digest_of(&raw);
        if found != *digest {
            return Err(Error::Verification {
                what,
                expected: *digest,
                reason: format!("the store has {found}"),
            });
        }
        Ok(raw)
    }

    /// Puts a small blob into the store.
    pub(crate) fn put_document(&self, what: &'static str, expected: &Digest, raw: &[u8]) -> Result<()> {
        let found = digest_of(raw);
        if found != *expected {
            return Err(Error::Verification { what, expected: *expected, reason: format!("it has {found}") });
        }
        let path = self.paths.blob(expected);
        if path.exists() {
            return Ok(());
        }
        self.write_whole(&path, raw)
    }

    /// Writes a file so that it is there whole or not at all.
    pub(crate) fn write_whole(&self, path: &Path, raw: &[u8]) -> Result<()> {
        let mut file = TempFile::new(&self.paths)?;
        file.write(raw)?;
        file.commit(path)
    }
}
