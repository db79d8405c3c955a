//! Sockets of address family AF_VSOCK and a disk's discard, which no safe interface offers.

#![allow(unsafe_code, reason = "vsock addresses and an ioctl")]
#![allow(clippy::cast_possible_truncation, reason = "lengths and families of C structures")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The host's context id.
const HOST_CID: u32 = 2;
/// Any context id, to listen.
const ANY_CID: u32 = u32::MAX;

/// A connection to `port` of the host. Only what all stream sockets can do works on it.
pub(super) fn connect_vsock(port: u32) -> io::Result<UnixStream> {
    let socket = socket()?;
    let address = address(HOST_CID, port);
    // SAFETY: `address` is a whole `sockaddr_vm`, valid for the call.
    check(unsafe {
        libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32)
    })?;
    Ok(socket.into())
}

/// Listens at `port` for the host.
pub(super) fn listen_vsock(port: u32) -> io::Result<OwnedFd> {
    let socket = socket()?;
    let address = address(ANY_CID, port);
    // SAFETY: `address` is a whole `sockaddr_vm`, valid for the call.
    check(unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32)
    })?;
    // SAFETY: only takes numbers.
    check(unsafe { libc::listen(socket.as_raw_fd(), 8) })?;
    Ok(socket)
}

/// The next connection to `listener`. Only what all stream sockets can do works on it.
pub(super) fn accept_vsock(listener: &OwnedFd) -> io::Result<UnixStream> {
    let nobody = std::ptr::null_mut();
    // SAFETY: the address of the other end is not asked for, so no memory is written.
    let fd = check(unsafe {
        libc::accept4(listener.as_raw_fd(), nobody, std::ptr::null_mut(), libc::SOCK_CLOEXEC)
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}

/// Discards `len_bytes` of `disk` from `offset_bytes` on (BLKDISCARD of `linux/fs.h`).
pub(super) fn discard(disk: &File, offset_bytes: u64, len_bytes: u64) -> io::Result<()> {
    const BLKDISCARD: libc::Ioctl = 0x1277;
    let range = [offset_bytes, len_bytes];
    // SAFETY: the request reads two 64-bit numbers, which `range` holds.
    check(unsafe { libc::ioctl(disk.as_raw_fd(), BLKDISCARD, &raw const range) }).map(drop)
}

fn socket() -> io::Result<OwnedFd> {
    // SAFETY: only takes numbers.
    let fd = check(unsafe { libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn address(cid: u32, port: u32) -> libc::sockaddr_vm {
    // SAFETY: plain data whose all-zero value is valid.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    address.svm_cid = cid;
    address.svm_port = port;
    address
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
