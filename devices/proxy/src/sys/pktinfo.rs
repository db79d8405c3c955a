//! Datagrams together with the address of this host that they were sent to, and are answered from (ip(7) IP_PKTINFO, RFC 3542 §6).

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

/// AF_INET and AF_INET6 as socket addresses hold them.
const INET: libc::sa_family_t = 2;
const INET6: libc::sa_family_t = 10;

/// An address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    address: IpAddr,
    /// The interface, for a link-local address; else 0.
    interface: u32,
}

/// A datagram that was received.
#[derive(Debug)]
pub(crate) struct Received {
    /// Its length.
    pub(crate) bytes: usize,
    /// Who sent it.
    pub(crate) from: Option<SocketAddr>,
    /// Where it was sent to; nothing for a group, which sends no answers.
    pub(crate) to: Option<Local>,
}

/// Room for one control message with the longer of the two structures.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Has `socket`, which is for IPv4 or IPv6, say with each datagram where it was sent to.
///
/// # Errors
/// The operating system's.
pub(crate) fn enable(socket: impl AsFd, is_v4: bool) -> io::Result<()> {
    let (level, option) = if is_v4 {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    };
    let on: libc::c_int = 1;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: both options read one int.
    let result =
        unsafe { libc::setsockopt(fd, level, option, (&raw const on).cast(), length_of::<libc::c_int>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives a datagram without waiting.
///
/// # Errors
/// `WouldBlock` where there is none; the operating system's.
pub(crate) fn receive(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<Received> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut control = Control([0; 64]);
    let mut piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut message = header(&mut piece, &mut control);
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = length_of::<libc::sockaddr_storage>();
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the header names `bytes`, `name` and `control`, which are as long as it says and live until the call returns.
    let count = unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_DONTWAIT) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: zeroed before, and written by the kernel up to the length it says; all bit patterns are valid.
    let from = socket_address(unsafe { name.assume_init_ref() });
    Ok(Received { bytes: count, from, to: sent_to(&message) })
}

/// Sends a datagram to `to` without waiting, from the address `from` of this host if there is one.
///
/// # Errors
/// The operating system's.
pub(crate) fn send(
    socket: impl AsFd,
    bytes: &[u8],
    to: SocketAddr,
    from: Option<Local>,
) -> io::Result<usize> {
    let mut control = Control([0; 64]);
    let mut piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut message = header(&mut piece, &mut control);
    message.msg_controllen = 0;
    match from.map(|Local { address, interface }| (address, interface)) {
        Some((IpAddr::V4(address), _)) if to.is_ipv4() => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: address.to_bits().to_be() },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            put(&mut message, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some((IpAddr::V6(address), interface)) if to.is_ipv6() => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: address.octets() },
                ipi6_ifindex: interface,
            };
            put(&mut message, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        _ => {}
    }
    let (v4, v6);
    match to {
        SocketAddr::V4(to) => {
            v4 = inet(to);
            message.msg_name = (&raw const v4).cast_mut().cast();
            message.msg_namelen = length_of::<libc::sockaddr_in>();
        }
        SocketAddr::V6(to) => {
            v6 = inet6(to);
            message.msg_name = (&raw const v6).cast_mut().cast();
            message.msg_namelen = length_of::<libc::sockaddr_in6>();
        }
    }
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the header names `bytes`, the address and `control`, which are as long as it says and are only read.
    let count = unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// A message of one piece with room for control messages.
fn header(piece: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: a message header is plain data whose all-zero value is an empty message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control.0).cast();
    message.msg_controllen = control.0.len() as _;
    message
}

/// Puts one control message into `message`, whose control buffer is a [`Control`].
fn put<T>(message: &mut libc::msghdr, level: libc::c_int, kind: libc::c_int, data: T) {
    const { assert!(size_of::<T>() <= 32) };
    let length = u32::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute; a `Control` is aligned for a control message's header and has room for one of
    // at most 32 bytes of data.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(length) as _;
        let first = libc::CMSG_FIRSTHDR(message);
        (*first).cmsg_level = level;
        (*first).cmsg_type = kind;
        (*first).cmsg_len = libc::CMSG_LEN(length) as _;
        libc::CMSG_DATA(first).cast::<T>().write_unaligned(data);
    }
}

/// The address of this host that a received message was sent to.
fn sent_to(message: &libc::msghdr) -> Option<Local> {
    // SAFETY: the kernel wrote the control messages, whose lengths it says; each kind is followed by its structure.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(message);
        while let Some(control) = next.as_ref() {
            let data = libc::CMSG_DATA(next);
            match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    let address = Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr)).into();
                    return Some(Local { address, interface: 0 });
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    let interface = if address.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
                    return (!address.is_multicast()).then_some(Local { address: address.into(), interface });
                }
                _ => next = libc::CMSG_NXTHDR(message, next),
            }
        }
    }
    None
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

fn inet(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: INET,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: address.ip().to_bits().to_be() },
        sin_zero: [0; 8],
    }
}

fn inet6(address: SocketAddrV6) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: INET6,
        sin6_port: address.port().to_be(),
        sin6_flowinfo: address.flowinfo(),
        sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
        sin6_scope_id: address.scope_id(),
    }
}

fn socket_address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let name = std::ptr::from_ref(name);
    // SAFETY: a `sockaddr_storage` is as long and as aligned as each of the structures, and all their bit patterns are valid.
    unsafe {
        match libc::c_int::from((*name).ss_family) {
            libc::AF_INET => {
                let inet = &*name.cast::<libc::sockaddr_in>();
                let address = Ipv4Addr::from_bits(u32::from_be(inet.sin_addr.s_addr));
                Some(SocketAddrV4::new(address, u16::from_be(inet.sin_port)).into())
            }
            libc::AF_INET6 => {
                let inet6 = &*name.cast::<libc::sockaddr_in6>();
                let address = Ipv6Addr::from(inet6.sin6_addr.s6_addr);
                let port = u16::from_be(inet6.sin6_port);
                Some(SocketAddrV6::new(address, port, inet6.sin6_flowinfo, inet6.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn an_answer_comes_from_the_address_that_was_asked() {
        for (everywhere, addresses) in
            [("0.0.0.0:0", &["127.0.0.1", "127.0.0.2", "127.1.2.3"][..]), ("[::]:0", &["::1"])]
        {
            let socket = UdpSocket::bind(everywhere).unwrap();
            let here = socket.local_addr().unwrap();
            enable(&socket, here.is_ipv4()).unwrap();
            for address in addresses {
                let client = UdpSocket::bind((everywhere.parse::<SocketAddr>().unwrap().ip(), 0)).unwrap();
                let asked = SocketAddr::new(address.parse().unwrap(), here.port());
                client.connect(asked).unwrap();
                client.send(b"ask").unwrap();
                let mut bytes = [0; 8];
                let received = receive(&socket, &mut bytes).unwrap();
                assert_eq!(received.from, Some(client.local_addr().unwrap()));
                assert_eq!(received.to.unwrap().address, asked.ip());
                send(&socket, &bytes[..received.bytes], received.from.unwrap(), received.to).unwrap();
                // A connected socket takes what comes from that address only.
                assert_eq!(client.recv(&mut bytes).unwrap(), 3, "{address}");
            }
            assert_eq!(receive(&socket, &mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }
}
