//! One request (VIRTIO 1.3 §5.2.6): a header, data, and a status byte the device writes last.

use std::io;

use monocore_virtio::{Buffers, Chain, GuestFault};

use crate::config::{RANGE_SECTORS, RANGES};
use crate::device::Metrics;
use crate::disk::{Disk, SECTOR_BYTES};
use crate::raw::Raw;

const HEADER_BYTES: usize = 16;
const RANGE_BYTES: usize = 16;
const SERIAL_BYTES: usize = 20;

const T_IN: u32 = 0;
const T_OUT: u32 = 1;
const T_FLUSH: u32 = 4;
const T_GET_ID: u32 = 8;
const T_DISCARD: u32 = 11;
const T_WRITE_ZEROES: u32 = 13;

/// In a range of a zeroing: it may become a hole.
const RANGE_UNMAP: u32 = 1;

/// How a request ended, as the driver reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

/// Lists of buffers kept from one request to the next, so that none costs an allocation.
#[derive(Default)]
pub(crate) struct Scratch<'m> {
    data: Buffers<'m>,
    status: Buffers<'m>,
}

/// A disk as requests see it.
pub(crate) struct Target<'d> {
    pub(crate) disk: &'d Disk,
    pub(crate) serial: &'d [u8; SERIAL_BYTES],
    /// Without VIRTIO_BLK_F_FLUSH a write is safe when it is answered (§5.2.6.2).
    pub(crate) write_through: bool,
    pub(crate) metrics: &'d Metrics,
}

impl Target<'_> {
    /// Serves the request in `chain` and returns the count of bytes written into it.
    ///
    /// # Errors
    /// [`GuestFault::Request`] where there is no room for a status.
    pub(crate) fn serve<'m>(
        &self,
        chain: &mut Chain<'m>,
        scratch: &mut Scratch<'m>,
    ) -> Result<u32, GuestFault> {
        let Some(data_bytes) = chain.writable.len_bytes().checked_sub(1) else {
            return Err(GuestFault::Request("no room for a status"));
        };
        let mut header = [0; HEADER_BYTES];
        let whole = chain.readable.copy_to(0, &mut header) == HEADER_BYTES;
        chain.readable.advance(HEADER_BYTES);
        scratch.status.clear();
        scratch.status.append_range(&chain.writable, data_bytes, 1);
        chain.writable.truncate(data_bytes);

        let (status, written) =
            if whole { self.run(header, chain, &mut scratch.data) } else { (Status::IoError, 0) };
        if status != Status::Ok {
            Metrics::add(&self.metrics.errors, 1);
        }
        scratch.status.copy_from(0, &[status as u8]);
        // Chains are shorter than 4 GiB; the count is of what lies before the status, and the status.
        Ok(u32::try_from(written).unwrap_or(0).saturating_add(1))
    }

    fn run<'m>(
        &self,
        header: [u8; HEADER_BYTES],
        chain: &mut Chain<'m>,
        scratch: &mut Buffers<'m>,
    ) -> (Status, usize) {
        let (kind, _reserved, sector) = parse(header);
        let Chain { readable, writable, .. } = chain;
        match kind {
            T_IN => match self.read(sector, writable, scratch) {
                Status::Ok => (Status::Ok, writable.len_bytes()),
                failed => (failed, 0),
            },
            T_GET_ID => (Status::Ok, writable.copy_from(0, self.serial)),
            T_OUT | T_FLUSH | T_DISCARD | T_WRITE_ZEROES => {
                let Some(raw) = self.disk.writable() else { return (Status::IoError, 0) };
                let status = match kind {
                    T_OUT => self.write(raw, sector, readable),
                    T_FLUSH => self.flush(raw),
                    _ => self.ranges(raw, kind == T_DISCARD, readable),
                };
                (status, 0)
            }
            _ => (Status::Unsupported, 0),
        }
    }

    fn read<'m>(&self, sector: u64, data: &Buffers<'m>, scratch: &mut Buffers<'m>) -> Status {
        let Some(offset) = self.range(sector, data.len_bytes() as u64) else { return Status::IoError };
        Metrics::add(&self.metrics.reads, 1);
        Metrics::add(&self.metrics.read_bytes, data.len_bytes() as u64);
        outcome("reading", self.disk.read(offset, data, scratch))
    }

    fn write(&self, raw: &Raw, sector: u64, data: &mut Buffers<'_>) -> Status {
        let Some(offset) = self.range(sector, data.len_bytes() as u64) else { return Status::IoError };
        Metrics::add(&self.metrics.writes, 1);
        Metrics::add(&self.metrics.written_bytes, data.len_bytes() as u64);
        let written = raw.write(offset, data);
        outcome("writing", if self.write_through { written.and_then(|()| raw.flush()) } else { written })
    }

    fn flush(&self, raw: &Raw) -> Status {
        Metrics::add(&self.metrics.flushes, 1);
        outcome("flushing", raw.flush())
    }

    /// Discards or zeroes ranges (§5.2.6, `struct virtio_blk_discard_write_zeroes`). All are checked before
    /// the first is touched.
    fn ranges(&self, raw: &Raw, discard: bool, list: &Buffers<'_>) -> Status {
        let mut bytes = [0; RANGES as usize * RANGE_BYTES];
        let len = list.len_bytes();
        if len == 0 || len > bytes.len() || !len.is_multiple_of(RANGE_BYTES) {
            return Status::IoError;
        }
        list.copy_to(0, &mut bytes);
        let mut ranges = Vec::with_capacity(RANGES as usize);
        for range in bytes[..len].as_chunks::<RANGE_BYTES>().0 {
            let (sector, sectors, flags) = parse_range(*range);
            if flags & !RANGE_UNMAP != 0 || (discard && flags != 0) {
                return Status::Unsupported;
            }
            let len_bytes = u64::from(sectors) * SECTOR_BYTES;
            match self.range(sector, len_bytes) {
                Some(offset) if sectors <= RANGE_SECTORS => ranges.push((offset, len_bytes)),
                _ => return Status::IoError,
            }
        }
        Metrics::add(&self.metrics.discards, 1);
        let change = if discard { Raw::discard } else { Raw::write_zeroes };
        let mut todo = ranges.iter().filter(|(_, len_bytes)| *len_bytes > 0);
        let done = todo.try_for_each(|(offset, len_bytes)| change(raw, *offset, *len_bytes));
        outcome("discarding", done)
    }

    /// The byte offset of `sector` if `len_bytes` from there on are whole sectors of the disk.
    fn range(&self, sector: u64, len_bytes: u64) -> Option<u64> {
        let offset = sector.checked_mul(SECTOR_BYTES)?;
        let end = offset.checked_add(len_bytes)?;
        (len_bytes.is_multiple_of(SECTOR_BYTES) && end <= self.disk.len_bytes()).then_some(offset)
    }
}

fn outcome(what: &'static str, done: io::Result<()>) -> Status {
    match done {
        Ok(()) => Status::Ok,
        Err(error) => {
            tracing::warn!(device = "blk", what, %error, "a request failed on the host");
            Status::IoError
        }
    }
}

/// Type, a reserved word, sector; of a range: see [`parse_range`].
fn parse(header: [u8; 16]) -> (u32, u32, u64) {
    let [a, b, c, d, e, f, g, h, sector @ ..] = header;
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]), u64::from_le_bytes(sector))
}

/// First sector, number of sectors, flags.
fn parse_range(range: [u8; RANGE_BYTES]) -> (u64, u32, u32) {
    let [sector @ .., a, b, c, d, e, f, g, h] = range;
    (u64::from_le_bytes(sector), u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}
