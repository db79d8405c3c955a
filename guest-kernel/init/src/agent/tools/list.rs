//! The entries of a directory.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Most names that are looked at; a directory may have more than memory has room for.
const MAX_NAMES: usize = 100_000;

/// Writes how many entries `path` has (at most [`MAX_NAMES`]), and the fields of the first `most` by name.
pub(super) fn write(path: &Path, most: u32, mut out: impl Write) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let entries = fs::read_dir(path).map_err(named)?.take(MAX_NAMES);
    let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<OsString>>>()?;
    names.sort_unstable();
    field(&mut out, names.len().to_string().as_bytes())?;
    for name in names.iter().take(usize::try_from(most).unwrap_or(usize::MAX)) {
        let entry = path.join(name);
        // One that is gone meanwhile is not told.
        let Ok(found) = entry.symlink_metadata() else { continue };
        let kind = match found.file_type() {
            kind if kind.is_file() => "f",
            kind if kind.is_dir() => "d",
            kind if kind.is_symlink() => "l",
            _ => "o",
        };
        let link = if kind == "l" { fs::read_link(&entry).unwrap_or_default() } else { "".into() };
        field(&mut out, kind.as_bytes())?;
        field(&mut out, format!("{:o}", found.mode() & 0o7777).as_bytes())?;
        field(&mut out, found.size().to_string().as_bytes())?;
        field(&mut out, found.mtime().to_string().as_bytes())?;
        field(&mut out, name.as_bytes())?;
        field(&mut out, link.as_os_str().as_bytes())?;
    }
    out.flush()
}

fn field(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)?;
    out.write_all(&[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_told_by_name_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b"), "123").unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        std::os::unix::fs::symlink("b", dir.path().join("c")).unwrap();
        let told = |most| {
            let mut out = Vec::new();
            write(dir.path(), most, &mut out).unwrap();
            let fields: Vec<_> = out.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
            assert_eq!(fields.last().unwrap(), "", "every field ends in a NUL");
            let entries = fields[1..fields.len() - 1].chunks(6);
            let entries = entries.map(|entry| format!("{} {} {}", entry[0], entry[4], entry[5]));
            (fields[0].to_string(), entries.collect::<Vec<_>>())
        };
        assert_eq!(told(9), ("3".into(), vec!["d a ".into(), "f b ".into(), "l c b".into()]));
        assert_eq!(told(1), ("3".into(), vec!["d a ".to_owned()]));
        assert!(write(&dir.path().join("nope"), 1, Vec::new()).is_err());
    }
}
