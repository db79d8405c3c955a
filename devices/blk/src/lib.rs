//! virtio-blk (VIRTIO 1.3 §5.2): a disk made of pieces of files ([`Concat`]), or one sparse raw file ([`Raw`]).
//!
//! One worker thread serves one queue, a request after the other, and moves bytes straight between files and
//! guest buffers. The driver is not trusted: every range is checked against the disk before a file is
//! touched, and a read-only disk refuses writes here, whatever the driver thinks of it.
//!
//! System calls of the worker: `preadv`, `pwritev`, `fdatasync`, `fallocate`, `epoll_create1`, `epoll_ctl`,
//! `epoll_wait`, `write` (eventfd).

mod concat;
mod config;
mod device;
mod disk;
mod raw;
mod request;
mod service;
#[cfg(test)]
mod tests;

pub use concat::{Concat, Part};
pub use device::{Block, Metrics};
pub use disk::{Disk, DiskError, SECTOR_BYTES};
pub use raw::Raw;
