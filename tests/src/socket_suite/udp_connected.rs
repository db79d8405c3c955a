//! Datagram sockets that are connected: whom they hear, and what they are told.

use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{self, socket_error};
use rustix::net::{RecvFlags, SendFlags, Shutdown, connect, connect_unspec, send, sendto, shutdown};

use super::check::{Checks, text, told, value};
use super::ends::{CLOSED, Target, await_events, now, own_name, peer_name, polled, take, until};
use super::udp::receive;

const SHORT: Duration = Duration::from_millis(150);

pub(super) fn run(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let socket = target.udp()?;
    c.works("connect", connect(&socket, &target.at(0)));
    c.is("its peer", peer_name(&socket)?, target.at(0));
    c.holds("its own name", own_name(&socket)?.port() != 0);
    c.is("send", value(send(&socket, b"hi", SendFlags::empty())), 2);
    c.is("the answer", text(take(&socket, 64, RecvFlags::empty())), "\"hi\"");
    c.is("poll", now(&socket)?, "OUT");
    send(&socket, b"other", SendFlags::empty())?;
    c.is("others are not heard", polled(&socket, PollFlags::IN, SHORT)?, "");
    let elsewhere = sendto(&socket, b"hi", SendFlags::empty(), &target.at(CLOSED));
    c.works("others can be spoken to", elsewhere);
    // That nobody is there is told on its way, and not for this peer; it must not come when it is.
    polled(&socket, PollFlags::IN, SHORT)?;
    c.works("connect to another", connect(&socket, &target.at(CLOSED)));
    c.is("its new peer", peer_name(&socket)?, target.at(CLOSED));
    c.works("connect back", connect(&socket, &target.at(0)));
    send(&socket, b"again", SendFlags::empty())?;
    c.is("the answer again", text(take(&socket, 64, RecvFlags::empty())), "\"again\"");
    c.works("dissolve", connect_unspec(&socket));
    c.fails("no peer any more", peer_name(&socket), "ENOTCONN");
    c.fails("nobody to send to", send(&socket, b"x", SendFlags::empty()), "EDESTADDRREQ");
    sendto(&socket, b"other", SendFlags::empty(), &target.at(0))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(SHORT * 8))?;
    let heard = receive(&socket).map(|(bytes, from)| {
        let from_another_port = from.ip() == target.peer && from.port() != target.port;
        format!("{} {from_another_port}", String::from_utf8_lossy(&bytes))
    });
    c.is("others are heard again", value(heard), "from elsewhere true");

    let socket = target.udp()?;
    connect(&socket, &target.at(0))?;
    send(&socket, b"", SendFlags::empty())?;
    c.is("an empty answer", value(take(&socket, 8, RecvFlags::empty()).map(|bytes| bytes.len())), "0");
    c.works("end", shutdown(&socket, Shutdown::Both));
    c.fails("nothing is sent after the end", send(&socket, b"x", SendFlags::NOSIGNAL), "EPIPE");
    c.is("poll after the end", now(&socket)?, "IN|OUT|HUP|RDHUP");

    let socket = target.udp()?;
    connect(&socket, &target.at(0))?;
    send(&socket, b"who", SendFlags::empty())?;
    let seen = String::from_utf8_lossy(&take(&socket, 128, RecvFlags::empty())?).into_owned();
    c.is("the peer sees the address", seen == own_name(&socket)?.to_string(), true);
    Ok(())
}

pub(super) fn refused(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let socket = target.udp()?;
    connect(&socket, &target.at(CLOSED))?;
    c.works("send to nobody", send(&socket, b"x", SendFlags::empty()));
    c.is("poll", until(&socket, "OUT|ERR")?, "OUT|ERR");
    c.fails("receiving tells", take(&socket, 8, RecvFlags::empty()), "ECONNREFUSED");
    c.is("it is told once", now(&socket)?, "OUT");
    send(&socket, b"x", SendFlags::empty())?;
    await_events(&socket, PollFlags::empty())?;
    c.fails("sending tells", send(&socket, b"x", SendFlags::empty()), "ECONNREFUSED");
    c.works("the next one is sent", send(&socket, b"x", SendFlags::empty()));
    await_events(&socket, PollFlags::empty())?;
    c.is("the option tells", told(&socket_error(&socket)?), "ECONNREFUSED");
    send(&socket, b"x", SendFlags::empty())?;
    c.fails("the one who waits is told", take(&socket, 8, RecvFlags::empty()), "ECONNREFUSED");
    c.works("it connects to somebody", connect(&socket, &target.at(0)));
    send(&socket, b"hi", SendFlags::empty())?;
    c.is("who answers", text(take(&socket, 64, RecvFlags::empty())), "\"hi\"");
    Ok(())
}
