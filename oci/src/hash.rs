//! SHA-256 as a stream.
//!
//! `sha2` and not `ring`, which is linked anyway: with SHA instructions they are alike, and without them, in
//! software emulation, ring's vector code took 21 ms per MiB and sha2's scalar code 16 ms.

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

/// A running SHA-256.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest::new(self.0.finalize().into())
    }
}

/// The digest of something held in memory.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}
