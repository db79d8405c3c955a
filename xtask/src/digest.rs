//! SHA-256 of files, and the short keys caches are named by.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// The SHA-256 of a file, in hexadecimal.
pub(crate) fn sha256_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut HashWriter(&mut hasher))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hex(&hasher.finalize()))
}

/// Checks a file against its pin.
///
/// # Errors
/// If the digest is another one; the error shows both.
pub(crate) fn verify(path: &Path, expected: &str) -> Result<()> {
    let found = sha256_file(path)?;
    if found != expected {
        bail!("{} has sha256 {found}, but {expected} is expected", path.display());
    }
    Ok(())
}

/// A cache key being put together: everything a cached result depends on goes in.
pub(crate) struct Key(Sha256);

impl Key {
    /// A key of one kind of result; `recipe` changes when the way of making it does.
    pub(crate) fn new(recipe: &str) -> Self {
        Self(Sha256::new()).with(recipe.as_bytes())
    }

    /// Adds a piece, delimited by its length.
    pub(crate) fn with(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a file's name and content.
    pub(crate) fn with_file(self, path: &Path) -> Result<Self> {
        let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        Ok(self.with(name).with(&content))
    }

    /// The key: 16 hexadecimal digits.
    pub(crate) fn finish(self) -> String {
        hex(&self.0.finalize())[..16].to_owned()
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_where_its_pieces_end() {
        let one = Key::new("r").with(b"ab").with(b"c").finish();
        let other = Key::new("r").with(b"a").with(b"bc").finish();
        assert_ne!(one, other);
        assert_eq!(one.len(), 16);
    }

    #[test]
    fn a_file_is_held_against_its_pin() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"abc").unwrap();
        let pin = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify(&path, pin).unwrap();
        assert!(verify(&path, &pin.replace('b', "c")).is_err());
    }
}
