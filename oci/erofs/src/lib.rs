//! OCI layers as EROFS.
//!
//! Two steps, neither of which unpacks anything onto the host's file system:
//!
//! 1. [`convert()`] reads one layer's tar stream and leaves two files: the *data* (contents of regular files,
//!    each distinct content once, aligned to [`BLOCK_BYTES`]) and the *tree log* (the layer's entries, in order).
//! 2. [`Tree`] replays the logs of an image's layers, with whiteouts, as an unpacking tool would do on disk, and
//!    [`Image`] lays the merged tree out as EROFS metadata whose file data lies in the layers' data, beyond it.
//!
//! What a machine sees is one block device: the metadata, then each layer's data at the next multiple of
//! [`LAYER_ALIGN_BYTES`].
//!
//! Everything read here comes from strangers: every length is checked against [`Limits`] before it is used. The
//! crate has no threads and no network; callers run it on threads that may block.
//!
//! Sources: OCI image spec 1.1 `layer.md`; POSIX.1-2008 `pax`; GNU tar manual, "Storing Sparse Files"; Linux 6.12
//! `fs/erofs/erofs_fs.h`.

mod archive;
mod check;
mod convert;
mod data;
mod entry;
mod error;
mod format;
mod image;
mod limits;
mod log;
mod reader;
mod tree;
mod xattr;

pub use archive::{ArchiveFile, ArchiveLink, list_archive};
pub use convert::{Converted, convert};
pub use data::DataStore;
pub use entry::{Entry, Extent, FileData, Kind, Metadata, Xattr};
pub use error::Error;
pub use format::{BLOCK_BYTES, LAYER_ALIGN_BYTES, align_layer};
pub use image::{Image, ImageSummary};
pub use limits::Limits;
pub use log::{LogReader, LogWriter, Summary};
pub use reader::{Dirent, Inode, ReadAt, Reader};
pub use tree::Tree;
