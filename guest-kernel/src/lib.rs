//! The guest's kernel and init, as bytes inside the binary.
//!
//! `cargo xtask guest` makes both files; the build script finds them. A build without them works, and says at run time
//! what is missing. The kernel is stored compressed and unpacked once per version into a folder of the caller's.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ruzstd::decoding::StreamingDecoder;

/// The largest kernel that is unpacked, in bytes: a corrupted stream must not fill a disk.
const MAX_KERNEL_BYTES: u64 = 256 << 20;

/// Why there is no kernel or initramfs to be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The binary was built before the guest was.
    #[error("this build holds no guest kernel: run `cargo xtask guest`, then build again")]
    NotEmbedded,
    /// The embedded kernel cannot be decompressed.
    #[error("the embedded guest kernel is damaged: {0}")]
    Damaged(String),
    /// The unpacked kernel cannot be written.
    #[error("cannot write the guest kernel to {path}: {source}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The kernel inside this binary.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    compressed: &'static [u8],
    id: &'static str,
    name: &'static str,
}

/// The kernel inside this binary.
///
/// # Errors
/// [`Error::NotEmbedded`] if the guest had not been built when this binary was.
pub fn kernel() -> Result<Kernel, Error> {
    embedded::KERNEL.ok_or(Error::NotEmbedded)
}

/// The initramfs inside this binary: an uncompressed newc archive that holds `/init`.
///
/// # Errors
/// [`Error::NotEmbedded`] if the guest had not been built when this binary was.
pub fn initramfs() -> Result<&'static [u8], Error> {
    embedded::INITRAMFS.ok_or(Error::NotEmbedded)
}

/// The initramfs's SHA-256, its first 16 hexadecimal digits.
///
/// # Errors
/// [`Error::NotEmbedded`] if the guest had not been built when this binary was.
pub fn initramfs_id() -> Result<&'static str, Error> {
    embedded::INITRAMFS_ID.ok_or(Error::NotEmbedded)
}

impl Kernel {
    /// The compressed image's SHA-256, its first 16 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// The path of the unpacked kernel, `<dir>/<id>/vmlinux` (`Image` on aarch64). It is written if it is not there.
    ///
    /// The file appears whole or not at all, also when several processes do this at once.
    ///
    /// # Errors
    /// If the folder cannot be written, or the embedded bytes are damaged.
    pub fn unpack(&self, dir: &Path) -> Result<PathBuf, Error> {
        let folder = dir.join(self.id);
        let path = folder.join(self.name);
        if path.is_file() {
            return Ok(path);
        }
        let failed = |path: &Path, source| Error::Write { path: path.to_path_buf(), source };
        fs::create_dir_all(&folder).map_err(|source| failed(&folder, source))?;
        let part = folder.join(format!("{}.{}", self.name, std::process::id()));
        let written = File::create(&part)
            .map_err(|source| failed(&part, source))
            .and_then(|file| self.decompress(file, &part))
            .and_then(|()| fs::rename(&part, &path).map_err(|source| failed(&path, source)));
        if written.is_err() {
            // What is left of a failed attempt; the attempt's own error is the one to report.
            let _ = fs::remove_file(&part);
        }
        written.map(|()| path)
    }

    fn decompress(&self, mut file: File, path: &Path) -> Result<(), Error> {
        let damaged = |error: &dyn std::fmt::Display| Error::Damaged(error.to_string());
        let decoder = StreamingDecoder::new(self.compressed).map_err(|error| damaged(&error))?;
        let mut limited = io::Read::take(decoder, MAX_KERNEL_BYTES);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = io::Read::read(&mut limited, &mut buffer).map_err(|error| damaged(&error))?;
            if count == 0 {
                break;
            }
            let written = file.write_all(&buffer[..count]);
            written.map_err(|source| Error::Write { path: path.to_path_buf(), source })?;
        }
        file.sync_all().map_err(|source| Error::Write { path: path.to_path_buf(), source })
    }
}

#[cfg(guest_present)]
mod embedded {
    use super::Kernel;

    pub(crate) static KERNEL: Option<Kernel> = Some(Kernel {
        compressed: include_bytes!(env!("MONOCORE_GUEST_KERNEL")),
        id: env!("MONOCORE_GUEST_KERNEL_ID"),
        name: env!("MONOCORE_GUEST_KERNEL_NAME"),
    });
    pub(crate) static INITRAMFS: Option<&[u8]> = Some(include_bytes!(env!("MONOCORE_GUEST_INITRAMFS")));
    pub(crate) static INITRAMFS_ID: Option<&str> = Some(env!("MONOCORE_GUEST_INITRAMFS_ID"));
}

#[cfg(not(guest_present))]
mod embedded {
    use super::Kernel;

    pub(crate) static KERNEL: Option<Kernel> = None;
    pub(crate) static INITRAMFS: Option<&[u8]> = None;
    pub(crate) static INITRAMFS_ID: Option<&str> = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "guest\n", compressed by zstd.
    const SMALL: &[u8] = b"\x28\xb5\x2f\xfd\x00\x68\x31\x00\x00guest\n";

    #[test]
    fn a_kernel_is_unpacked_once() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = Kernel { compressed: SMALL, id: "0123", name: "vmlinux" };
        let path = kernel.unpack(dir.path()).unwrap();
        assert_eq!(path, dir.path().join("0123/vmlinux"));
        assert_eq!(fs::read(&path).unwrap(), b"guest\n");
        let damaged = Kernel { compressed: &SMALL[..9], ..kernel };
        assert_eq!(damaged.unpack(dir.path()).unwrap(), path);
    }

    #[test]
    fn a_damaged_kernel_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = Kernel { compressed: &SMALL[..9], id: "0123", name: "vmlinux" };
        assert!(matches!(kernel.unpack(dir.path()), Err(Error::Damaged(_))));
        assert_eq!(fs::read_dir(dir.path().join("0123")).unwrap().count(), 0);
    }
}
