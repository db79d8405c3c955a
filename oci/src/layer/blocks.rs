//! The uncompressed stream in blocks that two threads read: one converts, one hashes.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use monocore_erofs::Error;

use crate::digest::Digest;
use crate::hash::Hasher;

/// Size of a block: large enough that handing it over costs nothing, small enough to stay in a cache.
const BLOCK: usize = 256 << 10;
/// Blocks in flight.
const BLOCKS: usize = 4;

/// Runs `work` on the stream in blocks and returns the digest of all of it.
///
/// `work` must read to the end.
pub(super) fn hashed<R: Read>(
    input: R,
    work: impl FnOnce(&mut Blocks<'_, R>) -> Result<(), Error>,
) -> Result<Digest, Error> {
    let (to_hash, hashing) = sync_channel::<Arc<Vec<u8>>>(BLOCKS);
    let (done, used) = sync_channel::<Arc<Vec<u8>>>(BLOCKS);
    std::thread::scope(|scope| {
        let hasher =
            std::thread::Builder::new().name("layer-hash".into()).spawn_scoped(scope, move || {
                let mut hasher = Hasher::default();
                for block in hashing {
                    hasher.update(&block);
                    // Full or closed: the block is simply freed.
                    let _ = done.try_send(block);
                }
                hasher.finish()
            })?;
        let mut blocks = Blocks { input, to_hash: &to_hash, used, current: Arc::default(), position: 0 };
        let result = work(&mut blocks);
        drop(blocks);
        drop(to_hash);
        let digest = hasher.join().map_err(|_| io::Error::other("hashing failed"))?;
        result.map(|()| digest)
    })
}

/// The stream in blocks.
pub(super) struct Blocks<'a, R> {
    input: R,
    to_hash: &'a SyncSender<Arc<Vec<u8>>>,
    used: Receiver<Arc<Vec<u8>>>,
    current: Arc<Vec<u8>>,
    position: usize,
}

impl<R: Read> Blocks<'_, R> {
    fn next_block(&mut self) -> io::Result<()> {
        // Our own share of the block goes first, so that whoever hashes it last gives it back alone.
        self.current = Arc::default();
        let used = self.used.try_iter().find_map(|block| Arc::try_unwrap(block).ok());
        let mut block = used.unwrap_or_default();
        block.resize(BLOCK, 0);
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..])? {
                0 => break,
                len => filled += len,
            }
        }
        block.truncate(filled);
        self.position = 0;
        if !block.is_empty() {
            self.current = Arc::new(block);
            let gone = |_| io::Error::other("hashing ended");
            self.to_hash.send(Arc::clone(&self.current)).map_err(gone)?;
        }
        Ok(())
    }
}

impl<R: Read> BufRead for Blocks<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.current.len() {
            self.next_block()?;
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, bytes: usize) {
        self.position = (self.position + bytes).min(self.current.len());
    }
}

impl<R: Read> Read for Blocks<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let len = ready.len().min(out.len());
        out[..len].copy_from_slice(&ready[..len]);
        self.consume(len);
        Ok(len)
    }
}
