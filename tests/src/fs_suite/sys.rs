//! What the suite needs of the system beyond safe calls: a shared mapping, and a thread that is somebody else.
#![allow(unsafe_code, reason = "a shared mapping of a file")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Maps the first `len` bytes of a file shared and writable for as long as `act` runs, and writes them back.
///
/// # Errors
/// The operating system's.
pub(super) fn with_mapping<T>(
    file: impl AsFd,
    len: usize,
    act: impl FnOnce(&mut [u8]) -> T,
) -> io::Result<T> {
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that is mapped already.
    let start = unsafe {
        mmap(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file, 0)?
    };
    // SAFETY: the mapping is `len` bytes long, readable and writable, and nobody else touches the file meanwhile.
    let value = act(unsafe { std::slice::from_raw_parts_mut(start.cast(), len) });
    // SAFETY: these are the address and length of the mapping made above, and no reference into it is left.
    unsafe {
        msync(start, len, MsyncFlags::SYNC)?;
        munmap(start, len)?;
    }
    Ok(value)
}

/// The path of an open file whatever its name.
pub(super) fn descriptor_path(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// Acts in a thread that is this user with this group and no other.
///
/// # Errors
/// What `act` says; EIO for an error that is none of the operating system's.
pub(super) fn as_user<T: Send>(
    uid: u32,
    gid: u32,
    act: impl FnOnce() -> io::Result<T> + Send,
) -> Result<T, Errno> {
    let become_user = move || -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        Ok(set_thread_res_uid(uid, uid, uid)?)
    };
    let result = std::thread::scope(|scope| {
        let thread = scope.spawn(|| become_user().and_then(|()| act()));
        thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    });
    result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
