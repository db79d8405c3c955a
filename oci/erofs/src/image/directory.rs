//! The content of a directory: blocks of sorted entries, each block's names behind its entries.

use crate::format::{BLOCK_BYTES, BLOCK_LEN, DIRENT_BYTES};

/// A directory's entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'n> {
    pub(super) name: &'n [u8],
    pub(super) nid: u64,
    pub(super) file_type: u8,
}

/// Length in bytes of the directory that [`encode`] makes of such names, which must be sorted.
pub(super) fn encoded_bytes<'n>(names: impl Iterator<Item = &'n [u8]>) -> u64 {
    let (mut full, mut used) = (0, 0);
    for name in names {
        let bytes = (DIRENT_BYTES + name.len()) as u64;
        if used + bytes > BLOCK_BYTES {
            full += BLOCK_BYTES;
            used = 0;
        }
        used += bytes;
    }
    full + used
}

/// Appends a directory of sorted entries, its last block cut where its last name ends.
pub(super) fn encode(entries: &[Entry<'_>], out: &mut Vec<u8>) {
    let start = out.len();
    let mut rest = entries;
    while !rest.is_empty() {
        let mut used = 0;
        let fits = |entry: &&Entry<'_>| {
            used += DIRENT_BYTES + entry.name.len();
            used as u64 <= BLOCK_BYTES
        };
        let count = rest.iter().take_while(fits).count();
        let (block, after) = rest.split_at(count);
        // Only what stands before this block is padded.
        out.resize(start + (out.len() - start).next_multiple_of(BLOCK_LEN), 0);
        encode_block(block, out);
        rest = after;
    }
}

fn encode_block(entries: &[Entry<'_>], out: &mut Vec<u8>) {
    let mut name_offset = entries.len() * DIRENT_BYTES;
    for entry in entries {
        out.extend_from_slice(&entry.nid.to_le_bytes());
        // Within a block: below 4096.
        out.extend_from_slice(&u16::try_from(name_offset).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(&[entry.file_type, 0]);
        name_offset += entry.name.len();
    }
    for entry in entries {
        out.extend_from_slice(entry.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promised_length_is_the_encoded_one() {
        for count in [1, 2, 70, 71, 300, 1000] {
            for len in [1, 46, 255] {
                let name = vec![b'n'; len];
                let entries = vec![Entry { name: &name, nid: 1, file_type: 1 }; count];
                let mut out = Vec::new();
                encode(&entries, &mut out);
                assert_eq!(out.len() as u64, encoded_bytes(entries.iter().map(|entry| entry.name)));
            }
        }
    }
}
