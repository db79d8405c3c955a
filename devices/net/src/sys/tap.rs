//! The requests of `/dev/net/tun`.
//!
//! Source: Linux Documentation/networking/tuntap.rst; include/uapi/linux/if_tun.h.

#![allow(unsafe_code, reason = "ioctls of the tun driver")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
const TUNGETIFF: libc::Ioctl = 0x8004_54d2;
const TUNSETVNETHDRSZ: libc::Ioctl = 0x4004_54d8;
/// The one request that a running device makes.
pub(crate) const TUNSETOFFLOAD: libc::Ioctl = 0x4004_54d0;

const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;

/// `struct ifreq` with flags.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: u16,
    rest: [u8; 22],
}

impl Request {
    fn new(name: &str, flags: u16) -> Option<Self> {
        let mut bytes = [0; libc::IFNAMSIZ];
        // Its last byte stays zero.
        bytes
            .get_mut(..name.len())
            .filter(|room| room.len() < libc::IFNAMSIZ)?
            .copy_from_slice(name.as_bytes());
        Some(Self { name: bytes, flags, rest: [0; 22] })
    }
}

/// Makes `file`, an open `/dev/net/tun`, the other end of the tap interface `name`.
pub(crate) fn attach(file: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let mut request =
        Request::new(name, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR).ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which `request` is.
    check(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) })
}

/// Whether `file` is the other end of a tap interface whose frames have a virtio header.
pub(crate) fn is_tap_with_header(file: BorrowedFd<'_>) -> io::Result<bool> {
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags: 0, rest: [0; 22] };
    // SAFETY: TUNGETIFF writes one `struct ifreq`, which `request` is.
    check(unsafe { libc::ioctl(file.as_raw_fd(), TUNGETIFF, &raw mut request) })?;
    let wanted = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    Ok(request.flags & wanted == wanted)
}

/// Sets the length of the virtio header before every frame, bytes.
pub(crate) fn set_header_bytes(file: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: TUNSETVNETHDRSZ reads one int.
    check(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETVNETHDRSZ, &raw const bytes) })
}

/// Says which unfinished frames the guest takes (`TUN_F_…`).
pub(crate) fn set_offloads(file: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes a number.
    check(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOFFLOAD, libc::c_ulong::from(flags)) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
