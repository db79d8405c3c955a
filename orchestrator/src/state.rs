//! Writing state files whole: a reader, or a machine that lost power, finds the old file or the new one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::Error;
use crate::home::make_private_dir;

/// Writes `path`, making its directory if need be: temporary file, fsync, rename, fsync of the directory.
///
/// # Errors
/// Any step failed; then the old file is untouched and the temporary one gone.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("."));
    make_private_dir(dir)?;
    // Two processes may write the same file at the same time, each through a name of its own.
    let temporary = dir.join(format!(".new-{}-{:?}", std::process::id(), std::thread::current().id()));
    let written = write_synced(&temporary, content).and_then(|()| std::fs::rename(&temporary, path));
    if let Err(source) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(Error::file("write", path)(source));
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::file("sync", dir))
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// The system's, or the file is longer.
pub(crate) fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {most} bytes")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_a_file_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/state.json");
        write_whole(&path, b"old").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("target");
        // A directory with something in it cannot be renamed over.
        std::fs::create_dir_all(path.join("full")).unwrap();
        assert!(write_whole(&path, b"new").is_err());
        assert!(path.join("full").exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
