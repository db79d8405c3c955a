//! Opening a file that the user names and lines are appended to.
//!
//! The file may lie in a directory that a guest writes to, so an earlier guest may have put something else in its place. A symbolic
//! link is not followed, and opening never waits.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens `path` for appending, readable if `read`; makes it for this user alone if it is not there. The path must lead to a
/// regular file, a FIFO that somebody reads, or a character device.
///
/// # Errors
/// The operating system's, and `InvalidInput` for everything else that a path can lead to.
pub(crate) fn open(path: &Path, read: bool) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(read).append(true).create(true).mode(0o600);
    options.custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
    let file = options.open(path).map_err(|error| match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::LOOP) => refused("a symbolic link is not followed: name the file itself"),
        Some(rustix::io::Errno::NXIO) => refused("a FIFO needs a reader"),
        _ => error,
    })?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_fifo() || kind.is_char_device() {
        return Ok(file);
    }
    Err(refused("not a regular file, a FIFO or a character device"))
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::{MetadataExt, symlink};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    #[test]
    fn what_an_earlier_guest_put_there_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (secret, link) = (dir.path().join("secret"), dir.path().join("log"));
        std::fs::write(&secret, "mine").unwrap();
        for target in [secret.as_path(), &dir.path().join("not-there"), Path::new("log")] {
            symlink(target, &link).unwrap();
            let error = open(&link, false).unwrap_err().to_string();
            assert!(error.contains("symbolic link"), "{error}");
            std::fs::remove_file(&link).unwrap();
        }
        assert!(!dir.path().join("not-there").exists());
        assert_eq!(std::fs::read(secret).unwrap(), b"mine");
        assert!(open(dir.path(), false).is_err());
    }

    #[test]
    fn files_fifos_and_character_devices_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        open(&path, false).unwrap().write_all(b"one\n").unwrap();
        open(&path, true).unwrap().write_all(b"two\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        open(Path::new("/dev/null"), false).unwrap();

        let fifo = dir.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        // Without a reader it would wait.
        assert!(open(&fifo, false).unwrap_err().to_string().contains("reader"));
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let mut reader = OpenOptions::new().read(true).custom_flags(nonblocking).open(&fifo).unwrap();
        open(&fifo, false).unwrap().write_all(b"x").unwrap();
        assert_eq!(reader.read(&mut [0; 2]).unwrap(), 1);
    }
}
