//! The addresses of this host, as they are at each decision.
//!
//! A netlink socket that is opened before the jail is told of every change; the kernel puts the message into its queue before the
//! call returns that made the change (rtnetlink(7)). Reading what is queued before a decision therefore leaves no time in which
//! an address of this host counts as somebody else's.

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recvfrom, sendto, socket_with,
};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
/// NLM_F_REQUEST and NLM_F_DUMP.
const DUMP: u16 = 0x1 | 0x300;
/// RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR.
const GROUPS: u32 = 0x10 | 0x100;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const MESSAGE_HEADER_BYTES: usize = 16;
/// `struct ifaddrmsg`.
const ADDRESS_HEADER_BYTES: usize = 8;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// No datagram of the kernel's is longer.
const BUFFER_BYTES: usize = 32 << 10;

/// The addresses of this host's interfaces.
#[derive(Debug, Default)]
pub struct HostAddresses {
    /// Nothing in tests, whose addresses do not change.
    changes: Option<OwnedFd>,
    /// With the interface's number: two interfaces may have the same address.
    addresses: BTreeSet<(IpAddr, u32)>,
}

impl HostAddresses {
    /// Lists the addresses and listens for changes.
    ///
    /// # Errors
    /// The operating system's.
    pub fn watch() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Protocol 0 is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        let mut this = Self { changes: Some(socket), addresses: BTreeSet::new() };
        this.list()?;
        Ok(this)
    }

    /// Addresses that do not change.
    #[cfg(test)]
    pub(crate) fn fixed(addresses: &[IpAddr]) -> Self {
        Self { changes: None, addresses: addresses.iter().map(|address| (*address, 0)).collect() }
    }

    /// What is readable when an address has changed.
    pub(crate) fn changes(&self) -> Option<BorrowedFd<'_>> {
        self.changes.as_ref().map(AsFd::as_fd)
    }

    /// Takes in the changes since the last call; says whether there were any.
    ///
    /// # Errors
    /// The operating system's: the addresses are not known, and nothing may be decided by them.
    pub(crate) fn refresh(&mut self) -> io::Result<bool> {
        let mut changed = false;
        loop {
            match self.receive() {
                Ok(Some(_)) => changed = true,
                Ok(None) => return Ok(changed),
                // Changes were lost because there were too many.
                Err(Errno::NOBUFS) => {
                    self.list()?;
                    changed = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether `address` is one of this host's.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.addresses.range((address, 0)..=(address, u32::MAX)).next().is_some()
    }

    /// Whether one of them is an IPv6 address that the Internet can reach (2000::/3, RFC 4291 §2.5.4).
    pub(crate) fn has_public_v6(&self) -> bool {
        let first = IpAddr::from(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0));
        let after = IpAddr::from(Ipv6Addr::new(0x4000, 0, 0, 0, 0, 0, 0, 0));
        self.addresses.range((first, 0)..(after, 0)).next().is_some()
    }

    /// All of them.
    #[cfg(test)]
    pub(crate) fn all(&self) -> Vec<IpAddr> {
        self.addresses.iter().map(|(address, _)| *address).collect()
    }

    /// Asks for all addresses. The kernel answers within the calls, so nothing waits.
    fn list(&mut self) -> io::Result<()> {
        let Some(socket) = &self.changes else { return Ok(()) };
        let mut request = [0; MESSAGE_HEADER_BYTES + ADDRESS_HEADER_BYTES];
        request[0..4].copy_from_slice(&24u32.to_ne_bytes());
        request[4..6].copy_from_slice(&RTM_GETADDR.to_ne_bytes());
        request[6..8].copy_from_slice(&DUMP.to_ne_bytes());
        sendto(socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        self.addresses.clear();
        loop {
            match self.receive() {
                Ok(Some(End::Done)) => return Ok(()),
                Ok(Some(End::More)) => {}
                // Changes that came meanwhile were lost. An address that is listed and was removed is guarded without need.
                Err(Errno::NOBUFS) => {}
                Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes in one datagram; nothing where there is none.
    fn receive(&mut self) -> Result<Option<End>, Errno> {
        let Some(socket) = &self.changes else { return Ok(None) };
        // Not cleared: this is asked for each decision, and mostly there is nothing.
        let mut bytes = [const { MaybeUninit::uninit() }; BUFFER_BYTES];
        loop {
            match recvfrom(socket, &mut bytes[..], RecvFlags::DONTWAIT) {
                Ok(((bytes, _), _, from)) => {
                    let sender = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
                    // 0 is the kernel.
                    if sender.is_some_and(|sender| sender.pid() == 0) {
                        return Ok(Some(self.take(bytes)));
                    }
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, mut messages: &[u8]) -> End {
        let mut end = End::More;
        while let Some((length, kind)) = header(messages) {
            let Some(message) = messages.get(MESSAGE_HEADER_BYTES..length) else { break };
            match kind {
                RTM_NEWADDR => self.addresses.extend(addresses_of(message)),
                RTM_DELADDR => {
                    let gone = addresses_of(message);
                    self.addresses.retain(|address| !gone.contains(address));
                }
                NLMSG_DONE | NLMSG_ERROR => end = End::Done,
                _ => {}
            }
            messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        end
    }
}

/// Whether a list goes on after a datagram.
#[derive(Debug)]
enum End {
    More,
    Done,
}

/// Length and kind of the message that `bytes` begin with.
fn header(bytes: &[u8]) -> Option<(usize, u16)> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    (length >= MESSAGE_HEADER_BYTES).then_some((length, kind))
}

/// The addresses of a message about one: itself, and the one that every router of its IPv6 network answers to (RFC 4291 §2.6.1).
fn addresses_of(message: &[u8]) -> Vec<(IpAddr, u32)> {
    let Some((&[family, prefix, _, _, a, b, c, d], mut attributes)) =
        message.split_first_chunk::<ADDRESS_HEADER_BYTES>()
    else {
        return Vec::new();
    };
    let interface = u32::from_ne_bytes([a, b, c, d]);
    let (mut local, mut address) = (None, None);
    while let Some(&[low, high, kind_low, kind_high]) = attributes.first_chunk() {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let Some(value) = attributes.get(4..length) else { break };
        match u16::from_ne_bytes([kind_low, kind_high]) {
            IFA_LOCAL => local = ip(family, value),
            IFA_ADDRESS => address = ip(family, value),
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    // With a peer, IFA_ADDRESS is the peer's.
    let own = local.or(address);
    let routers = match own {
        Some(IpAddr::V6(own)) if prefix < 127 => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Some(Ipv6Addr::from_bits(own.to_bits() & mask).into())
        }
        _ => None,
    };
    own.into_iter().chain(routers).map(|address| (address, interface)).collect()
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        AF_INET6 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message about `address`, with a peer if there is one.
    fn message(kind: u16, address: IpAddr, prefix: u8, peer: Option<IpAddr>, interface: u32) -> Vec<u8> {
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let family = if address.is_ipv4() { AF_INET } else { AF_INET6 };
        let mut body = vec![family, prefix, 0, 0];
        body.extend(interface.to_ne_bytes());
        let mut attribute = |kind: u16, value: Vec<u8>| {
            body.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(value);
        };
        attribute(IFA_ADDRESS, octets(peer.unwrap_or(address)));
        if peer.is_some() {
            attribute(IFA_LOCAL, octets(address));
        }
        let mut bytes = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn loopback_is_listed_and_nothing_changes() {
        let mut own = HostAddresses::watch().unwrap();
        assert!(own.contains([127, 0, 0, 1].into()) && !own.contains([127, 0, 0, 2].into()));
        assert!(!own.refresh().unwrap());
    }

    #[test]
    fn addresses_come_and_go() {
        let mut own = HostAddresses::default();
        let (v4, peer, v6): (IpAddr, IpAddr, IpAddr) =
            ([8, 8, 4, 77].into(), [8, 8, 4, 78].into(), "2a00:1:2:3:4:5:6:7".parse().unwrap());
        let both =
            [message(RTM_NEWADDR, v4, 32, Some(peer), 2), message(RTM_NEWADDR, v6, 64, None, 2)].concat();
        own.take(&both);
        assert!(own.contains(v4) && !own.contains(peer) && own.contains(v6));
        assert!(own.contains("2a00:1:2:3::".parse().unwrap()), "the routers of its network");
        // It stays while another interface has it.
        own.take(&message(RTM_NEWADDR, v4, 32, None, 3));
        own.take(&message(RTM_DELADDR, v4, 32, Some(peer), 2));
        assert!(own.contains(v4));
        own.take(&message(RTM_DELADDR, v4, 32, None, 3));
        assert!(!own.contains(v4));
        // What is cut anywhere is not taken for more than it says.
        for length in 0..both.len() {
            own.take(&both[..length]);
        }
        assert!(own.contains(v4) && own.all().len() <= 3);
    }
}
