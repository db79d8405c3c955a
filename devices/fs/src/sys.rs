//! The system call that safe wrappers do not offer: a umask of the thread's own.
#![allow(unsafe_code, reason = "splits off what the threads of a process share")]

use std::io;

use rustix::fs::Mode;
use rustix::thread::UnshareFlags;

/// Gives the calling thread its own umask and sets it to 0: the guest has applied its own already.
///
/// # Errors
/// The operating system's.
pub(crate) fn clear_own_umask() -> io::Result<()> {
    // SAFETY: only the umask, root and current directory of this thread are split off; no descriptor is.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS)? };
    rustix::process::umask(Mode::empty());
    Ok(())
}
