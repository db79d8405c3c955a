//! How much of the disk one image may take.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::image::LayerInfo;
use crate::store::Shared;

/// The uncompressed bytes that are left to an image whose layers are converted at the same time.
#[derive(Debug)]
pub(crate) struct Budget {
    limit_bytes: u64,
    left_bytes: AtomicU64,
    exceeded: AtomicBool,
}

impl Budget {
    /// The budget of one image of the store.
    pub(crate) fn new(shared: &Shared) -> Self {
        let limit_bytes = shared.limits.image_bytes;
        Self { limit_bytes, left_bytes: AtomicU64::new(limit_bytes), exceeded: AtomicBool::new(false) }
    }

    /// Takes bytes of a layer that is in the store already.
    pub(crate) fn take(&self, bytes: u64) -> Result<()> {
        let left = |left: u64| left.checked_sub(bytes);
        if self.left_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok() {
            return Ok(());
        }
        self.exceeded.store(true, Ordering::Relaxed);
        Err(self.error())
    }

    /// Why the image was refused, if it was.
    pub(crate) fn exceeded(&self) -> Option<Error> {
        self.exceeded.load(Ordering::Relaxed).then(|| self.error())
    }

    fn error(&self) -> Error {
        Error::TooLarge { what: "uncompressed", limit_bytes: self.limit_bytes }
    }
}

/// Refuses an image whose layers are too large as they are fetched.
pub(crate) fn check_fetched<'a>(shared: &Shared, layers: impl Iterator<Item = &'a LayerInfo>) -> Result<()> {
    let limit_bytes = shared.limits.image_bytes;
    match layers.map(|layer| layer.size).try_fold(0u64, u64::checked_add) {
        Some(bytes) if bytes <= limit_bytes => Ok(()),
        _ => Err(Error::TooLarge { what: "compressed", limit_bytes }),
    }
}

/// A stream whose bytes are taken from a budget.
pub(super) struct Metered<'a, R> {
    pub(super) input: R,
    pub(super) budget: &'a Budget,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(out)?;
        self.budget.take(count as u64).map_err(io::Error::other)?;
        Ok(count)
    }
}
