//! Connecting that waits: success, and every way it fails at once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags, SocketType, connect, connect_unspec, send, sendto};

use super::check::{Checks, told};
use super::ends::{
    CLOSED, CLOSES, RESETS, Target, own_name, peer_name, read_to_end, take_exactly, write_all,
};
use super::sys;

pub(super) fn run(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let socket = target.tcp()?;
    c.works("connect", connect(&socket, &target.at(0)));
    c.fails("connect again", connect(&socket, &target.at(0)), "EISCONN");
    c.fails("connect elsewhere", connect(&socket, &target.at(CLOSES)), "EISCONN");
    write_all(&socket, b"echo\nping")?;
    c.is("it is the peer", format!("{:?}", take_exactly(&socket, 4)? == b"ping"), true);

    c.works("dissolve the connection", connect_unspec(&socket));
    c.fails("the dissolved socket has no peer", peer_name(&socket), "ENOTCONN");
    c.fails("the dissolved socket sends nothing", send(&socket, b"x", SendFlags::NOSIGNAL), "ECONNRESET");
    c.works("connect the dissolved socket", connect(&socket, &target.at(0)));
    write_all(&socket, b"echo\npong")?;
    c.is("it is the peer again", format!("{:?}", take_exactly(&socket, 4)? == b"pong"), true);

    let closes = target.tcp()?;
    c.works("connect to one who closes", connect(&closes, &target.at(CLOSES)));
    c.is("it is closed", read_to_end(&closes)?.len(), 0);
    let resets = target.tcp()?;
    c.works("connect to one who resets", connect(&resets, &target.at(RESETS)));
    c.fails("it is reset", read_to_end(&resets), "ECONNRESET");
    let bound = target.tcp()?;
    rustix::net::bind(&bound, &target.any(0))?;
    let port = own_name(&bound)?.port();
    c.works("connect a bound socket", connect(&bound, &target.at(0)));
    c.holds("its port stays", own_name(&bound)?.port() == port && port != 0);
    Ok(())
}

pub(super) fn errors(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let socket = target.tcp()?;
    c.fails("nobody listens", connect(&socket, &target.at(CLOSED)), "ECONNREFUSED");
    c.fails("nobody listens, again", connect(&socket, &target.at(CLOSED)), "ECONNREFUSED");
    c.fails("a refused socket has no peer", peer_name(&socket), "ENOTCONN");
    c.works("a refused socket connects elsewhere", connect(&socket, &target.at(0)));
    let socket = target.tcp()?;
    c.fails("port 0", connect(&socket, &SocketAddr::new(target.peer, 0)), "ECONNREFUSED");
    let other: SocketAddr = if target.peer.is_ipv4() {
        SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 9)
    } else {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9)
    };
    let socket = target.tcp()?;
    let mismatch = if target.peer.is_ipv4() { "EAFNOSUPPORT" } else { "EINVAL" };
    c.fails("an address of another family", connect(&socket, &other), mismatch);
    c.fails("an address cut short", sys::with_address(&socket, false, &[2, 0, 0]), "EINVAL");
    c.fails("no address", sys::with_address(&socket, false, &[]), "EINVAL");
    let family = if target.peer.is_ipv4() { 2u16 } else { 10 };
    let mut strange = [0; 28];
    strange[..2].copy_from_slice(&(family + 100).to_ne_bytes());
    c.fails("an address of no family", sys::with_address(&socket, false, &strange), "EAFNOSUPPORT");
    c.fails("a connection with a non-member", connect(&socket, &group(target)), "ENETUNREACH");
    Ok(())
}

/// A group of hosts, to which there are no connections.
fn group(target: &Target) -> SocketAddr {
    if target.peer.is_ipv4() {
        return SocketAddr::from(([255, 255, 255, 255], 9));
    }
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x1234)), 9)
}

/// A machine without any way to anybody.
pub(super) fn unreachable(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    sys::leave_network()?;
    // IPv6 looks for an address of its own first.
    let nowhere = if target.peer.is_ipv4() { "ENETUNREACH" } else { "EADDRNOTAVAIL" };
    let socket = target.tcp()?;
    c.fails("connect", connect(&socket, &target.at(0)), nowhere);
    let waiting = target.socket(SocketType::STREAM, SocketFlags::NONBLOCK)?;
    c.fails("connect without waiting", connect(&waiting, &target.at(0)), nowhere);
    let socket = target.udp()?;
    c.fails("send", sendto(&socket, b"x", SendFlags::empty(), &target.at(0)), nowhere);
    let connected = connect(&socket, &target.at(0));
    c.is("connect for datagrams", told(&connected), nowhere);
    c.fails("connect to itself", connect(&target.tcp()?, &target.loopback(9)), nowhere);
    Ok(())
}
