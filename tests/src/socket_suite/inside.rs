//! What stays on this machine: loopback, and IPv4 through sockets of IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::sockopt::set_ipv6_v6only;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept, bind, connect, listen, sendto,
    socket_with,
};

use super::check::{Checks, text, told, value};
use super::ends::{Target, own_name, patient, peer_name, take, take_exactly, write_all};
use super::udp::receive;

pub(super) fn loopback(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let elsewhere = target.loopback(target.port);
    c.fails("the peer is not here", connect(&target.tcp()?, &elsewhere), "ECONNREFUSED");
    let listener = target.tcp()?;
    bind(&listener, &target.loopback(0))?;
    listen(&listener, 4)?;
    let here = own_name(&listener)?;
    let stream = target.tcp()?;
    c.works("connect", connect(&stream, &here));
    c.is("both ends are here", own_name(&stream)?.ip() == here.ip(), true);
    let taken = accept(&listener)?;
    patient(&taken)?;
    write_all(&stream, b"here")?;
    c.is("bytes", text(take_exactly(&taken, 4)), "\"here\"");
    let any = target.tcp()?;
    c.works("connect to no address in particular", connect(&any, &target.any(here.port())));
    c.is("which is here", peer_name(&any)?, here);
    drop(stream);
    c.is("the end", value(take(&taken, 4, RecvFlags::empty()).map(|bytes| bytes.len())), "0");

    let (one, two) = (target.udp()?, target.udp()?);
    bind(&one, &target.loopback(0))?;
    sendto(&two, b"datagram", SendFlags::empty(), &own_name(&one)?)?;
    let (bytes, from) = receive(&one)?;
    c.is("a datagram", String::from_utf8_lossy(&bytes), "datagram");
    c.is("its sender is here", from.ip() == here.ip() && from.port() == own_name(&two)?.port(), true);
    let connected = target.udp()?;
    connect(&connected, &target.loopback(1))?;
    rustix::net::send(&connected, b"x", SendFlags::empty())?;
    c.fails("nobody takes datagrams", take(&connected, 1, RecvFlags::empty()), "ECONNREFUSED");
    // A socket that goes out first and then stays, and the other way round.
    let moves = target.udp()?;
    sendto(&moves, b"out", SendFlags::empty(), &target.at(0))?;
    c.is("out", String::from_utf8_lossy(&receive(&moves)?.0), "out");
    sendto(&moves, b"in", SendFlags::empty(), &own_name(&one)?)?;
    c.is("and in", String::from_utf8_lossy(&receive(&one)?.0), "in");
    sendto(&moves, b"out", SendFlags::empty(), &target.at(0))?;
    c.is("and out", String::from_utf8_lossy(&receive(&moves)?.0), "out");
    Ok(())
}

fn v6(kind: SocketType) -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::INET6, kind, SocketFlags::CLOEXEC, None)?;
    patient(&socket)?;
    Ok(socket)
}

/// An IPv4 address as sockets of IPv6 write it.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

pub(super) fn both_families(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    if !target.peer.is_ipv4() {
        return only_one(c, target);
    }
    let stream = v6(SocketType::STREAM)?;
    c.works("connect to IPv4", connect(&stream, &mapped(target.at(0))));
    c.is("the peer is IPv4, mapped", peer_name(&stream)?, mapped(target.at(0)));
    let own = own_name(&stream)?.ip();
    c.is("so is its own name", matches!(own, IpAddr::V6(own) if own.to_ipv4_mapped().is_some()), true);
    write_all(&stream, b"echo\nmapped")?;
    c.is("bytes", text(take_exactly(&stream, 6)), "\"mapped\"");
    let refused = v6(SocketType::STREAM)?;
    c.fails("nobody listens", connect(&refused, &mapped(target.at(super::ends::CLOSED))), "ECONNREFUSED");
    let narrow = v6(SocketType::STREAM)?;
    set_ipv6_v6only(&narrow, true)?;
    c.fails("only IPv6 is none", connect(&narrow, &mapped(target.at(0))), "ENETUNREACH");

    let datagrams = v6(SocketType::DGRAM)?;
    sendto(&datagrams, b"mapped", SendFlags::empty(), &mapped(target.at(0)))?;
    let (bytes, from) = receive(&datagrams)?;
    c.is("a datagram", String::from_utf8_lossy(&bytes), "mapped");
    c.is("its sender is IPv4, mapped", from, mapped(target.at(0)));
    connect(&datagrams, &mapped(target.at(0)))?;
    c.is("a connected one's peer", peer_name(&datagrams)?, mapped(target.at(0)));

    let listener = v6(SocketType::STREAM)?;
    bind(&listener, &SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0))?;
    listen(&listener, 4)?;
    let port = own_name(&listener)?.port();
    let caller = target.tcp()?;
    c.works("IPv4 calls a listener for both", connect(&caller, &target.loopback(port)));
    let taken = accept(&listener)?;
    c.is("the caller is mapped", peer_name(&taken)?, mapped(own_name(&caller)?));
    c.is("so is where it called", own_name(&taken)?, mapped(target.loopback(port)));
    c.fails("the port is taken for IPv4", bind(&target.tcp()?, &target.any(port)), "EADDRINUSE");
    // Somebody elsewhere calls by IPv4, too.
    let listener = v6(SocketType::STREAM)?;
    rustix::net::sockopt::set_socket_reuseaddr(&listener, true)?;
    bind(&listener, &SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), target.inbound))?;
    listen(&listener, 4)?;
    let dialled = target.ask(&format!("dial 4 {} hello -", target.inbound))?;
    c.is("somebody else calls by IPv4", dialled, "ok");
    let taken = accept(&listener)?;
    patient(&taken)?;
    c.is(
        "and is mapped",
        matches!(peer_name(&taken)?, SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some()),
        true,
    );
    c.is("and speaks", text(take_exactly(&taken, 5)), "\"hello\"");
    Ok(())
}

/// Sockets for IPv6 and nothing else.
fn only_one(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let listener = v6(SocketType::STREAM)?;
    set_ipv6_v6only(&listener, true)?;
    bind(&listener, &target.any(0))?;
    listen(&listener, 4)?;
    let port = own_name(&listener)?.port();
    let here = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    let v4 = || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    c.fails("IPv4 does not get through", connect(&v4()?, &here), "ECONNREFUSED");
    c.works("IPv6 does", connect(&target.tcp()?, &target.loopback(port)));
    let other = v4()?;
    c.is("IPv4 has the port for itself", told(&bind(&other, &here)), "ok");
    let datagrams = v6(SocketType::DGRAM)?;
    set_ipv6_v6only(&datagrams, true)?;
    c.fails(
        "no datagram for IPv4",
        sendto(&datagrams, b"x", SendFlags::empty(), &mapped(here)),
        "ENETUNREACH",
    );
    Ok(())
}
