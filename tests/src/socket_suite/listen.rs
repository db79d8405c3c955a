//! Binding and listening, on this machine's own addresses, and calls on sockets in the wrong state for them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::{Errno, FdFlags, fcntl_getfd};
use rustix::net::sockopt::{set_socket_reuseaddr, socket_acceptconn};
use rustix::net::{
    RecvFlags, SendFlags, SocketFlags, SocketType, accept, accept_with, acceptfrom, bind, connect, listen,
    send,
};

use super::check::{Checks, text, value};
use super::ends::{Target, await_events, now, own_name, patient, peer_name, take, write_all};
use super::sys;

pub(super) fn binding(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let first = target.tcp()?;
    c.works("to a free port", bind(&first, &target.any(0)));
    let port = own_name(&first)?.port();
    c.holds("which is one", port != 0);
    c.fails("again", bind(&first, &target.any(0)), "EINVAL");
    let second = target.tcp()?;
    c.fails("to a port that is taken", bind(&second, &target.any(port)), "EADDRINUSE");
    c.fails("to one address of it", bind(&second, &target.loopback(port)), "EADDRINUSE");
    set_socket_reuseaddr(&first, true)?;
    set_socket_reuseaddr(&second, true)?;
    c.works("to a port that is shared", bind(&second, &target.any(port)));
    c.works("one of the two listens", listen(&first, 1));
    c.fails("the other does not", listen(&second, 1), "EADDRINUSE");
    let third = target.tcp()?;
    set_socket_reuseaddr(&third, true)?;
    c.fails("to a port that listens", bind(&third, &target.any(port)), "EADDRINUSE");
    c.works("datagrams have ports of their own", bind(&target.udp()?, &target.any(port)));
    let foreign: IpAddr = if target.peer.is_ipv4() {
        Ipv4Addr::new(203, 0, 113, 77).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77).into()
    };
    let fresh = target.tcp()?;
    c.fails("to somebody else's address", bind(&fresh, &SocketAddr::new(foreign, 0)), "EADDRNOTAVAIL");
    let other = if target.peer.is_ipv4() { "::1" } else { "127.0.0.1" };
    let other = SocketAddr::new(other.parse().map_err(|_| Errno::INVAL)?, 0);
    let mismatch = if target.peer.is_ipv4() { "EAFNOSUPPORT" } else { "EINVAL" };
    c.fails("to another family's address", bind(&fresh, &other), mismatch);
    c.fails("to an address cut short", sys::with_address(&fresh, true, &[2, 0, 0]), "EINVAL");
    c.works("after all that", bind(&fresh, &target.loopback(0)));
    c.is("to one address", own_name(&fresh)?.ip() == target.loopback(0).ip(), true);
    let connected = target.stream("echo")?;
    c.fails("when connected", bind(&connected, &target.any(0)), "EINVAL");
    Ok(())
}

/// Somebody without rights binds.
pub(super) fn privileged(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let (low, high) = (target.tcp()?, target.tcp()?);
    // 0 in a guest, as in Docker's containers; 1024 on a plain Linux.
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let is_open = first.is_ok_and(|first| first.trim() == "0");
    sys::become_nobody()?;
    let bound = bind(&low, &target.any(80));
    if is_open {
        c.works("to a low port", bound);
    } else {
        c.fails("to a low port", bound, "EACCES");
    }
    c.works("to a port of everybody's", bind(&high, &target.any(0)));
    Ok(())
}

pub(super) fn run(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let listener = target.socket(SocketType::STREAM, SocketFlags::NONBLOCK)?;
    c.works("without a port", listen(&listener, 4));
    let port = own_name(&listener)?.port();
    c.holds("one was found", port != 0);
    c.is("it listens", value(socket_acceptconn(&listener)), true);
    c.is("its state is LISTEN", sys::tcp_state(&listener)?, 10);
    c.is("poll without anybody", now(&listener)?, "");
    c.fails("nobody to accept", accept(&listener), "EAGAIN");
    c.works("a larger queue", listen(&listener, 8));

    let caller = target.tcp()?;
    c.works("connect from within", connect(&caller, &target.loopback(port)));
    write_all(&caller, b"early")?;
    c.is("somebody came", await_events(&listener, rustix::event::PollFlags::IN)?, "IN");
    let (taken, from) = acceptfrom(&listener)?;
    patient(&taken)?;
    let from = from.and_then(|from| SocketAddr::try_from(from).ok());
    c.is("accept says who", from == Some(own_name(&caller)?), true);
    c.is("so does the socket", peer_name(&taken)? == own_name(&caller)?, true);
    c.is("its own name is where it was called", own_name(&taken)?, target.loopback(port));
    c.is("the caller's peer", peer_name(&caller)?, target.loopback(port));
    c.is("what was sent early is there", text(take(&taken, 9, RecvFlags::empty())), "\"early\"");
    c.is("an accepted socket does not listen", value(socket_acceptconn(&taken)), false);
    c.is(
        "it waits although the listener does not",
        {
            let flags = rustix::fs::fcntl_getfl(&taken)?;
            flags.contains(rustix::fs::OFlags::NONBLOCK)
        },
        false,
    );
    c.is("it stays open when others are started", fcntl_getfd(&taken)? == FdFlags::CLOEXEC, false);

    let second = target.tcp()?;
    connect(&second, &target.loopback(port))?;
    await_events(&listener, rustix::event::PollFlags::IN)?;
    let flagged = accept_with(&listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    c.is("accepted with close-on-exec", fcntl_getfd(&flagged)? == FdFlags::CLOEXEC, true);
    c.fails("accepted without waiting", take(&flagged, 1, RecvFlags::empty()), "EAGAIN");

    let third = target.tcp()?;
    connect(&third, &target.loopback(port))?;
    drop(listener);
    c.fails("the queue ends with its listener", take(&third, 1, RecvFlags::empty()), "ECONNRESET");
    c.works("what was accepted lives on", write_all(&caller, b"on"));
    c.is("and is received", text(take(&taken, 9, RecvFlags::empty())), "\"on\"");
    c.fails("nobody listens any more", connect(&target.tcp()?, &target.loopback(port)), "ECONNREFUSED");
    Ok(())
}

pub(super) fn wrong_state(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let fresh = target.tcp()?;
    c.fails("send on a new socket", send(&fresh, b"x", SendFlags::NOSIGNAL), "EPIPE");
    c.fails("receive on a new socket", take(&fresh, 1, RecvFlags::empty()), "ENOTCONN");
    c.fails("accept on a new socket", accept(&fresh), "EINVAL");
    let stream = target.stream("echo")?;
    c.fails("listen on a connection", listen(&stream, 1), "EINVAL");
    c.fails("accept on a connection", accept(&stream), "EINVAL");
    let listener = target.tcp()?;
    listen(&listener, 1)?;
    c.fails("connect a listener", connect(&listener, &target.at(0)), "EISCONN");
    c.fails("send on a listener", send(&listener, b"x", SendFlags::NOSIGNAL), "EPIPE");
    c.fails("receive on a listener", take(&listener, 1, RecvFlags::empty()), "ENOTCONN");
    let datagrams = target.udp()?;
    c.fails("listen for datagrams", listen(&datagrams, 1), "EOPNOTSUPP");
    c.fails("accept datagrams", accept(&datagrams), "EOPNOTSUPP");
    let closed = std::fs::File::open("/dev/null").map_err(|_| Errno::IO)?;
    c.fails("connect what is no socket", connect(&closed, &target.at(0)), "ENOTSOCK");
    Ok(())
}
