//! Datagrams between guest RAM and sockets, several at once where the host can.

#![allow(unsafe_code, reason = "system calls on guest memory, and their control parts")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::buffers::{Buffers, retry};

/// What was received of a datagram, or of several that came together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// All that is in the list, bytes.
    pub len_bytes: usize,
    /// Nothing was cut off for want of room.
    pub is_whole: bool,
    /// How long each of several is, but for the last.
    pub cut_bytes: Option<u16>,
}

/// Room for the control part of a message: a header and what it heads, 8 bytes at most.
#[derive(Default)]
#[repr(C, align(8))]
struct Control([u8; 24]);

impl Control {
    /// Makes it the message's.
    fn attach(&mut self, message: &mut libc::msghdr) {
        message.msg_control = self.0.as_mut_ptr().cast();
        message.msg_controllen = self.0.len() as _;
    }
}

/// Has the socket give datagrams of one length together that came together (`UDP_GRO`, udp(7)).
///
/// # Errors
/// The operating system's.
pub fn receive_together(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len_bytes = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(0);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: UDP_GRO reads one int.
    let result =
        unsafe { libc::setsockopt(fd, libc::SOL_UDP, libc::UDP_GRO, (&raw const on).cast(), len_bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Buffers<'_> {
    /// Sends the list once as datagrams of `cut_bytes` each, the last of them as long as it comes (`UDP_SEGMENT`, udp(7)), without
    /// waiting and without SIGPIPE.
    ///
    /// # Errors
    /// As [`send`](Self::send); `InvalidInput` and others where the host cannot cut there what has this length or so many parts.
    pub fn send_cut(&self, cut_bytes: u16, socket: impl AsFd) -> io::Result<usize> {
        let fd = socket.as_fd().as_raw_fd();
        let mut control = Control::default();
        let mut message = self.message();
        control.attach(&mut message);
        // SAFETY: the control part has room for a header and two bytes, and they are ours to write.
        unsafe {
            let first = libc::CMSG_FIRSTHDR(&raw const message);
            (*first).cmsg_level = libc::SOL_UDP;
            (*first).cmsg_type = libc::UDP_SEGMENT;
            (*first).cmsg_len = libc::CMSG_LEN(2) as _;
            libc::CMSG_DATA(first).cast::<u16>().write_unaligned(cut_bytes);
        }
        // SAFETY: as in `send`; the control part is valid for the call.
        retry(|| unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) })
    }

    /// Receives one datagram without waiting, or several that came together where the socket has `UDP_GRO` (udp(7)).
    ///
    /// # Errors
    /// `WouldBlock` where none is there; the operating system's.
    pub fn receive_datagram(&self, socket: impl AsFd) -> io::Result<Datagram> {
        let fd = socket.as_fd().as_raw_fd();
        let mut control = Control::default();
        let mut message = self.message();
        control.attach(&mut message);
        // SAFETY: as in `receive`; the control part is valid for the call.
        let len_bytes = retry(|| unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_DONTWAIT) })?;
        // SAFETY: the operating system wrote the control part and said how long it is.
        let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() };
        let cut = first.filter(|first| (first.cmsg_level, first.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO));
        // SAFETY: what UDP_GRO tells is an int.
        let cut = cut.map(|first| unsafe { libc::CMSG_DATA(first).cast::<libc::c_int>().read_unaligned() });
        let cut_bytes = cut.and_then(|bytes| u16::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
        Ok(Datagram { len_bytes, is_whole: message.msg_flags & libc::MSG_TRUNC == 0, cut_bytes })
    }

    /// Receives one datagram without waiting: `beyond` takes what the list has no room for. Returns the datagram's length, cut
    /// to the room of both.
    ///
    /// # Errors
    /// `WouldBlock` where none is there; the operating system's.
    pub fn receive_datagram_and(&self, beyond: &mut [u8], socket: impl AsFd) -> io::Result<usize> {
        let fd = socket.as_fd().as_raw_fd();
        let last = libc::iovec { iov_base: beyond.as_mut_ptr().cast(), iov_len: beyond.len() };
        let vecs = self.before(last);
        let mut message = self.message();
        message.msg_iov = vecs.as_ptr().cast_mut();
        message.msg_iovlen = vecs.len() as _;
        // SAFETY: as in `receive`; the last vector is `beyond`, which nobody else sees.
        retry(|| unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_DONTWAIT) })
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;

    use monocore_hypervisor::GuestRam;
    use vm_memory::GuestAddress;

    use super::*;

    fn ram() -> GuestRam {
        GuestRam::from_ranges(&[(GuestAddress(0), 0x2000)]).unwrap()
    }

    #[test]
    fn a_datagram_goes_on_where_the_list_ends() {
        let ram = ram();
        let mut list = Buffers::new();
        assert!(list.push(&ram, GuestAddress(0x10), 4));
        let (near, far) = UnixDatagram::pair().unwrap();
        let mut beyond = [0; 3];
        assert!(list.receive_datagram_and(&mut beyond, &near).is_err());
        for (sent, count, behind) in
            [(&b"ab"[..], 2, b"\0\0\0"), (b"abcdef", 6, b"ef\0"), (b"abcdefghi", 7, b"efg")]
        {
            far.send(sent).unwrap();
            assert_eq!(list.receive_datagram_and(&mut beyond, &near).unwrap(), count);
            assert_eq!(&beyond, behind);
        }
        let mut seen = [0; 4];
        list.copy_to(0, &mut seen);
        assert_eq!(&seen, b"abcd");
    }

    #[test]
    fn datagrams_are_cut_and_come_together() {
        let ram = ram();
        let mut list = Buffers::new();
        assert!(list.push(&ram, GuestAddress(0x10), 25));
        list.copy_from(0, b"0123456789abcdefghijvwxyz");
        let (near, far) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        near.connect(far.local_addr().unwrap()).unwrap();
        far.connect(near.local_addr().unwrap()).unwrap();
        assert!(list.receive_datagram(&near).is_err());

        assert_eq!(list.send_cut(10, &near).unwrap(), 25);
        let mut seen = [0; 30];
        for part in [&b"0123456789"[..], b"abcdefghij", b"vwxyz"] {
            let count = far.recv(&mut seen).unwrap();
            assert_eq!(&seen[..count], part);
        }

        receive_together(&far).unwrap();
        assert_eq!(list.send_cut(10, &near).unwrap(), 25);
        let mut room = Buffers::new();
        assert!(room.push(&ram, GuestAddress(0x100), 30));
        let all = Datagram { len_bytes: 25, is_whole: true, cut_bytes: Some(10) };
        assert_eq!(room.receive_datagram(&far).unwrap(), all);
        room.copy_to(0, &mut seen);
        assert_eq!(&seen[..25], b"0123456789abcdefghijvwxyz");
        near.send(b"alone").unwrap();
        let one = Datagram { len_bytes: 5, is_whole: true, cut_bytes: None };
        assert_eq!(room.receive_datagram(&far).unwrap(), one);
        room.truncate(4);
        near.send(b"alone").unwrap();
        assert!(!room.receive_datagram(&far).unwrap().is_whole);
        // More parts than any host cuts at once.
        assert!(list.push(&ram, GuestAddress(0x200), 2000));
        assert!(list.send_cut(1, &near).is_err());
    }
}
