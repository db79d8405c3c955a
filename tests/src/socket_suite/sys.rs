//! What the suite needs of the system beyond safe calls: processes, signals, and calls with arguments no safe interface lets
//! through.
#![allow(unsafe_code, reason = "fork, signals, and socket calls with deliberately odd arguments")]
#![allow(clippy::cast_possible_truncation, reason = "lengths and families of C structures")]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// What a child process left.
pub(super) struct Ended {
    /// What it wrote to its pipe.
    pub(super) said: String,
    /// It ended by itself, in time.
    pub(super) well: bool,
}

/// Acts in a child process, which gets a pipe to write to, and ends it when `patience` is over. This process must have one
/// thread only.
pub(super) fn in_child(patience: Duration, act: impl FnOnce(File)) -> io::Result<Ended> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let child = fork(|| act(File::from(writer)))?;
    let mut reader = File::from(reader);
    let (end, mut said, mut bytes) = (Instant::now() + patience, Vec::new(), [0; 4096]);
    let whole = loop {
        let left = end.saturating_duration_since(Instant::now());
        let seconds = i64::try_from(left.as_secs()).unwrap_or(0);
        let timeout = Timespec { tv_sec: seconds, tv_nsec: left.subsec_nanos().into() };
        let mut poll = [PollFd::new(&reader, PollFlags::IN)];
        if rustix::event::poll(&mut poll, Some(&timeout))? == 0 {
            break false;
        }
        match reader.read(&mut bytes)? {
            0 => break true,
            count => said.extend(bytes.get(..count).unwrap_or_default()),
        }
    };
    if !whole {
        kill(child);
    }
    let well = wait(child)? == "exit 0" && whole;
    Ok(Ended { said: String::from_utf8_lossy(&said).into_owned(), well })
}

/// Acts in a child process, which ends with status 0 afterwards; gives its number. The closure is dropped here without being
/// called, and with it what it owns.
pub(super) fn fork(act: impl FnOnce()) -> io::Result<i32> {
    // SAFETY: this process has one thread, so the child finds every lock free.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let status = i32::from(std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).is_err());
            // SAFETY: ends the process, which has nothing to clean up that its parent would not.
            unsafe { libc::_exit(status) }
        }
        child => Ok(child),
    }
}

/// Waits for a child: `exit N` or `signal N`.
pub(super) fn wait(child: i32) -> io::Result<String> {
    let mut status = 0;
    loop {
        // SAFETY: writes one int.
        if unsafe { libc::waitpid(child, &raw mut status, 0) } == child {
            return Ok(match libc::WIFSIGNALED(status) {
                true => format!("signal {}", libc::WTERMSIG(status)),
                false => format!("exit {}", libc::WEXITSTATUS(status)),
            });
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Ends a child process.
pub(super) fn kill(child: i32) {
    // SAFETY: takes numbers; the child is ours and was not waited for.
    unsafe { libc::kill(child, libc::SIGKILL) };
}

/// Lets SIGPIPE end this process again; Rust's start had it ignored.
pub(super) fn default_sigpipe() {
    // SAFETY: no handler of ours runs.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Has SIGALRM come after `delay`; the call that waits then is begun again if `restart`, and fails with EINTR otherwise.
pub(super) fn alarm(delay: Duration, restart: bool) {
    extern "C" fn nothing(_signal: libc::c_int) {}
    // SAFETY: all zeroes are a valid `sigaction`; the handler does nothing, so nothing can go wrong in it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = if restart { libc::SA_RESTART } else { 0 };
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
        let value = libc::timeval { tv_sec: delay.as_secs() as _, tv_usec: delay.subsec_micros().into() };
        let timer = libc::itimerval { it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 }, it_value: value };
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut());
    }
}

/// Leaves this machine's network for one with nothing in it.
pub(super) fn leave_network() -> Result<(), Errno> {
    // SAFETY: takes a number.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) } as isize).map(drop)
}

/// Becomes somebody without rights.
pub(super) fn become_nobody() -> Result<(), Errno> {
    // SAFETY: take numbers; this process has one thread.
    check(unsafe { libc::setgid(65_534) } as isize)?;
    // SAFETY: as above.
    check(unsafe { libc::setuid(65_534) } as isize).map(drop)
}

/// `connect` or `bind` with the bytes of an address as they are.
pub(super) fn with_address(socket: impl AsFd, bind: bool, address: &[u8]) -> Result<(), Errno> {
    let call = if bind { libc::bind } else { libc::connect };
    // SAFETY: the pointer and the length are those of `address`, which is only read.
    let result = unsafe { call(socket.as_fd().as_raw_fd(), address.as_ptr().cast(), address.len() as u32) };
    check(result as isize).map(drop)
}

/// `shutdown` with any number.
pub(super) fn shutdown(socket: impl AsFd, how: i32) -> Result<(), Errno> {
    // SAFETY: takes numbers.
    check(unsafe { libc::shutdown(socket.as_fd().as_raw_fd(), how) } as isize).map(drop)
}

/// A socket option that is one int.
pub(super) fn option(socket: impl AsFd, level: i32, name: i32) -> Result<i32, Errno> {
    let (mut value, mut length) = (0i32, 4);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: writes at most `length` bytes to `value`, which has as many.
    let result = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut length) };
    check(result as isize).map(|_| value)
}

/// Sets a socket option that is one int.
pub(super) fn set_option(socket: impl AsFd, level: i32, name: i32, value: i32) -> Result<(), Errno> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: reads four bytes of `value`.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), 4) } as isize).map(drop)
}

/// The state of a TCP socket, as TCP_INFO numbers it.
pub(super) fn tcp_state(socket: impl AsFd) -> Result<u8, Errno> {
    // It is the first byte of the structure, and as many are written as are asked for.
    option(socket, libc::IPPROTO_TCP, libc::TCP_INFO).map(|first| first.to_ne_bytes()[0])
}

/// Bytes that the other end has not acknowledged.
pub(super) fn unsent_bytes(socket: impl AsFd) -> Result<i32, Errno> {
    let mut value = 0i32;
    // SAFETY: writes one int.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut value) };
    check(result as isize).map(|_| value)
}

/// Whether `select` finds a socket readable and writable within `patience`.
pub(super) fn select(socket: impl AsFd, patience: Duration) -> Result<(bool, bool), Errno> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: all zeroes are empty sets, and `fd` is below their size: this program has few descriptors.
    unsafe {
        let (mut read, mut write): (libc::fd_set, libc::fd_set) = (std::mem::zeroed(), std::mem::zeroed());
        libc::FD_SET(fd, &raw mut read);
        libc::FD_SET(fd, &raw mut write);
        let mut timeout =
            libc::timeval { tv_sec: patience.as_secs() as _, tv_usec: patience.subsec_micros().into() };
        let nobody = std::ptr::null_mut();
        check(libc::select(fd + 1, &raw mut read, &raw mut write, nobody, &raw mut timeout) as isize)?;
        Ok((libc::FD_ISSET(fd, &raw const read), libc::FD_ISSET(fd, &raw const write)))
    }
}

/// `recvmmsg` of as many datagrams as there are, up to `most` of 64 bytes each, without waiting.
pub(super) fn receive_many(socket: impl AsFd, most: usize) -> Result<Vec<Vec<u8>>, Errno> {
    let mut buffers = vec![[0u8; 64]; most];
    let mut vectors: Vec<libc::iovec> = buffers
        .iter_mut()
        .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = vectors
        .iter_mut()
        .map(|vector| {
            // SAFETY: all zeroes are a valid header of a message without anything.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (&raw mut *vector, 1);
            message
        })
        .collect();
    let fd = socket.as_fd().as_raw_fd();
    let (messages_at, count) = (messages.as_mut_ptr(), most as u32);
    // SAFETY: `count` headers, each with one vector of one buffer of its own, all alive until the call returns.
    let result = unsafe { libc::recvmmsg(fd, messages_at, count, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
    let count = check(result as isize)?;
    let lengths = messages.iter().take(count).map(|message| message.msg_len as usize);
    Ok(lengths.zip(&buffers).map(|(length, buffer)| buffer[..length.min(64)].to_vec()).collect())
}

/// Sends a descriptor over a Unix socket, with one byte.
pub(super) fn send_descriptor(over: impl AsFd, descriptor: &OwnedFd) -> Result<(), Errno> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(over, &[io::IoSlice::new(b"x")], &mut control, SendFlags::empty()).map(drop)
}

/// Receives a descriptor from a Unix socket.
pub(super) fn receive_descriptor(over: impl AsFd) -> Result<OwnedFd, Errno> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(over, &mut [io::IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
            return descriptors.next().ok_or(Errno::BADF);
        }
    }
    Err(Errno::BADF)
}

fn check(result: isize) -> Result<usize, Errno> {
    usize::try_from(result)
        .map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}
