//! Published ports: sockets of this host that lead into the guest, bound before the machine is jailed, here or by whoever
//! starts the machine.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use monocore_spec::{Protocol, PublishedPort};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt};

use crate::sys::pktinfo;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Why a port cannot be published.
#[derive(Debug, thiserror::Error)]
#[error("publish {address} ({}): {source}", protocol.name())]
pub struct PublishError {
    /// The address on this host.
    address: SocketAddr,
    /// The protocol.
    protocol: Protocol,
    /// Why.
    source: io::Error,
}

/// A published port.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) protocol: Protocol,
    /// Where it is bound on this host.
    pub(crate) address: SocketAddr,
    pub(crate) guest_port: u16,
    pub(crate) socket: OwnedFd,
}

impl Listener {
    /// Binds `port`; TCP ones listen.
    pub(crate) fn open(port: &PublishedPort) -> Result<Self, PublishError> {
        let address = SocketAddr::new(port.address, port.host_port);
        let fail = |errno: rustix::io::Errno| PublishError {
            address,
            protocol: port.protocol,
            source: errno.into(),
        };
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = if port.protocol == Protocol::Tcp { SocketType::STREAM } else { SocketType::DGRAM };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, kind, flags, None).map_err(fail)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true).map_err(fail)?;
        }
        if port.protocol == Protocol::Tcp {
            sockopt::set_socket_reuseaddr(&socket, true).map_err(fail)?;
        }
        bind(&socket, &address).map_err(fail)?;
        if port.protocol == Protocol::Tcp {
            listen(&socket, BACKLOG).map_err(fail)?;
        }
        Self::adopt(socket, port.protocol, port.guest_port).map_err(fail)
    }

    /// Takes a `socket` that is bound and, for TCP, listens.
    pub(crate) fn adopt(socket: OwnedFd, protocol: Protocol, guest_port: u16) -> rustix::io::Result<Self> {
        ioctl_fionbio(&socket, true)?;
        let address = SocketAddr::try_from(getsockname(&socket)?)?;
        if protocol == Protocol::Udp {
            // Clients are answered from the address that they asked.
            pktinfo::enable(&socket, address.is_ipv4())
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        }
        Ok(Self { protocol, address, guest_port, socket })
    }
}
