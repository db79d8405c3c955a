//! Tree logs that no conversion wrote: each is refused as damaged, whatever it would have made of an image.

#![allow(clippy::unwrap_used, reason = "a test")]

use monocore_erofs::{
    Entry, Error, Extent, FileData, Image, Kind, Limits, LogReader, LogWriter, Metadata, Summary, Tree, Xattr,
};

/// What becomes of an image of one layer with this log.
fn build(entries: &[Entry], summary: Summary) -> Result<(), Error> {
    let mut log = LogWriter::new(Vec::new()).unwrap();
    entries.iter().for_each(|entry| log.entry(entry.clone()).unwrap());
    let raw = log.finish(summary).unwrap();
    let mut tree = Tree::new(Limits::default());
    tree.apply(&mut LogReader::new(&raw[..])?)?;
    Image::new(&tree)?.write([0; 16], std::io::sink())
}

fn one(path: &[u8], kind: Kind) -> Result<(), Error> {
    build(&[Entry { path: path.to_vec(), kind }], Summary { entries: 1, ..Summary::default() })
}

#[track_caller]
fn damaged(result: Result<(), Error>) {
    assert!(matches!(result, Err(Error::Corrupt { .. })), "{result:?}");
}

fn fifo(change: impl FnOnce(&mut Metadata)) -> Kind {
    let mut metadata = Metadata::default();
    change(&mut metadata);
    Kind::Fifo(metadata)
}

#[test]
fn what_is_in_order_is_taken() {
    one(b"a/b", fifo(|_| {})).unwrap();
    one(b"", Kind::Directory(Metadata::default())).unwrap();
}

#[test]
fn paths_that_are_not_clean_are_damage() {
    let long = vec![b'n'; 256];
    let longer = b"d/".repeat(2100);
    for path in [&b"/a"[..], b"a//b", b"a/", b".", b"a/..", b"a\0b", &long, &longer] {
        damaged(one(path, fifo(|_| {})));
        damaged(one(b"a", Kind::HardLink(path.to_vec())));
    }
    for target in [&b""[..], b"a\0b", &[b'x'; 4096]] {
        damaged(one(b"a", Kind::Symlink(Metadata::default(), target.to_vec())));
    }
}

#[test]
fn metadata_the_format_has_no_room_for_is_damage() {
    let xattr = |index, suffix: &[u8], len| Xattr { index, suffix: suffix.to_vec(), value: vec![0; len] };
    damaged(one(b"a", fifo(|metadata| metadata.mode = 0o10000)));
    damaged(one(b"a", fifo(|metadata| metadata.mtime_nsec = 1_000_000_000)));
    for xattrs in [
        vec![xattr(1, &[b'n'; 256], 0)],
        vec![xattr(1, b"a", 65_536)],
        vec![xattr(9, b"a", 0)],
        vec![xattr(1, b"a\0", 0)],
        vec![xattr(1, b"b", 0), xattr(1, b"a", 0)],
        vec![xattr(1, b"a", 0), xattr(1, b"a", 1)],
        (0..5).map(|count| xattr(1, &[b'a' + count], 65_535)).collect(),
    ] {
        damaged(one(b"a", fifo(|metadata| metadata.xattrs = xattrs)));
    }
}

#[test]
fn a_file_with_more_chunks_than_its_content_could_bring_takes_no_memory() {
    let chunked = |size, chunk_bits, extents| FileData::Chunked { size, chunk_bits, extents };
    let extent = |chunk, chunks| Extent { chunk, chunks, block: 0 };
    for data in [
        // Four thousand million addresses of holes.
        chunked((16 << 40) - 4096, 0, vec![]),
        chunked(u64::MAX, 20, vec![]),
        chunked(4096, 21, vec![]),
        chunked(4096, 0, vec![extent(0, 2)]),
        chunked(8192, 0, vec![extent(1, 1), extent(0, 1)]),
        chunked(8192, 0, vec![extent(0, 0)]),
        FileData::Plain { size: u64::MAX, block: 0 },
        FileData::Plain { size: 1, block: 0 },
    ] {
        damaged(one(b"a", Kind::File(Metadata::default(), data)));
    }
}

#[test]
fn a_summary_that_does_not_fit_is_damage() {
    for data_bytes in [1, u64::MAX, 1 << 45] {
        damaged(build(&[], Summary { data_bytes, ..Summary::default() }));
    }
    damaged(build(&[], Summary { entries: 1, ..Summary::default() }));
}
