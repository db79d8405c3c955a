//! Where the store keeps what.

use std::fs;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{Error, Result, at};
use crate::manifest::read;
use crate::store::{Lock, TempFile, private};

/// Paths within a store.
#[derive(Debug)]
pub(crate) struct Paths {
    root: PathBuf,
}

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

impl Paths {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Creates the folders and the layout's mark, and closes the store to other users.
    pub(crate) fn create(&self) -> Result<()> {
        for folder in [self.blobs(), self.layers(), self.images(), self.temporary(), self.locks()] {
            private::create_folders(&folder).map_err(at("create", &folder))?;
        }
        private::close_folder(&self.root).map_err(at("set the mode of", &self.root))?;
        let mark = self.root.join("oci-layout");
        match fs::read(&mark) {
            Ok(raw) => check_layout(&raw),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut file = TempFile::new(self)?;
                file.write(LAYOUT)?;
                file.commit(&mark)
            }
            Err(error) => Err(at("read", &mark)(error)),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index.json")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("erofs/layers")
    }

    pub(crate) fn layer_data(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(format!("{}.data", diff_id.hex()))
    }

    pub(crate) fn layer_tree(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(format!("{}.tree", diff_id.hex()))
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("erofs/images")
    }

    pub(crate) fn image_metadata(&self, config: &Digest) -> PathBuf {
        self.images().join(format!("{}.erofs", config.hex()))
    }

    pub(crate) fn image_parts(&self, config: &Digest) -> PathBuf {
        self.images().join(format!("{}.json", config.hex()))
    }

    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// What has arrived of a blob, kept for the next attempt.
    pub(crate) fn partial(&self, digest: &Digest) -> PathBuf {
        self.temporary().join(format!("{}.partial", digest.hex()))
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// Held by whoever fetches or converts a layer or image.
    pub(crate) fn lock_content(&self, digest: &Digest) -> Result<Lock> {
        Lock::exclusive(&self.locks().join(digest.hex()))
    }

    /// Held by whoever changes the index.
    pub(crate) fn lock_index(&self) -> Result<Lock> {
        Lock::exclusive(&self.root.join("index.lock"))
    }

    /// Held shared by whoever adds to the store, alone by whoever removes what nothing refers to.
    pub(crate) fn lock_use(&self) -> Result<Lock> {
        Lock::shared(&self.root.join("use.lock"))
    }

    /// The other side of [`Self::lock_use`].
    pub(crate) fn lock_prune(&self) -> Result<Lock> {
        Lock::exclusive(&self.root.join("use.lock"))
    }
}

fn check_layout(raw: &[u8]) -> Result<()> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Mark {
        image_layout_version: String,
    }
    let mark: Mark = read("image layout", raw)?;
    match mark.image_layout_version.as_str() {
        "1.0.0" => Ok(()),
        other => {
            Err(Error::Document { what: "image layout", reason: format!("version {other} is not supported") })
        }
    }
}
