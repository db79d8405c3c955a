//! A file in memory whose holes take no room.

use std::collections::HashMap;
use std::io;

use monocore_erofs::{DataStore, ReadAt};

const PAGE: u64 = 4096;

/// Pages that were written, and how long the file is.
#[derive(Debug, Default)]
pub struct Sparse {
    pages: HashMap<u64, Box<[u8; PAGE as usize]>>,
    len: u64,
}

impl Sparse {
    /// Length in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.len
    }

    /// The page at `offset`, where in it that is, and how many of `bytes` end up there.
    fn place(offset: u64, bytes: usize) -> (u64, usize, usize) {
        let within = (offset % PAGE) as usize;
        (offset / PAGE, within, bytes.min(PAGE as usize - within))
    }
}

impl DataStore for Sparse {
    fn write_at(&mut self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        self.len = self.len.max(offset + bytes.len() as u64);
        while !bytes.is_empty() {
            let (page, within, len) = Self::place(offset, bytes.len());
            let page = self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE as usize]));
            page[within..within + len].copy_from_slice(&bytes[..len]);
            bytes = &bytes[len..];
            offset += len as u64;
        }
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        ReadAt::read_at(&self, bytes, offset)
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        self.pages.retain(|page, _| page * PAGE < bytes);
        if let Some(last) = self.pages.get_mut(&(bytes / PAGE)) {
            last[(bytes % PAGE) as usize..].fill(0);
        }
        self.len = bytes;
        Ok(())
    }
}

impl ReadAt for &Sparse {
    fn read_at(&self, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !bytes.is_empty() {
            let (page, within, len) = Sparse::place(offset, bytes.len());
            let (now, rest) = bytes.split_at_mut(len);
            match self.pages.get(&page) {
                Some(page) => now.copy_from_slice(&page[within..within + len]),
                None => now.fill(0),
            }
            bytes = rest;
            offset += len as u64;
        }
        Ok(())
    }
}
