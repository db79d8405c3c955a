//! Standard streams: a jailed process writes to them and reads nothing.
//!
//! A terminal is usually open for reading and writing, all three streams the same. Whoever takes the process over could read
//! what the user types, passwords included.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, open};
use rustix::io::Errno;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::JailError;

/// Makes standard input empty, and standard output and error write-only.
///
/// # Errors
/// [`JailError::Streams`].
pub fn restrict_streams() -> Result<(), JailError> {
    restrict().map_err(|errno| JailError::Streams(io::Error::from(errno)))
}

fn restrict() -> Result<(), Errno> {
    dup2_stdin(nowhere(OFlags::RDONLY)?)?;
    if let Some(output) = write_only(io::stdout(), c"/proc/self/fd/1")? {
        dup2_stdout(output)?;
    }
    if let Some(errors) = write_only(io::stderr(), c"/proc/self/fd/2")? {
        dup2_stderr(errors)?;
    }
    Ok(())
}

/// What replaces `stream`, which is `path`; nothing if it cannot be read anyway.
fn write_only(stream: impl AsFd, path: &std::ffi::CStr) -> Result<Option<OwnedFd>, Errno> {
    if fcntl_getfl(&stream)? & OFlags::ACCMODE == OFlags::WRONLY {
        return Ok(None);
    }
    // A socket cannot be opened again. The one a service manager gives has its way back shut.
    if FileType::from_raw_mode(fstat(&stream)?.st_mode) == FileType::Socket {
        return Ok(None);
    }
    // A terminal of another user's cannot be opened either: rather silence than a way to read it.
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOCTTY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).or_else(|_| nowhere(OFlags::WRONLY)).map(Some)
}

fn nowhere(access: OFlags) -> Result<OwnedFd, Errno> {
    open(c"/dev/null", access | OFlags::CLOEXEC, Mode::empty())
}
