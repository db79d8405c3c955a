//! Decompression, told by the stream's own first bytes (media types are often wrong).

use std::io::{self, BufRead, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Windows up to this size are what compressors make unless told otherwise.
const USUAL_WINDOW: u64 = 8 << 20;
/// The largest window taken (zstd's own limit without `--long`).
const LARGEST_WINDOW: u64 = 128 << 20;
/// Held while a larger window than usual is in use, so that layers in parallel do not each have one.
static LARGE_WINDOW: Mutex<()> = Mutex::new(());

/// An uncompressed stream.
pub(crate) enum Inflate<R: BufRead> {
    /// It was not compressed.
    Plain(R),
    /// gzip, any number of members.
    Gzip(Box<MultiGzDecoder<R>>),
    /// zstd, any number of frames.
    Zstd(Box<Zstd<R>>),
}

impl<R: BufRead> Inflate<R> {
    pub(crate) fn new(mut input: R) -> io::Result<Self> {
        // A piece shorter than a magic number is no layer in any format that is known.
        Ok(match input.fill_buf()? {
            [0x1f, 0x8b, ..] => Self::Gzip(Box::new(MultiGzDecoder::new(input))),
            start if is_zstd(start) => Self::Zstd(Box::new(Zstd::new(input))),
            _ => Self::Plain(input),
        })
    }
}

impl<R: BufRead> Read for Inflate<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(out),
            Self::Gzip(input) => input.read(out),
            Self::Zstd(input) => input.read(out),
        }
    }
}

fn is_zstd(start: &[u8]) -> bool {
    // RFC 8878 §3.1: a frame, or one to be skipped.
    matches!(start, [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// Frames of zstd one after the other.
pub(crate) struct Zstd<R> {
    input: R,
    decoder: FrameDecoder,
    in_frame: bool,
    large: Option<MutexGuard<'static, ()>>,
}

impl<R: BufRead> Zstd<R> {
    fn new(input: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(USUAL_WINDOW);
        Self { input, decoder, in_frame: false, large: None }
    }

    /// Starts the next frame; returns whether there is one.
    fn next_frame(&mut self) -> io::Result<bool> {
        if self.input.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let mut header = Header::default();
        header.read(&mut self.input)?;
        if let Some(len) = header.skippable() {
            let skipped = io::copy(&mut self.input.by_ref().take(len), &mut io::sink())?;
            return if skipped == len { Ok(true) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        if header.window_bytes() > USUAL_WINDOW && self.large.is_none() {
            self.large = Some(LARGE_WINDOW.lock().unwrap_or_else(PoisonError::into_inner));
            self.decoder.set_max_window_size(LARGEST_WINDOW);
        }
        let mut frame = header.bytes().chain(&mut self.input);
        self.decoder.reset(&mut frame).map_err(io::Error::other)?;
        self.in_frame = true;
        Ok(true)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let len = if self.in_frame { self.decoder.read(out)? } else { 0 };
            if len > 0 || out.is_empty() {
                return Ok(len);
            }
            if self.in_frame && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.input, one).map_err(io::Error::other)?;
                continue;
            }
            if self.in_frame {
                let promised = self.decoder.get_checksum_from_data();
                if promised.is_some() && promised != self.decoder.get_calculated_checksum() {
                    return Err(io::Error::other("zstd: wrong checksum"));
                }
                self.in_frame = false;
            }
            if !self.next_frame()? {
                return Ok(0);
            }
        }
    }
}

/// The start of a frame, read ahead to know its window (RFC 8878 §3.1.1.1, §3.1.2).
#[derive(Default)]
struct Header {
    bytes: [u8; 14],
    len: usize,
}

impl Header {
    /// Reads magic number and, of a frame, descriptor, window, dictionary and content size: at most 18 bytes, of
    /// which those up to the window and a short content size matter.
    fn read(&mut self, input: &mut impl Read) -> io::Result<()> {
        self.more(input, 4)?;
        if !is_zstd(self.bytes()) {
            return Err(io::Error::other("zstd: trailing bytes that are no frame"));
        }
        if self.bytes[0] != 0x28 {
            return self.more(input, 4);
        }
        self.more(input, 1)?;
        let descriptor = self.bytes[4];
        let single_segment = descriptor & 0x20 != 0;
        let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let content = match (descriptor >> 6, single_segment) {
            (0, false) => 0,
            (0, true) => 1,
            (1, _) => 2,
            (2, _) => 4,
            _ => 8,
        };
        if !single_segment {
            return self.more(input, 1);
        }
        if dictionary > 0 {
            return Err(io::Error::other("zstd: frame wants a dictionary"));
        }
        self.more(input, content)
    }

    fn more(&mut self, input: &mut impl Read, count: usize) -> io::Result<()> {
        let end = self.len + count;
        let room = self.bytes.get_mut(self.len..end).ok_or(io::ErrorKind::InvalidData)?;
        input.read_exact(room)?;
        self.len = end;
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Length of a frame to be skipped.
    fn skippable(&self) -> Option<u64> {
        match self.bytes() {
            [0x28, ..] => None,
            [_, _, _, _, len @ ..] => Some(len.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))),
            _ => None,
        }
    }

    fn window_bytes(&self) -> u64 {
        let descriptor = self.bytes[4];
        if descriptor & 0x20 == 0 {
            let window = u64::from(self.bytes[5]);
            let base = 1u64 << (10 + (window >> 3));
            return base + base / 8 * (window & 7);
        }
        let content = self.bytes().get(5..).unwrap_or_default();
        let size = content.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        if content.len() == 2 { size + 256 } else { size }
    }
}
