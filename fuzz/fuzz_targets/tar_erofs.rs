//! Layers, from arbitrary bytes or from entries that make no sense together: refused, or an image that reads back
//! whole and holds nothing that no layer gave it.
//!
//! The first byte says what the rest is: a plain archive, one whose checksums are put right first, the archive of a
//! whole image, or choices of entries for up to four layers.

#![no_main]

use std::io::Cursor;

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use monocore_erofs::{Kind, LogReader, Summary, convert, list_archive};
use monocore_fuzz::archive::{Given, archive};
use monocore_fuzz::image::{limits, round_trip};
use monocore_fuzz::sparse::Sparse;
use tar::Header;

/// The log and data of a layer, if it is taken, with a look at what they say of themselves.
fn layer(tar: &[u8]) -> Option<(Vec<u8>, Sparse)> {
    let converted = convert(tar, Sparse::default(), Vec::new(), &limits()).ok()?;
    let Summary { entries, data_bytes, .. } = converted.summary;
    assert_eq!(converted.data.len_bytes(), data_bytes);
    assert_eq!(data_bytes % 4096, 0);
    let mut log = LogReader::new(&converted.log[..]).expect("a log that was just written");
    let mut found = 0;
    while let Some(entry) = log.next_entry().expect("an entry that was just written") {
        found += 1;
        assert!(entry.path.split(|byte| *byte == b'/').all(|name| !matches!(name, b"." | b"..")));
        if let Kind::File(_, data) = &entry.kind {
            assert!(data.size() <= limits().file_bytes);
        }
    }
    assert_eq!(found, entries);
    assert_eq!(log.summary(), Some(&converted.summary));
    Some((converted.log, converted.data))
}

/// An image of as many of the archives as are taken; what it contains must have been given.
fn image(archives: &[Vec<u8>], given: &Given) {
    let (logs, data): (Vec<_>, Vec<_>) = archives.iter().filter_map(|tar| layer(tar)).unzip();
    let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
    let contents = match round_trip(&logs, data, &limits()) {
        Ok(contents) => contents,
        Err(monocore_erofs::Error::Refused { .. } | monocore_erofs::Error::Limit { .. }) => return,
        Err(error) => panic!("logs that were just written: {error}"),
    };
    if !given.reshaped {
        for content in contents {
            assert!(given.contents.contains(&content), "a file of {} bytes nobody gave", content.len());
        }
    }
}

/// Puts the checksum of every record right that could be a header.
fn mend(raw: &[u8]) -> Vec<u8> {
    let mut mended = raw.to_vec();
    for record in mended.as_chunks_mut::<512>().0 {
        if record[257..262] == *b"ustar" {
            let mut header = Header::new_old();
            header.as_mut_bytes().copy_from_slice(record);
            header.set_cksum();
            record.copy_from_slice(header.as_bytes());
        }
    }
    mended
}

fuzz_target!(|input: &[u8]| {
    let Some((which, rest)) = input.split_first() else { return };
    let unknown = Given { reshaped: true, ..Given::default() };
    match which % 4 {
        0 => image(&[rest.to_vec()], &unknown),
        1 => image(&[mend(rest)], &unknown),
        2 => {
            for raw in [rest.to_vec(), mend(rest)] {
                for file in list_archive(Cursor::new(&raw)).unwrap_or_default() {
                    // It may be cut off, but it does not begin beyond the archive.
                    assert!(file.offset <= raw.len() as u64);
                }
            }
        }
        _ => {
            let (mut u, mut given) = (Unstructured::new(rest), Given::default());
            let layers = u.int_in_range(1..=4).unwrap_or(1);
            let archives: Vec<_> = (0..layers).map_while(|_| archive(&mut u, &mut given).ok()).collect();
            image(&archives, &given);
        }
    }
});
