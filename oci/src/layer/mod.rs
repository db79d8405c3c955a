//! Layers: from a stream of bytes to blob, data and tree; and images from those.
//!
//! ```text
//! network ─► chunks ─► blob file, SHA-256 ─► inflate ─► blocks ─► tar ─► data file, tree log     (one thread)
//!                                                          └────► SHA-256 of the DiffID           (another)
//! ```

mod blocks;
mod budget;
mod build;
mod inflate;
mod source;

use std::fs::{self, File};
use std::io::{BufRead, BufWriter};
use std::sync::Arc;

use monocore_erofs::{LogReader, convert};

use crate::digest::Digest;
use crate::error::{Error, Result, at};
use crate::image::LayerInfo;
use crate::progress::Progress;
use crate::store::{Shared, TempFile};

use blocks::Blocks;
use budget::Metered;
use source::BlobReader;

pub(crate) use budget::{Budget, check_fetched};
pub(crate) use build::build;
pub(crate) use inflate::Inflate;
pub(crate) use source::{ChunkSource, FileChunks};

/// A layer to be brought into the store.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) shared: Arc<Shared>,
    pub(crate) info: LayerInfo,
    /// What the image may still take.
    pub(crate) budget: Arc<Budget>,
}

/// What the store lacks of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) blob: bool,
    pub(crate) converted: bool,
}

impl Job {
    /// What is missing; `None` if nothing is. Then what the layer takes counts for the image's size, too.
    ///
    /// # Errors
    /// The image is too large.
    pub(crate) fn missing_or_count(&self) -> Result<Option<Missing>> {
        let missing = self.missing();
        if missing.is_none() {
            self.budget.take(
                fs::metadata(self.shared.paths.layer_data(&self.info.diff_id)).map_or(0, |data| data.len()),
            )?;
        }
        Ok(missing)
    }

    fn missing(&self) -> Option<Missing> {
        let paths = &self.shared.paths;
        let blob =
            fs::metadata(paths.blob(&self.info.digest)).map_or(true, |blob| blob.len() != self.info.size);
        let converted = !is_converted(&self.shared, &self.info.diff_id);
        (blob || converted).then_some(Missing { blob, converted })
    }

    /// Takes the layer from `chunks` into the store. Blocks until the stream ends. What arrives before a failure of
    /// the stream itself is kept for the next attempt.
    ///
    /// The caller holds the layer's lock.
    pub(crate) fn ingest(
        &self,
        chunks: impl ChunkSource,
        missing: Missing,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut reader = BlobReader::new(self, chunks, missing.blob, progress)?;
        let result = match missing.converted {
            true => self.convert(&mut reader).map(Some),
            false => reader.drain().map(|()| None),
        };
        let result = match result {
            Ok(done) => reader.verify().map(|()| done),
            Err(error) => Err(reader.failure().unwrap_or_else(|| blame(&mut reader, error))),
        };
        match result {
            Ok(converted) => {
                if let Some((data, tree)) = converted {
                    data.commit(&self.shared.paths.layer_data(&self.info.diff_id))?;
                    tree.commit(&self.shared.paths.layer_tree(&self.info.diff_id))?;
                }
                reader.commit()?;
                progress.layer_finished(&self.info.digest);
                Ok(())
            }
            // Broken connections leave what came for the next attempt; anything else taints it.
            Err(error @ (Error::Connection { .. } | Error::Registry { .. })) => Err(error),
            Err(error) => {
                reader.discard();
                Err(error)
            }
        }
    }

    /// Inflates and converts; the results are verified against the DiffID but not yet visible.
    fn convert(&self, reader: impl BufRead) -> Result<(TempFile, TempFile)> {
        let limits = &self.shared.limits;
        let inflate = Inflate::new(reader).map_err(|source| self.layer_error(source.into()))?;
        let data = TempFile::new(&self.shared.paths)?;
        let tree = TempFile::new(&self.shared.paths)?;
        let data_file = data.file().try_clone().map_err(at("open", data.path()))?;
        let tree_file = BufWriter::with_capacity(256 << 10, tree.file());
        let metered = Metered { input: inflate, budget: &self.budget };
        let diff_id = blocks::hashed(metered, |blocks: &mut Blocks<'_, _>| {
            convert(blocks, data_file, tree_file, limits).map(drop)
        });
        let refused = |source| self.budget.exceeded().unwrap_or_else(|| self.layer_error(source));
        let diff_id = diff_id.map_err(refused)?;
        if diff_id != self.info.diff_id {
            let reason =
                format!("its uncompressed content is {diff_id}, the image says {}", self.info.diff_id);
            return Err(Error::Verification { what: "layer", expected: self.info.digest, reason });
        }
        Ok((data, tree))
    }

    fn layer_error(&self, source: monocore_erofs::Error) -> Error {
        Error::Layer { layer: self.info.digest, source }
    }
}

/// What is to be reported when a layer could not be inflated: that it is not the layer that was promised, if so.
fn blame(reader: &mut BlobReader<'_, impl ChunkSource>, error: Error) -> Error {
    use monocore_erofs::Error as Cause;
    match error {
        Error::Layer { source: Cause::Io(_) | Cause::Tar { .. }, .. } => {
            reader.verify().err().unwrap_or(error)
        }
        error => error,
    }
}

/// Whether the store has a layer's data and tree.
fn is_converted(shared: &Shared, diff_id: &Digest) -> bool {
    shared.paths.layer_data(diff_id).exists() && shared.paths.layer_tree(diff_id).exists()
}

/// Converts a layer whose blob is in the store, unless that is done.
pub(crate) fn convert_stored(shared: &Arc<Shared>, info: &LayerInfo, budget: &Arc<Budget>) -> Result<()> {
    let job = Job { shared: Arc::clone(shared), info: info.clone(), budget: Arc::clone(budget) };
    if is_converted(shared, &info.diff_id) {
        return Ok(());
    }
    let _lock = shared.paths.lock_content(&info.digest)?;
    if is_converted(shared, &info.diff_id) {
        return Ok(());
    }
    convert_blob(&job, &crate::progress::Silent)
}

/// Converts a layer whose blob is in the store. The caller holds the layer's lock.
pub(crate) fn convert_blob(job: &Job, progress: &dyn Progress) -> Result<()> {
    let path = job.shared.paths.blob(&job.info.digest);
    let chunks = FileChunks::new(File::open(&path).map_err(at("open", &path))?, path);
    job.ingest(chunks, Missing { blob: false, converted: true }, progress)
}

/// Opens a layer's tree log.
fn open_tree(shared: &Shared, diff_id: &Digest) -> Result<LogReader<std::io::BufReader<File>>> {
    let path = shared.paths.layer_tree(diff_id);
    let file = File::open(&path).map_err(at("open", &path))?;
    LogReader::new(std::io::BufReader::with_capacity(256 << 10, file))
        .map_err(|source| Error::Layer { layer: *diff_id, source })
}
