//! Being connected to from elsewhere, at a port that leads here.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{
    RecvFlags, SendFlags, Shutdown, SocketFlags, accept, accept_with, acceptfrom, bind, connect, listen,
    recvfrom, send, sendto, shutdown,
};

use super::check::{Checks, text, value};
use super::ends::{
    Target, await_events, now, own_name, patient, peer_name, read_to_end, take, take_exactly, until,
    write_all,
};

/// A listener at the port that leads here.
fn listener(target: &Target) -> Result<OwnedFd, Errno> {
    let listener = target.tcp()?;
    set_socket_reuseaddr(&listener, true)?;
    bind(&listener, &target.any(target.inbound))?;
    listen(&listener, 16)?;
    Ok(listener)
}

/// Has the peer connect here and do `what`.
fn dial(target: &Target, what: &str, name: &str) -> Result<String, Errno> {
    target.ask(&format!("dial {} {} {what} {name}", target.family_digit(), target.inbound))
}

pub(super) fn tcp(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let listener = listener(target)?;
    c.is("its port is the one", own_name(&listener)?.port(), target.inbound);
    c.is("the peer connects", dial(target, "hello", "-")?, "ok");
    c.is("poll", await_events(&listener, PollFlags::IN)?, "IN");
    let (stream, from) = acceptfrom(&listener)?;
    patient(&stream)?;
    let from = from.and_then(|from| SocketAddr::try_from(from).ok()).ok_or(Errno::NOTCONN)?;
    c.holds("it has a port", from.port() != 0 && !from.ip().is_unspecified());
    c.is("it is the socket's peer", peer_name(&stream)?, from);
    c.is("it called this port", own_name(&stream)?.port(), target.inbound);
    c.holds("it called this machine", !own_name(&stream)?.ip().is_unspecified());
    c.is("it speaks first", text(take_exactly(&stream, 5)), "\"hello\"");
    write_all(&stream, b"and you")?;
    c.is("and answers", text(take_exactly(&stream, 7)), "\"and you\"");
    shutdown(&stream, Shutdown::Write)?;
    c.is("and ends", value(read_to_end(&stream).map(|bytes| bytes.len())), "0");
    for _ in 0..3 {
        dial(target, "hello", "-")?;
    }
    let mut greetings = Vec::new();
    for _ in 0..3 {
        let stream = accept_with(&listener, SocketFlags::CLOEXEC)?;
        patient(&stream)?;
        greetings.extend(take_exactly(&stream, 5)?);
    }
    c.is("three that waited", greetings == b"hellohellohello", true);
    rustix::io::ioctl_fionbio(&listener, true)?;
    c.fails("and no fourth", accept(&listener), "EAGAIN");
    Ok(())
}

pub(super) fn ends(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let listener = listener(target)?;
    let name = format!("in{}", target.family_digit());
    dial(target, "close-first", &name)?;
    let stream = accept(&listener)?;
    patient(&stream)?;
    c.is("the peer's last words", text(read_to_end(&stream)), "\"bye\"");
    c.is("poll of what it left", now(&stream)?, "IN|OUT|RDHUP");
    write_all(&stream, b"still here")?;
    shutdown(&stream, Shutdown::Write)?;
    c.is("it listened to the end", target.ask(&format!("ending {name}"))?, "end after 10");

    dial(target, "reset", &name)?;
    let stream = accept(&listener)?;
    patient(&stream)?;
    take_exactly(&stream, 5)?;
    write_all(&stream, b"x")?;
    c.is("a reset", until(&stream, "IN|OUT|ERR|HUP|RDHUP")?, "IN|OUT|ERR|HUP|RDHUP");
    c.fails("it is told", take(&stream, 8, RecvFlags::empty()), "ECONNRESET");
    c.fails("and the pipe is broken", send(&stream, b"x", SendFlags::NOSIGNAL), "EPIPE");

    dial(target, "watch", &name)?;
    let stream = accept(&listener)?;
    patient(&stream)?;
    write_all(&stream, &[0; 50_000])?;
    drop(stream);
    c.is("closing is an end", target.ask(&format!("ending {name}"))?, "end after 50000");
    dial(target, "watch", &name)?;
    let stream = accept(&listener)?;
    rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO))?;
    drop(stream);
    c.is("closing without lingering", target.ask(&format!("ending {name}"))?, "reset after 0");
    Ok(())
}

pub(super) fn udp(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let socket = target.udp()?;
    bind(&socket, &target.any(target.inbound))?;
    let digit = target.family_digit();
    let asks = target.stream(&format!("datagram {digit} {} question", target.inbound))?;
    c.is("poll", await_events(&socket, PollFlags::IN)?, "IN");
    let mut bytes = [0; 64];
    let (count, _, from) = recvfrom(&socket, &mut bytes[..], RecvFlags::empty())?;
    let from = from.and_then(|from| SocketAddr::try_from(from).ok()).ok_or(Errno::NOTCONN)?;
    c.is("the datagram", String::from_utf8_lossy(&bytes[..count]), "question");
    c.holds("it has a sender", from.port() != 0 && !from.ip().is_unspecified());
    c.works("answer it", sendto(&socket, b"answer", SendFlags::empty(), &from));
    c.is("the answer and its port", text(read_to_end(&asks)), format!("\"answer from {}\"", target.inbound));

    // The same from a socket that is connected to who sent it.
    let asks = target.stream(&format!("datagram {digit} {} again", target.inbound))?;
    let (_, _, from) = recvfrom(&socket, &mut bytes[..], RecvFlags::empty())?;
    let from = from.and_then(|from| SocketAddr::try_from(from).ok()).ok_or(Errno::NOTCONN)?;
    connect(&socket, &from)?;
    c.works("answer, connected", send(&socket, b"answer", SendFlags::empty()));
    c.is("that answer and its port", text(read_to_end(&asks)), format!("\"answer from {}\"", target.inbound));
    Ok(())
}
