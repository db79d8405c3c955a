//! Removing images, and what nothing refers to any more.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{Result, at};
use crate::image::Image;
use crate::manifest::Document;
use crate::store::index::{DISPLACED, annotation};
use crate::store::{Shared, Store, sync_directory};

/// What a removal freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Images (references) removed.
    pub images: u64,
    /// Files removed.
    pub files: u64,
    /// Bytes of disk they took.
    pub bytes: u64,
}

/// Bytes of disk the store takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Compressed layers and documents, as fetched.
    pub blobs_bytes: u64,
    /// Layers' contents and trees.
    pub layers_bytes: u64,
    /// Images' metadata.
    pub images_bytes: u64,
    /// Downloads and conversions not finished.
    pub temporary_bytes: u64,
    /// Of all these, what belongs to no image and would go with [`Store::prune`].
    pub reclaimable_bytes: u64,
}

/// What the images of a store need.
#[derive(Debug, Default)]
struct Needed {
    files: HashSet<PathBuf>,
}

impl Store {
    /// Removes the reference `name`, or every reference of the image with that id, and what only they needed.
    /// Machines that run keep what they have open.
    ///
    /// # Errors
    /// [`crate::Error::NoSuchImage`], [`crate::Error::Ambiguous`]; those of the store.
    pub fn remove(&self, name: &str) -> Result<Pruned> {
        let _alone = self.shared.paths.lock_prune()?;
        let image = self.find(name)?;
        let by_reference = image.reference.as_deref().filter(|reference| {
            name.parse::<crate::Reference>().is_ok_and(|meant| meant.to_string() == **reference)
        });
        let removed = self.shared.change_index(|index| {
            let before = index.manifests().len();
            match by_reference {
                Some(reference) => drop(index.remove(reference)),
                None => index.retain(|entry| entry.digest != image.digest),
            }
            before - index.manifests().len()
        })?;
        let swept = self.shared.sweep(|path| path.starts_with(self.shared.paths.temporary()))?;
        Ok(Pruned { images: removed as u64, ..swept })
    }

    /// Removes what belongs to no image, and images whose reference leads to another one by now; with `all`, every image.
    /// What `in_use` claims stays.
    /// Waits for pulls under way.
    ///
    /// # Errors
    /// Those of the store.
    pub fn prune(&self, all: bool, in_use: impl FnMut(&Image) -> bool) -> Result<Pruned> {
        let _alone = self.shared.paths.lock_prune()?;
        let mut images = 0;
        let is_displaced = |entry: &crate::Descriptor| annotation(entry, DISPLACED).is_some();
        if !all && !self.shared.index()?.manifests().iter().any(is_displaced) {
            return self.shared.sweep(|_| false);
        }
        let used: HashSet<_> = self.list()?.into_iter().filter(in_use).map(|image| image.digest).collect();
        let keep = |entry: &crate::Descriptor| {
            let goes = (all || is_displaced(entry)) && !used.contains(&entry.digest);
            images += u64::from(goes);
            !goes
        };
        self.shared.change_index(|index| index.retain(keep))?;
        Ok(Pruned { images, ..self.shared.sweep(|_| false)? })
    }

    /// Counts what the store takes on disk; holes take nothing.
    ///
    /// # Errors
    /// Those of the store.
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        let shared = &self.shared;
        let needed = shared.needed()?;
        let mut usage = DiskUsage::default();
        for (folder, sum) in [
            (shared.paths.blobs(), &mut usage.blobs_bytes),
            (shared.paths.layers(), &mut usage.layers_bytes),
            (shared.paths.images(), &mut usage.images_bytes),
            (shared.paths.temporary(), &mut usage.temporary_bytes),
        ] {
            for (path, bytes) in files(&folder)? {
                *sum += bytes;
                if !needed.files.contains(&path) {
                    usage.reclaimable_bytes += bytes;
                }
            }
        }
        Ok(usage)
    }
}

impl Shared {
    /// Removes files that no image needs, except where `spare` says otherwise. Nobody may be adding meanwhile.
    fn sweep(&self, spare: impl Fn(&Path) -> bool) -> Result<Pruned> {
        let needed = self.needed()?;
        let mut pruned = Pruned::default();
        let paths = &self.paths;
        // Marks of completion before what they complete: images' parts lists sort behind their metadata.
        for folder in [paths.images(), paths.layers(), paths.blobs(), paths.temporary(), paths.locks()] {
            let mut entries = files(&folder)?;
            entries.sort_by(|left, right| right.0.cmp(&left.0));
            for (path, bytes) in entries {
                if needed.files.contains(&path) || spare(&path) {
                    continue;
                }
                fs::remove_file(&path).map_err(at("remove", &path))?;
                pruned.files += 1;
                pruned.bytes += bytes;
            }
            sync_directory(&folder)?;
        }
        Ok(pruned)
    }

    fn needed(&self) -> Result<Needed> {
        let mut needed = Needed::default();
        for entry in self.index()?.manifests() {
            self.need(&entry.digest, &mut needed, 0)?;
        }
        Ok(needed)
    }

    /// Adds what a manifest needs. Another tool may have put an index into the layout.
    fn need(&self, digest: &Digest, needed: &mut Needed, depth: u8) -> Result<()> {
        let paths = &self.paths;
        if !needed.files.insert(paths.blob(digest)) || depth > 4 {
            return Ok(());
        }
        // A damaged document keeps nothing else alive.
        let Ok(document) = self.document("manifest", digest).and_then(|raw| Document::parse(&raw)) else {
            return Ok(());
        };
        match document {
            Document::Index(index) => {
                index.manifests.iter().try_for_each(|entry| self.need(&entry.digest, needed, depth + 1))
            }
            Document::Manifest(manifest) => {
                let config = &manifest.config.digest;
                needed.files.extend([
                    paths.blob(config),
                    paths.image_metadata(config),
                    paths.image_parts(config),
                ]);
                needed.files.extend(manifest.layers.iter().map(|layer| paths.blob(&layer.digest)));
                let document = self.document("image configuration", config);
                let document = document
                    .and_then(|raw| crate::config::ConfigDocument::parse(&raw, manifest.layers.len()));
                for diff_id in document.iter().flat_map(crate::config::ConfigDocument::diff_ids) {
                    needed.files.extend([paths.layer_data(diff_id), paths.layer_tree(diff_id)]);
                }
                Ok(())
            }
        }
    }
}

/// Files of a folder and the bytes of disk they take.
fn files(folder: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let list = || -> std::io::Result<Vec<(PathBuf, u64)>> {
        fs::read_dir(folder)?
            .map(|entry| {
                let entry = entry?;
                // `st_blocks` counts units of 512 bytes whatever the file system.
                Ok((entry.path(), entry.metadata()?.blocks() * 512))
            })
            .collect()
    };
    list().map_err(at("list", folder))
}
