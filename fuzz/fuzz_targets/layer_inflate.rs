//! Compressed layers of arbitrary bytes: whatever they inflate to, in whatever pieces they come, is the same.
//!
//! The first byte says which format's magic number stands before the rest and how long the pieces are.

#![no_main]

use std::io::{BufReader, Read};

use libfuzzer_sys::fuzz_target;
use monocore_oci::fuzzing::inflate;

/// Most bytes read of one stream: bombs are stopped by whoever reads.
const MOST: u64 = 4 << 20;

fn read(raw: &[u8], piece: usize) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let Ok(stream) = inflate(BufReader::with_capacity(piece, raw)) else { return (out, false) };
    let whole = stream.take(MOST).read_to_end(&mut out).is_ok();
    (out, whole)
}

fuzz_target!(|input: &[u8]| {
    let Some((which, rest)) = input.split_first() else { return };
    let magic: &[u8] = match which % 4 {
        0 => &[],
        1 => &[0x1f, 0x8b, 8],
        2 => &[0x28, 0xb5, 0x2f, 0xfd],
        _ => &[0x50, 0x2a, 0x4d, 0x18],
    };
    let raw = [magic, rest].concat();
    let (whole, done) = read(&raw, raw.len().max(4));
    let (pieces, done_in_pieces) = read(&raw, 4 + usize::from(which >> 2));
    assert_eq!(done, done_in_pieces);
    // Where a stream breaks, pieces decide how much came before.
    let common = whole.len().min(pieces.len());
    assert!(whole[..common] == pieces[..common]);
    assert!(!done || whole.len() == pieces.len());
});
