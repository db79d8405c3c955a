//! Published ports, bound by the process that supervises the sandbox and handed over to its machine.
//!
//! So a port that is taken is told before there is a machine, and a sandbox that can be found has its ports: those the system
//! chose are known before anything about it is written down.

mod sys;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use monocore_spec::{BoundPort, PortRange, Protocol, PublishedPort};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt};

use crate::Error;
use crate::spec::{NetworkSpec, parse_guest_ports};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// How many ports an image gets published that were not asked for one by one: each is a descriptor.
const MAX_EXPOSED: usize = 256;

/// The published ports of one sandbox; dropping it frees them.
#[derive(Debug, Default)]
pub struct Published(Vec<(PublishedPort, OwnedFd)>);

impl Published {
    /// Binds what `spec` publishes, and of `exposed`, the ports the image names, what it wants and does not publish itself.
    ///
    /// # Errors
    /// A port cannot be bound, or the image names too many.
    pub fn bind(spec: &NetworkSpec, exposed: &[String]) -> Result<Self, Error> {
        if !spec.mode.is_ours() {
            return Ok(Self::default());
        }
        let mut wanted = spec.publish.clone();
        if spec.publish_exposed {
            add_exposed(&mut wanted, &[exposed, &spec.expose].concat())?;
        }
        let open =
            |port: PublishedPort| open(port).map_err(|errno| Error::Publish { port, source: errno.into() });
        Ok(Self(wanted.into_iter().map(open).collect::<Result<_, _>>()?))
    }

    /// The ports as they are bound.
    #[must_use]
    pub fn ports(&self) -> Vec<PublishedPort> {
        self.0.iter().map(|(port, _)| *port).collect()
    }

    /// What a machine needs to know of them; `keep` keeps a descriptor open for it and gives its number.
    pub(crate) fn hand_over(self, mut keep: impl FnMut(OwnedFd) -> i32) -> Vec<BoundPort> {
        let bound = self.0.into_iter().map(|(port, socket)| BoundPort {
            fd: keep(socket),
            guest_port: port.guest_port,
            protocol: port.protocol,
        });
        bound.collect()
    }
}

/// Binds a port for a machine that runs already, which makes no system call of its own for it.
///
/// # Errors
/// The port cannot be bound.
pub(crate) fn open_live(port: PublishedPort) -> Result<(PublishedPort, OwnedFd), Error> {
    let fail = |source: std::io::Error| Error::Publish { port, source };
    let (bound, socket) = open(port).map_err(|errno| fail(errno.into()))?;
    if port.protocol == Protocol::Udp {
        sys::tell_targets(&socket, port.address.is_ipv4()).map_err(fail)?;
    }
    Ok((bound, socket))
}

/// Adds the ports of `exposed` that are not in `wanted` yet, each at a free port of loopback. What the image says is hostile.
fn add_exposed(wanted: &mut Vec<PublishedPort>, exposed: &[String]) -> Result<(), Error> {
    let asked_for = wanted.len();
    for text in exposed {
        let Ok((PortRange { first, last }, protocol)) = parse_guest_ports(text) else {
            tracing::warn!(port = text, "the image exposes what cannot be published");
            continue;
        };
        for guest_port in first..=last {
            if wanted.iter().any(|port| (port.guest_port, port.protocol) == (guest_port, protocol)) {
                continue;
            }
            if wanted.len() - asked_for == MAX_EXPOSED {
                return Err(Error::ManyPorts { most: MAX_EXPOSED });
            }
            wanted.push(PublishedPort {
                address: Ipv4Addr::LOCALHOST.into(),
                host_port: 0,
                guest_port,
                protocol,
            });
        }
    }
    Ok(())
}

/// Binds `port` and says where; TCP ones listen.
fn open(port: PublishedPort) -> rustix::io::Result<(PublishedPort, OwnedFd)> {
    let family = if port.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if port.protocol == Protocol::Tcp { SocketType::STREAM } else { SocketType::DGRAM };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if port.address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if port.protocol == Protocol::Tcp {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(port.address, port.host_port))?;
    if port.protocol == Protocol::Tcp {
        listen(&socket, BACKLOG)?;
    }
    let bound = SocketAddr::try_from(getsockname(&socket)?).map_err(|_| Errno::AFNOSUPPORT)?;
    Ok((PublishedPort { host_port: bound.port(), ..port }, socket))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;
    use crate::spec::{NetworkMode, parse_publish};

    fn spec(publish: &[&str]) -> NetworkSpec {
        let publish = publish.iter().flat_map(|text| parse_publish(text).unwrap()).collect();
        NetworkSpec { mode: NetworkMode::Nat, publish, publish_exposed: true, ..NetworkSpec::default() }
    }

    #[test]
    fn ports_of_the_image_get_free_ones_unless_they_are_published_already() {
        let exposed = ["80/tcp", "80/udp", "7000-7001/tcp", "80", "53/sctp", ""].map(str::to_owned);
        let published = Published::bind(&spec(&["[::1]::80"]), &exposed).unwrap();
        let ports = published.ports();
        let named: Vec<_> = ports.iter().map(|port| (port.guest_port, port.protocol.name())).collect();
        assert_eq!(named, [(80, "tcp"), (80, "udp"), (7000, "tcp"), (7001, "tcp")]);
        assert!(
            ports[0].address.is_ipv6() && ports[1..].iter().all(|port| port.address == Ipv4Addr::LOCALHOST)
        );
        assert!(ports.iter().all(|port| port.host_port != 0));
        TcpStream::connect(SocketAddr::new(ports[0].address, ports[0].host_port)).unwrap();
        assert!(UdpSocket::bind(("127.0.0.1", ports[1].host_port)).is_err());
        drop(published);
        UdpSocket::bind(("127.0.0.1", ports[1].host_port)).unwrap();
    }

    #[test]
    fn an_image_cannot_have_every_port() {
        let refused = Published::bind(&spec(&[]), &["1-65535/tcp".to_owned()]).unwrap_err();
        assert!(matches!(refused, Error::ManyPorts { most: MAX_EXPOSED }), "{refused}");
    }

    #[test]
    fn exposed_ports_stay_where_nobody_asks_and_where_nobody_can_publish() {
        let exposed = ["80/tcp".to_owned()];
        let not_asked = NetworkSpec { publish_exposed: false, ..spec(&[]) };
        let no_network = NetworkSpec { mode: NetworkMode::None, ..spec(&[]) };
        for spec in [not_asked, no_network] {
            assert!(Published::bind(&spec, &exposed).unwrap().ports().is_empty());
        }
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let refused =
            Published::bind(&spec(&[&format!("{}:80", address.port())]), &[]).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("80/tcp at {address}")) && refused.contains("a free one"),
            "{refused}"
        );
    }
}
