//! Datagrams from a socket that is not connected: boundaries, sizes, flags.

use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::sockopt::{Timeout, set_socket_reuseaddr, set_socket_timeout};
use rustix::net::{
    MMsgHdr, RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendFlags, Shutdown,
    SocketAddrAny, bind, recvfrom, recvmsg, send, sendmmsg, sendmsg_addr, sendto, shutdown,
};

use super::check::{Checks, text, value};
use super::ends::{CLOSED, Target, await_events, now, polled, take};
use super::sys;

const SHORT: Duration = Duration::from_millis(150);

/// Receives a datagram and who sent it.
pub(super) fn receive(socket: &OwnedFd) -> Result<(Vec<u8>, SocketAddr), Errno> {
    let mut bytes = vec![0; 1 << 17];
    let (count, _, from) = recvfrom(socket, &mut bytes[..], RecvFlags::empty())?;
    bytes.truncate(count);
    Ok((bytes, SocketAddr::try_from(from.ok_or(Errno::NOTCONN)?).map_err(|_| Errno::AFNOSUPPORT)?))
}

pub(super) fn run(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let socket = target.udp()?;
    c.is("poll at first", now(&socket)?, "OUT");
    c.fails("nothing has come", take(&socket, 8, RecvFlags::DONTWAIT), "EAGAIN");
    c.fails("sent to nobody", send(&socket, b"x", SendFlags::empty()), "EDESTADDRREQ");
    let no_port = SocketAddr::new(target.peer, 0);
    c.fails("sent to no port", sendto(&socket, b"x", SendFlags::empty(), &no_port), "EINVAL");
    let ended = target.udp()?;
    c.fails("nothing to end", shutdown(&ended, Shutdown::Both), "ENOTCONN");
    c.fails("but ended", sendto(&ended, b"x", SendFlags::NOSIGNAL, &target.at(0)), "EPIPE");
    c.is("sent", value(sendto(&socket, b"hello", SendFlags::empty(), &target.at(0))), 5);
    c.is("poll for the answer", await_events(&socket, PollFlags::IN)?, "IN");
    c.is("its size", value(ioctl_fionread(&socket)), 5);
    c.is("looked at", text(take(&socket, 64, RecvFlags::PEEK)), "\"hello\"");
    let (answer, from) = receive(&socket)?;
    c.is("the answer", String::from_utf8_lossy(&answer), "hello");
    c.is("it comes from the peer", from, target.at(0));

    sendto(&socket, b"twice", SendFlags::empty(), &target.at(0))?;
    c.is("the first of two", String::from_utf8_lossy(&receive(&socket)?.0), "first");
    c.is("the second of two", String::from_utf8_lossy(&receive(&socket)?.0), "second");
    sendto(&socket, b"", SendFlags::empty(), &target.at(0))?;
    c.is("an empty datagram wakes", await_events(&socket, PollFlags::IN)?, "IN");
    c.is("and is empty", value(take(&socket, 8, RecvFlags::empty()).map(|bytes| bytes.len())), "0");
    c.fails("and is gone", take(&socket, 8, RecvFlags::DONTWAIT), "EAGAIN");

    sendto(&socket, b"x", SendFlags::empty(), &target.at(CLOSED))?;
    c.is("nobody there, nobody told", polled(&socket, PollFlags::IN, SHORT)?, "");
    c.works("others are still reached", sendto(&socket, b"still", SendFlags::empty(), &target.at(0)));
    c.is("and answer", String::from_utf8_lossy(&receive(&socket)?.0), "still");
    set_socket_timeout(&socket, Timeout::Recv, Some(SHORT))?;
    let start = Instant::now();
    c.fails("waiting has an end", take(&socket, 8, RecvFlags::empty()), "EAGAIN");
    c.holds("after its time", start.elapsed() >= SHORT && start.elapsed() < SHORT * 10);

    let taken = target.udp()?;
    bind(&taken, &target.any(0))?;
    let port = super::ends::own_name(&taken)?.port();
    let second = target.udp()?;
    c.fails("a port that is taken", bind(&second, &target.any(port)), "EADDRINUSE");
    set_socket_reuseaddr(&taken, true)?;
    set_socket_reuseaddr(&second, true)?;
    c.works("a port that is shared", bind(&second, &target.any(port)));
    if target.peer.is_ipv4() {
        let broadcast = SocketAddr::from(([127, 255, 255, 255], 9));
        c.fails("to all without leave", sendto(&socket, b"x", SendFlags::empty(), &broadcast), "EACCES");
    }
    Ok(())
}

pub(super) fn sizes(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let socket = target.udp()?;
    let largest = if target.peer.is_ipv4() { 65_507 } else { 65_527 };
    for size in [1, 1472, 1473, 9000, 32_000, 65_400] {
        let sent: Vec<u8> = (0..size).map(super::peer::pattern).collect();
        sendto(&socket, &sent, SendFlags::empty(), &target.at(0))?;
        let back = receive(&socket).map(|(bytes, _)| bytes == sent);
        c.is(&format!("{size} bytes there and back"), value(back), true);
    }
    set_socket_timeout(&socket, Timeout::Recv, Some(SHORT * 10))?;
    let sent = vec![7; largest];
    c.is("the largest is sent", value(sendto(&socket, &sent, SendFlags::empty(), &target.at(0))), largest);
    c.is("the largest comes back", value(receive(&socket).map(|(bytes, _)| bytes == sent)), true);
    let over = vec![7; largest + 1];
    c.fails("a larger one", sendto(&socket, &over, SendFlags::empty(), &target.at(0)), "EMSGSIZE");

    sendto(&socket, b"size 1000", SendFlags::empty(), &target.at(0))?;
    await_events(&socket, PollFlags::IN)?;
    let mut bytes = [0; 100];
    let (_, whole, _) = recvfrom(&socket, &mut bytes[..], RecvFlags::TRUNC | RecvFlags::PEEK)?;
    c.is("its whole size though there is no room", whole, 1000);
    let message = recvmsg(
        &socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut RecvAncillaryBuffer::default(),
        RecvFlags::empty(),
    )?;
    c.is("what there is room for", message.bytes, 100);
    c.is("it was cut", message.flags.contains(ReturnFlags::TRUNC), true);
    c.fails("the rest is gone", take(&socket, 8, RecvFlags::DONTWAIT), "EAGAIN");
    Ok(())
}

pub(super) fn vectors(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let socket = target.udp()?;
    let parts = [IoSlice::new(b"ab"), IoSlice::new(b"cd")];
    let sent =
        sendmsg_addr(&socket, &target.at(0), &parts, &mut SendAncillaryBuffer::default(), SendFlags::empty());
    c.is("sendmsg joins", value(sent), 4);
    await_events(&socket, PollFlags::IN)?;
    let (mut one, mut two) = ([0; 3], [0; 3]);
    let message = recvmsg(
        &socket,
        &mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)],
        &mut RecvAncillaryBuffer::default(),
        RecvFlags::empty(),
    )?;
    let from = message.address.and_then(|from| SocketAddr::try_from(from).ok());
    c.is("recvmsg parts", format!("{one:?} {two:?}"), "[97, 98, 99] [100, 0, 0]");
    c.is("recvmsg says who", from == Some(target.at(0)), true);
    c.is("nothing was cut", message.flags.contains(ReturnFlags::TRUNC), false);

    let to = SocketAddrAny::from(target.at(0));
    let texts = [[IoSlice::new(b"one")], [IoSlice::new(b"two")], [IoSlice::new(b"three")]];
    let mut controls =
        [SendAncillaryBuffer::default(), SendAncillaryBuffer::default(), SendAncillaryBuffer::default()];
    let mut messages: Vec<MMsgHdr<'_>> = texts
        .iter()
        .zip(&mut controls)
        .map(|(text, control)| MMsgHdr::new_with_addr(&to, text, control))
        .collect();
    c.is("sendmmsg", value(sendmmsg(&socket, &mut messages, SendFlags::empty())), 3);
    let sizes: Vec<usize> = messages.iter().map(MMsgHdr::bytes_sent).collect();
    c.is("sendmmsg's sizes", format!("{sizes:?}"), "[3, 3, 5]");
    let (mut all, start) = (Vec::new(), Instant::now());
    while all.len() < 3 && start.elapsed() < SHORT * 30 {
        await_events(&socket, PollFlags::IN)?;
        all.extend(sys::receive_many(&socket, 8)?);
    }
    let all: Vec<_> = all.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
    c.is("recvmmsg", all.join(" "), "one two three");
    c.fails("recvmmsg of nothing", sys::receive_many(&socket, 8), "EAGAIN");
    Ok(())
}

/// Datagrams that are sent at once (`UDP_SEGMENT`) and may come together (`UDP_GRO`), udp(7).
pub(super) fn several(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let socket = target.udp()?;
    set_socket_timeout(&socket, Timeout::Recv, Some(SHORT * 30))?;
    let bytes: Vec<u8> = (0..3500).map(super::peer::pattern).collect();
    c.works("a length to cut at", sys::set_option(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, 1000));
    // Where the first begin something new, the second find it there.
    for round in ["the first", "the second"] {
        let sent = sendto(&socket, &bytes, SendFlags::empty(), &target.at(0));
        c.is(&format!("{round} go at once"), value(sent), 3500);
        c.is(&format!("{round} are cut"), value(lengths(&socket, &bytes)), "1000 1000 1000 500");
    }
    c.works("no length to cut at", sys::set_option(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0));
    sendto(&socket, b"whole again", SendFlags::empty(), &target.at(0))?;
    c.is("nothing is cut", text(take(&socket, 64, RecvFlags::empty())), "\"whole again\"");
    sendto(&socket, b"several 3500 1000", SendFlags::empty(), &target.at(0))?;
    c.is("what came at once", value(lengths(&socket, &bytes)), "1000 1000 1000 500");
    c.works("together", sys::set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1));
    sendto(&socket, b"several 3500 1000", SendFlags::empty(), &target.at(0))?;
    c.is("what comes together", value(lengths(&socket, &bytes)), "3500");
    Ok(())
}

/// The lengths of the datagrams that bring `bytes`.
fn lengths(socket: &OwnedFd, bytes: &[u8]) -> Result<String, Errno> {
    let (mut came, mut lengths) = (Vec::new(), Vec::new());
    while came.len() < bytes.len() {
        let datagram = take(socket, 1 << 16, RecvFlags::empty())?;
        lengths.push(datagram.len().to_string());
        came.extend(datagram);
    }
    Ok(if came == bytes { lengths.join(" ") } else { "other bytes".into() })
}
