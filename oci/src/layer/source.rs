//! The bytes of a layer as they come: counted, hashed and stored on their way to the inflater.

use std::fs::{self, File};
use std::io::{self, BufRead, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;

use crate::digest::Digest;
use crate::error::{Error, Result, at};
use crate::hash::Hasher;
use crate::layer::Job;
use crate::progress::Progress;
use crate::store::file_options;

/// Pieces read from a file.
const FILE_CHUNK: usize = 256 << 10;

/// Where a layer's bytes come from. Called on a thread that may block.
pub(crate) trait ChunkSource {
    /// The next piece; `None` at the end. `offset` says how much of the layer there already is: a source that has
    /// not begun yet may begin there.
    fn next(&mut self, offset: u64) -> Result<Option<Bytes>>;

    /// Whether it can begin anywhere; then what an earlier attempt left is not fetched again.
    fn resumes(&self) -> bool {
        false
    }
}

/// A layer in a file.
#[derive(Debug)]
pub(crate) struct FileChunks<R> {
    input: R,
    path: PathBuf,
}

impl<R: Read> FileChunks<R> {
    /// Of `input`, which messages call `path`.
    pub(crate) fn new(input: R, path: PathBuf) -> Self {
        Self { input, path }
    }
}

impl<R: Read> ChunkSource for FileChunks<R> {
    fn next(&mut self, _offset: u64) -> Result<Option<Bytes>> {
        let mut chunk = vec![0; FILE_CHUNK];
        let len = self.input.read(&mut chunk).map_err(at("read", &self.path))?;
        chunk.truncate(len);
        Ok((len > 0).then(|| chunk.into()))
    }
}

/// Reads a layer and keeps what it reads.
pub(super) struct BlobReader<'a, C> {
    job: &'a Job,
    chunks: C,
    progress: &'a dyn Progress,
    /// The blob in the making.
    partial: Option<Partial>,
    /// What an earlier attempt left, while it is being read.
    earlier: u64,
    current: Bytes,
    /// Bytes of the layer taken in, `current` included.
    received: u64,
    hasher: Hasher,
    ended: bool,
    /// What stopped the stream; reported in place of what the inflater makes of it.
    failure: Option<Error>,
}

/// `tmp/<digest>.partial`.
struct Partial {
    file: File,
    path: PathBuf,
}

impl<'a, C: ChunkSource> BlobReader<'a, C> {
    pub(super) fn new(job: &'a Job, chunks: C, keep: bool, progress: &'a dyn Progress) -> Result<Self> {
        let partial = keep.then(|| Partial::open(job, chunks.resumes())).transpose()?;
        let earlier = partial.as_ref().map_or(Ok(0), |(_, len)| Ok(*len))?;
        progress.layer_started(&job.info.digest, job.info.size);
        Ok(Self {
            job,
            chunks,
            progress,
            partial: partial.map(|(partial, _)| partial),
            earlier,
            current: Bytes::new(),
            received: 0,
            hasher: Hasher::default(),
            ended: false,
            failure: None,
        })
    }

    /// Reads to the end.
    pub(super) fn drain(&mut self) -> Result<()> {
        while self.advance()? {}
        Ok(())
    }

    /// What stopped the stream.
    pub(super) fn failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Takes in the rest, which no inflater asked for, and checks size and digest.
    pub(super) fn verify(&mut self) -> Result<()> {
        self.drain()?;
        let info = &self.job.info;
        if self.received != info.size {
            return Err(self.wrong(format!("it ends after {} of {} bytes", self.received, info.size)));
        }
        let found = std::mem::take(&mut self.hasher).finish();
        if found != info.digest {
            return Err(self.wrong(format!("its content is {found}")));
        }
        Ok(())
    }

    /// Makes the blob visible.
    pub(super) fn commit(self) -> Result<()> {
        let Some(partial) = self.partial else { return Ok(()) };
        partial.file.sync_data().map_err(at("sync", &partial.path))?;
        let path = self.job.shared.paths.blob(&self.job.info.digest);
        fs::rename(&partial.path, &path).map_err(at("rename to", path))
    }

    /// Forgets the blob.
    pub(super) fn discard(self) {
        if let Some(partial) = self.partial {
            // If it stays, the next attempt finds it wrong and starts anew.
            let _ = fs::remove_file(&partial.path);
        }
    }

    /// Brings in the next piece; returns whether there is one.
    fn advance(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let chunk = match self.earlier.checked_sub(self.received).filter(|left| *left > 0) {
            Some(left) => Some(self.reread(left)?),
            None => self.chunks.next(self.received)?,
        };
        let Some(chunk) = chunk else {
            self.ended = true;
            return Ok(false);
        };
        let info = &self.job.info;
        let total = self.received + chunk.len() as u64;
        if total > info.size {
            return Err(self.wrong(format!("it is longer than {} bytes", info.size)));
        }
        if let Some(partial) = self.partial.as_ref().filter(|_| self.received >= self.earlier) {
            partial.file.write_all_at(&chunk, self.received).map_err(at("write", &partial.path))?;
        }
        self.hasher.update(&chunk);
        self.received = total;
        self.progress.layer_advanced(&info.digest, chunk.len() as u64);
        self.current = chunk;
        Ok(true)
    }

    /// A piece of what an earlier attempt left.
    fn reread(&self, left: u64) -> Result<Bytes> {
        let len = usize::try_from(left).unwrap_or(FILE_CHUNK).min(FILE_CHUNK);
        let mut chunk = vec![0; len];
        if let Some(partial) = &self.partial {
            partial.file.read_exact_at(&mut chunk, self.received).map_err(at("read", &partial.path))?;
        }
        Ok(chunk.into())
    }

    fn wrong(&self, reason: String) -> Error {
        Error::Verification { what: "layer", expected: self.job.info.digest, reason }
    }
}

impl Partial {
    /// Opens what there is, or starts anew; and how many bytes of it are good to go on from.
    fn open(job: &Job, resume: bool) -> Result<(Self, u64)> {
        let path = job.shared.paths.partial(&job.info.digest);
        let open = || -> io::Result<(File, u64)> {
            let file = file_options().create(true).truncate(false).read(true).write(true).open(&path)?;
            // A whole one whose verification was interrupted is simply read again.
            let len = file.metadata()?.len();
            let len = if resume && len <= job.info.size { len } else { 0 };
            file.set_len(len)?;
            Ok((file, len))
        };
        let (file, len) = open().map_err(at("open", &path))?;
        Ok((Self { file, path }, len))
    }
}

impl<C: ChunkSource> Read for BlobReader<'_, C> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let len = ready.len().min(out.len());
        out[..len].copy_from_slice(&ready[..len]);
        self.consume(len);
        Ok(len)
    }
}

impl<C: ChunkSource> BufRead for BlobReader<'_, C> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.failure = Some(error);
                    return Err(io::Error::other("the layer's stream broke"));
                }
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, bytes: usize) {
        let _ = self.current.split_to(bytes.min(self.current.len()));
    }
}

/// Names the digest a source belongs to, for tests and logs.
impl<C> std::fmt::Debug for BlobReader<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digest: &Digest = &self.job.info.digest;
        f.debug_struct("BlobReader")
            .field("digest", digest)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}
