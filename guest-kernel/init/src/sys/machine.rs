//! The machine: its sockets to the host, its devices, its random numbers.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::last_error;

/// The host's context id (VIRTIO 1.3 §5.10.4).
const HOST_CID: u32 = 2;
/// `SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD` of `linux/vm_sockets.h`, a `timeval` where a `long` has 64 bits.
const CONNECT_TIMEOUT: libc::c_int = 6;
/// How long the host may take to accept. The kernel's own two seconds are too short where this host is busy: the guest's
/// first connection then fails, and so the guest; or a command's output is lost.
const CONNECT_SECONDS: libc::time_t = 120;

#[expect(clippy::cast_possible_truncation, reason = "small numbers, in the types their structures want")]
mod narrow {
    pub(super) const VSOCK: libc::sa_family_t = libc::AF_VSOCK as libc::sa_family_t;
    pub(super) const ADDRESS_BYTES: libc::socklen_t = size_of::<libc::sockaddr_vm>() as libc::socklen_t;
    pub(super) const TIMEVAL_BYTES: libc::socklen_t = size_of::<libc::timeval>() as libc::socklen_t;
    pub(super) const UP: libc::c_short = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
}

/// Starts connecting to a vsock port of the host; the socket never blocks and is writable once connected.
pub(crate) fn connect_vsock(port: u32) -> Result<OwnedFd, Errno> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_VSOCK, kind, 0) };
    if fd < 0 {
        return Err(last_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let patience = libc::timeval { tv_sec: CONNECT_SECONDS, tv_usec: 0 };
    // SAFETY: the option's value is valid for its own size.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::AF_VSOCK,
            CONNECT_TIMEOUT,
            (&raw const patience).cast(),
            narrow::TIMEVAL_BYTES,
        )
    };
    if set != 0 {
        return Err(last_error());
    }
    let address = libc::sockaddr_vm {
        svm_family: narrow::VSOCK,
        svm_reserved1: 0,
        svm_port: port,
        svm_cid: HOST_CID,
        svm_zero: [0; 4],
    };
    // SAFETY: the address is valid for its own size.
    match unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), narrow::ADDRESS_BYTES) } {
        0 => Ok(socket),
        _ => match last_error() {
            Errno::INPROGRESS => Ok(socket),
            error => Err(error),
        },
    }
}

/// Brings the loopback interface up.
pub(crate) fn raise_loopback() -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(last_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zeroes are a valid request: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = narrow::UP;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which `request` is.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

/// Most bytes [`add_entropy`] takes.
const MAX_ENTROPY_BYTES: usize = 512;

/// `struct rand_pool_info` of `linux/random.h`, with room for the bytes.
#[repr(C)]
struct RandomPool {
    entropy_bits: libc::c_int,
    length_bytes: libc::c_int,
    bytes: [u8; MAX_ENTROPY_BYTES],
}

/// `_IOW('R', 0x03, int[2])`
const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;

/// Feeds at most 512 bytes to the kernel's random number generator and credits them.
pub(crate) fn add_entropy(entropy: &[u8]) -> Result<(), Errno> {
    let entropy = &entropy[..entropy.len().min(MAX_ENTROPY_BYTES)];
    let length = libc::c_int::try_from(entropy.len()).map_err(|_| Errno::INVAL)?;
    let mut pool =
        RandomPool { entropy_bits: length * 8, length_bytes: length, bytes: [0; MAX_ENTROPY_BYTES] };
    pool.bytes[..entropy.len()].copy_from_slice(entropy);
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    let device = rustix::fs::open("/dev/urandom", flags, rustix::fs::Mode::empty())?;
    // SAFETY: RNDADDENTROPY reads the two numbers and `length_bytes` bytes behind them, all within `pool`.
    match unsafe { libc::ioctl(device.as_raw_fd(), RNDADDENTROPY, &raw const pool) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}
