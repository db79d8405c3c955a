//! Socket options: what they are at first, and that they keep what they are told.

use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};

use super::check::{Checks, value};
use super::ends::Target;
use super::sys;

pub(super) fn run(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let (tcp, udp) = (target.tcp()?, target.udp()?);
    let get = |socket: &std::os::fd::OwnedFd, name| value(sys::option(socket, libc::SOL_SOCKET, name));
    c.is("SO_TYPE of a stream", get(&tcp, libc::SO_TYPE), libc::SOCK_STREAM);
    c.is("SO_TYPE of datagrams", get(&udp, libc::SO_TYPE), libc::SOCK_DGRAM);
    let family = if target.peer.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    c.is("SO_DOMAIN of a stream", get(&tcp, libc::SO_DOMAIN), family);
    c.is("SO_DOMAIN of datagrams", get(&udp, libc::SO_DOMAIN), family);
    c.is("SO_PROTOCOL of a stream", get(&tcp, libc::SO_PROTOCOL), libc::IPPROTO_TCP);
    c.is("SO_PROTOCOL of datagrams", get(&udp, libc::SO_PROTOCOL), libc::IPPROTO_UDP);
    c.is("SO_ACCEPTCONN", get(&tcp, libc::SO_ACCEPTCONN), 0);
    c.is("SO_ERROR", get(&tcp, libc::SO_ERROR), 0);
    c.fails("an unknown option", sys::option(&tcp, libc::SOL_SOCKET, 9999), "ENOPROTOOPT");
    c.fails("an unknown option is not set", sys::set_option(&tcp, libc::SOL_SOCKET, 9999, 1), "ENOPROTOOPT");
    for (name, option) in [
        ("SO_REUSEADDR", libc::SO_REUSEADDR),
        ("SO_REUSEPORT", libc::SO_REUSEPORT),
        ("SO_KEEPALIVE", libc::SO_KEEPALIVE),
        ("SO_BROADCAST", libc::SO_BROADCAST),
        ("SO_OOBINLINE", libc::SO_OOBINLINE),
    ] {
        c.is(&format!("{name} at first"), get(&tcp, option), 0);
        c.works(&format!("{name} is set"), sys::set_option(&tcp, libc::SOL_SOCKET, option, 1));
        c.is(&format!("{name} afterwards"), get(&tcp, option), 1);
    }
    for (name, which) in [("SO_RCVTIMEO", Timeout::Recv), ("SO_SNDTIMEO", Timeout::Send)] {
        sockopt::set_socket_timeout(&tcp, which, Some(Duration::from_millis(1500)))?;
        let kept = sockopt::socket_timeout(&tcp, which)?;
        c.is(name, format!("{kept:?}"), "Some(1.5s)");
        sockopt::set_socket_timeout(&tcp, which, None)?;
        c.is(&format!("{name} unlimited"), format!("{:?}", sockopt::socket_timeout(&tcp, which)?), "None");
    }
    c.is("SO_LINGER at first", format!("{:?}", sockopt::socket_linger(&tcp)?), "None");
    sockopt::set_socket_linger(&tcp, Some(Duration::from_secs(4)))?;
    c.is("SO_LINGER", format!("{:?}", sockopt::socket_linger(&tcp)?), "Some(4s)");
    sockopt::set_socket_recv_buffer_size(&udp, 20_000)?;
    c.is("SO_RCVBUF is doubled", value(sockopt::socket_recv_buffer_size(&udp)), 40_000);
    sockopt::set_socket_send_buffer_size(&udp, 20_000)?;
    c.is("SO_SNDBUF is doubled", value(sockopt::socket_send_buffer_size(&udp)), 40_000);
    Ok(())
}

pub(super) fn tcp(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let fresh = target.tcp()?;
    c.is("TCP_INFO of a new socket", sys::tcp_state(&fresh)?, 7);
    let stream = target.stream("echo")?;
    c.is("TCP_INFO of a connection", sys::tcp_state(&stream)?, 1);
    for (when, socket) in [("unconnected", &fresh), ("connected", &stream)] {
        c.is(&format!("TCP_NODELAY at first, {when}"), value(sockopt::tcp_nodelay(socket)), false);
        sockopt::set_tcp_nodelay(socket, true)?;
        c.is(&format!("TCP_NODELAY, {when}"), value(sockopt::tcp_nodelay(socket)), true);
        sockopt::set_tcp_keepidle(socket, Duration::from_secs(77))?;
        let idle = sockopt::tcp_keepidle(socket)?;
        c.is(&format!("TCP_KEEPIDLE, {when}"), format!("{idle:?}"), "77s");
        sockopt::set_tcp_keepintvl(socket, Duration::from_secs(7))?;
        let interval = sockopt::tcp_keepintvl(socket)?;
        c.is(&format!("TCP_KEEPINTVL, {when}"), format!("{interval:?}"), "7s");
        sockopt::set_tcp_keepcnt(socket, 5)?;
        c.is(&format!("TCP_KEEPCNT, {when}"), value(sockopt::tcp_keepcnt(socket)), 5);
        sockopt::set_tcp_user_timeout(socket, 30_000)?;
        c.is(&format!("TCP_USER_TIMEOUT, {when}"), value(sockopt::tcp_user_timeout(socket)), 30_000);
        sockopt::set_tcp_cork(socket, true)?;
        c.is(&format!("TCP_CORK, {when}"), value(sockopt::tcp_cork(socket)), true);
    }
    let unknown = sys::option(&stream, libc::IPPROTO_TCP, 9999);
    c.fails("an unknown option of TCP", unknown, "ENOPROTOOPT");
    if target.peer.is_ipv4() {
        sockopt::set_ip_ttl(&stream, 33)?;
        c.is("IP_TTL", value(sockopt::ip_ttl(&stream)), 33);
        sockopt::set_ip_tos(&stream, 16)?;
        c.is("IP_TOS", value(sockopt::ip_tos(&stream)), 16);
    } else {
        sockopt::set_ipv6_unicast_hops(&stream, Some(33))?;
        c.is("IPV6_UNICAST_HOPS", value(sockopt::ipv6_unicast_hops(&stream)), 33);
        c.is("IPV6_V6ONLY at first", value(sockopt::ipv6_v6only(&fresh)), false);
        sockopt::set_ipv6_v6only(&fresh, true)?;
        c.is("IPV6_V6ONLY", value(sockopt::ipv6_v6only(&fresh)), true);
        c.fails("IPV6_V6ONLY of a connection", sockopt::set_ipv6_v6only(&stream, true), "EINVAL");
    }
    Ok(())
}
