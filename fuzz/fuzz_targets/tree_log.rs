//! Tree logs of arbitrary bytes, as a damaged store could hold: refused, or an image that reads back whole.
//!
//! The first byte says whether the rest is a log as it is, or records (each behind its length in one byte) that are
//! framed first; a closing record is added where the second form lacks one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use monocore_erofs::{Error, LogWriter, Summary};
use monocore_fuzz::image::{limits, round_trip};

/// A log's magic number and nothing else.
fn start() -> Vec<u8> {
    LogWriter::new(Vec::new()).and_then(|log| log.finish(Summary::default())).expect("memory")[..8].to_vec()
}

/// The closing record of a log whose layer has so many bytes of data.
fn end(data_bytes: u64) -> Vec<u8> {
    let summary = Summary { data_bytes, ..Summary::default() };
    LogWriter::new(Vec::new()).and_then(|log| log.finish(summary)).expect("memory").split_off(8)
}

fn framed(mut records: &[u8]) -> Vec<u8> {
    let mut log = start();
    while let Some((len, rest)) = records.split_first() {
        let (record, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        log.extend_from_slice(&(record.len() as u32).to_le_bytes());
        log.extend_from_slice(record);
        records = rest;
    }
    log.extend(end(1 << 20));
    log
}

fuzz_target!(|input: &[u8]| {
    let Some((which, rest)) = input.split_first() else { return };
    let log = match which % 2 {
        0 => [start(), rest.to_vec()].concat(),
        _ => framed(rest),
    };
    // The same layer twice: the second finds what the first put there.
    match round_trip(&[&log, &log], Vec::new(), &limits()) {
        Ok(_) | Err(Error::Refused { .. } | Error::Limit { .. } | Error::Corrupt { .. } | Error::Io(_)) => {}
        Err(error) => panic!("{error}"),
    }
});
