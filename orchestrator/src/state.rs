//! Writing state files whole: a reader, or a machine that lost power, finds the old file or the new one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::Error;
use crate::home::make_private_dir;

/// What the names of files begin with that are not whole yet.
const NEW: &str = ".new-";
/// What the names of directories begin with that are being removed.
const GONE: &str = ".gone-";

/// Writes `path`, making its directory if need be: temporary file, fsync, rename, fsync of the directory.
///
/// # Errors
/// Any step failed; then the old file is untouched and the temporary one gone.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("."));
    make_private_dir(dir)?;
    // Two processes may write the same file at the same time, each through a name of its own.
    let temporary = dir.join(format!("{NEW}{}-{:?}", std::process::id(), std::thread::current().id()));
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

/// Removes a directory, which is there as a whole or not at all: it gets another name first. One that is not there counts as
/// removed.
///
/// # Errors
/// Something of it cannot be removed; it is gone nevertheless.
pub(crate) fn remove_whole(dir: &Path) -> Result<(), Error> {
    let name = format!("{GONE}{}-{:?}", std::process::id(), std::thread::current().id());
    let gone = dir.with_file_name(name);
    match std::fs::rename(dir, &gone) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::file("remove", dir)(error)),
        Ok(()) => std::fs::remove_dir_all(&gone).map_err(Error::file("remove", dir)),
    }
}

/// Removes what processes that were killed left in `dir`: files that are not whole, directories that were being removed.
/// Nobody else may write there meanwhile.
pub(crate) fn sweep(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let begins = |with: &str| name.to_string_lossy().starts_with(with);
        let removed = match (begins(GONE), begins(NEW)) {
            (true, _) => std::fs::remove_dir_all(&path),
            (_, true) => std::fs::remove_file(&path),
            _ => Ok(()),
        };
        if let Err(error) = removed {
            tracing::warn!(path = %path.display(), %error, "the rest of what a killed process left stays");
        }
    }
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
    fn what_is_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in [".gone-1-2/_data", "kept/_data"] {
            std::fs::create_dir_all(at(path)).unwrap();
        }
        std::fs::write(at(".new-1-2"), "").unwrap();
        std::fs::write(at("new"), "").unwrap();
        sweep(dir.path());
        let mut left: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["kept", "new"]);
        remove_whole(&at("kept")).unwrap();
        remove_whole(&at("kept")).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        sweep(&at("nowhere"));
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
