//! `index.json`: which references the store knows.

use std::fs;
use std::io::{ErrorKind, Read};

use crate::digest::Digest;
use crate::error::{Result, at};
use crate::manifest::{DOCUMENT_BYTES, Descriptor, Index, OCI_INDEX, read};
use crate::reference::Reference;
use crate::store::{Shared, sync_directory};

/// The reference an entry is stored under, in full (OCI image spec 1.1 `annotations.md`).
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Digest of what the registry had under the reference: an index perhaps, of which the entry is one part.
pub(crate) const REMOTE_DIGEST: &str = "dev.monocore.remote.digest";

/// Says that another image has the entry's reference by now; `prune` removes it unless something uses it.
pub(crate) const DISPLACED: &str = "dev.monocore.displaced";

/// The store's index.
#[derive(Debug)]
pub(crate) struct StoreIndex(Index);

impl StoreIndex {
    pub(crate) fn manifests(&self) -> &[Descriptor] {
        &self.0.manifests
    }

    /// The entry of a reference: by its full name, or, for a digest, by that.
    pub(crate) fn find(&self, reference: &Reference) -> Option<&Descriptor> {
        let name = reference.to_string();
        let by_name = self.0.manifests.iter().find(|entry| annotation(entry, REF_NAME) == Some(&name));
        by_name.or_else(|| {
            let digest = reference.digest()?;
            let repository = |entry: &&Descriptor| {
                let stored = annotation(entry, REF_NAME).and_then(|name| name.parse::<Reference>().ok());
                stored.is_some_and(|stored| {
                    stored.registry() == reference.registry() && stored.repository() == reference.repository()
                })
            };
            let remote = digest.to_string();
            self.0
                .manifests
                .iter()
                .filter(repository)
                .find(|entry| entry.digest == *digest || annotation(entry, REMOTE_DIGEST) == Some(&remote))
        })
    }

    /// Puts an entry in place of whatever had its reference, or its digest if neither has one; returns it as it is kept.
    /// Another image that had the reference stays, without it: a sandbox may have been made from it.
    pub(crate) fn put(
        &mut self,
        mut entry: Descriptor,
        reference: Option<&str>,
        remote: Option<&Digest>,
    ) -> Descriptor {
        match reference {
            Some(reference) => {
                self.displace(reference, &entry.digest);
                self.retain(|other| other.digest != entry.digest || annotation(other, DISPLACED).is_none());
            }
            None => {
                self.retain(|other| other.digest != entry.digest || annotation(other, REF_NAME).is_some())
            }
        }
        let mut annotations = entry.annotations.take().unwrap_or_default();
        annotations.extend(reference.map(|reference| (REF_NAME.to_owned(), reference.to_owned())));
        annotations.extend(remote.map(|remote| (REMOTE_DIGEST.to_owned(), remote.to_string())));
        entry.annotations = (!annotations.is_empty()).then_some(annotations);
        self.0.manifests.push(entry.clone());
        entry
    }

    /// Takes the reference away from the image that has it, unless that is `digest` or has another reference.
    fn displace(&mut self, reference: &str, digest: &Digest) {
        let entries = &mut self.0.manifests;
        let Some(at) = entries.iter().position(|entry| annotation(entry, REF_NAME) == Some(reference)) else {
            return;
        };
        let mut old = entries.remove(at);
        if old.digest == *digest || entries.iter().any(|entry| entry.digest == old.digest) {
            return;
        }
        let annotations = old.annotations.get_or_insert_default();
        annotations.remove(REF_NAME);
        annotations.insert(DISPLACED.to_owned(), "true".to_owned());
        entries.push(old);
    }

    /// Removes the entry of a reference; returns whether there was one.
    pub(crate) fn remove(&mut self, reference: &str) -> bool {
        let before = self.0.manifests.len();
        self.0.manifests.retain(|entry| annotation(entry, REF_NAME) != Some(reference));
        self.0.manifests.len() < before
    }

    /// Removes entries.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Descriptor) -> bool) {
        self.0.manifests.retain(keep);
    }
}

/// An annotation of an entry.
pub(crate) fn annotation<'e>(entry: &'e Descriptor, key: &str) -> Option<&'e str> {
    entry.annotations.as_ref()?.get(key).map(String::as_str)
}

impl Shared {
    /// Reads the index; an absent one is empty.
    pub(crate) fn index(&self) -> Result<StoreIndex> {
        let path = self.paths.index();
        let mut raw = Vec::new();
        match fs::File::open(&path).and_then(|file| file.take(DOCUMENT_BYTES + 1).read_to_end(&mut raw)) {
            Ok(_) => read("index of the store", &raw).map(StoreIndex),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let media_type = Some(OCI_INDEX.to_owned());
                Ok(StoreIndex(Index { schema_version: 2, media_type, manifests: Vec::new() }))
            }
            Err(error) => Err(at("read", path)(error)),
        }
    }

    /// Changes the index while nobody else does.
    pub(crate) fn change_index<T>(&self, change: impl FnOnce(&mut StoreIndex) -> T) -> Result<T> {
        let _lock = self.paths.lock_index()?;
        let mut index = self.index()?;
        let result = change(&mut index);
        let raw = serde_json::to_vec_pretty(&index.0).map_err(|error| crate::Error::Document {
            what: "index of the store",
            reason: error.to_string(),
        })?;
        self.write_whole(&self.paths.index(), &raw)?;
        sync_directory(self.paths.root())?;
        Ok(result)
    }
}
