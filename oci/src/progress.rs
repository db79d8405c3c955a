//! How long work is going.

use std::sync::Arc;

use crate::digest::Digest;

/// Told how a pull, load or save proceeds. Called from several threads, often; must not block.
pub trait Progress: Send + Sync {
    /// A layer of `bytes` (as stored in the registry) is going to be fetched; not called for what the store has.
    fn layer_started(&self, layer: &Digest, bytes: u64) {
        let _ = (layer, bytes);
    }
    /// So many bytes of a layer have arrived.
    fn layer_advanced(&self, layer: &Digest, bytes: u64) {
        let _ = (layer, bytes);
    }
    /// A layer is verified, converted and in the store.
    fn layer_finished(&self, layer: &Digest) {
        let _ = layer;
    }
    /// Something worth telling the user that is no error.
    fn warning(&self, text: &str) {
        let _ = text;
    }
}

impl<T: Progress + ?Sized> Progress for Arc<T> {
    fn layer_started(&self, layer: &Digest, bytes: u64) {
        (**self).layer_started(layer, bytes);
    }
    fn layer_advanced(&self, layer: &Digest, bytes: u64) {
        (**self).layer_advanced(layer, bytes);
    }
    fn layer_finished(&self, layer: &Digest) {
        (**self).layer_finished(layer);
    }
    fn warning(&self, text: &str) {
        (**self).warning(text);
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
