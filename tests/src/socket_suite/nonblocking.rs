//! Connecting without waiting, and what the socket says meanwhile.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_error};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, SocketType, connect, send};

use super::check::{Checks, told, value};
use super::ends::{CLOSED, SILENT, Target, await_events, now, own_name, peer_name, polled, take};
use super::sys;

const SHORT: Duration = Duration::from_millis(100);

fn socket(target: &Target) -> Result<OwnedFd, Errno> {
    target.socket(SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
}

/// The error that waits in a socket.
fn pending(socket: &OwnedFd) -> Result<&'static str, Errno> {
    Ok(told(&socket_error(socket)?))
}

pub(super) fn run(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let stream = socket(target)?;
    c.fails("connect", connect(&stream, &target.at(0)), "EINPROGRESS");
    c.is("poll for its end", await_events(&stream, PollFlags::OUT)?, "OUT");
    c.is("no error waits", pending(&stream)?, "ok");
    c.holds("it has a peer", peer_name(&stream).is_ok_and(|peer| peer == target.at(0)));
    c.works("connect says that it is done", connect(&stream, &target.at(0)));
    c.fails("connect says so once", connect(&stream, &target.at(0)), "EISCONN");
    c.fails("nothing to read", take(&stream, 8, RecvFlags::empty()), "EAGAIN");

    let stream = socket(target)?;
    c.fails("connect and select", connect(&stream, &target.at(0)), "EINPROGRESS");
    let mut seen = (false, false);
    let start = Instant::now();
    while !seen.1 && start.elapsed() < Duration::from_secs(10) {
        seen = sys::select(&stream, SHORT)?;
    }
    c.is("select", format!("{seen:?}"), "(false, true)");
    c.is("no error waits after select", pending(&stream)?, "ok");
    Ok(())
}

pub(super) fn refused(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let stream = socket(target)?;
    c.fails("connect", connect(&stream, &target.at(CLOSED)), "EINPROGRESS");
    await_events(&stream, PollFlags::OUT)?;
    c.is("poll", now(&stream)?, "IN|OUT|ERR|HUP|RDHUP");
    c.is("select", format!("{:?}", sys::select(&stream, SHORT)?), "(true, true)");
    c.is("the error waits", pending(&stream)?, "ECONNREFUSED");
    c.is("the error waits once", pending(&stream)?, "ok");
    c.is("poll without the error", now(&stream)?, "IN|OUT|HUP|RDHUP");
    c.fails("no peer", peer_name(&stream), "ENOTCONN");

    let stream = socket(target)?;
    c.fails("connect and connect", connect(&stream, &target.at(CLOSED)), "EINPROGRESS");
    await_events(&stream, PollFlags::OUT)?;
    c.fails("connect tells the error", connect(&stream, &target.at(CLOSED)), "ECONNREFUSED");
    c.fails("and begins anew", connect(&stream, &target.at(CLOSED)), "EINPROGRESS");

    let stream = socket(target)?;
    c.fails("connect and receive", connect(&stream, &target.at(CLOSED)), "EINPROGRESS");
    await_events(&stream, PollFlags::OUT)?;
    c.fails("receiving tells the error", take(&stream, 8, RecvFlags::empty()), "ECONNREFUSED");
    c.is("then the end", value(take(&stream, 8, RecvFlags::empty()).map(|bytes| bytes.len())), "0");
    let stream = socket(target)?;
    c.fails("connect and send", connect(&stream, &target.at(CLOSED)), "EINPROGRESS");
    await_events(&stream, PollFlags::OUT)?;
    c.fails("sending tells the error", send(&stream, b"x", SendFlags::NOSIGNAL), "ECONNREFUSED");
    c.fails("then a broken pipe", send(&stream, b"x", SendFlags::NOSIGNAL), "EPIPE");
    Ok(())
}

pub(super) fn unanswered(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let stream = socket(target)?;
    c.fails("connect", connect(&stream, &target.at(SILENT)), "EINPROGRESS");
    c.fails("connect again", connect(&stream, &target.at(SILENT)), "EALREADY");
    c.is("poll", polled(&stream, PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP, SHORT)?, "");
    c.is("select", format!("{:?}", sys::select(&stream, SHORT)?), "(false, false)");
    c.is("no error waits", pending(&stream)?, "ok");
    c.fails("no peer yet", peer_name(&stream), "ENOTCONN");
    c.holds("but a port", own_name(&stream)?.port() != 0);
    c.fails("sending waits", send(&stream, b"x", SendFlags::NOSIGNAL), "EAGAIN");
    c.fails("receiving waits", take(&stream, 8, RecvFlags::empty()), "EAGAIN");
    c.is("its state is SYN_SENT", sys::tcp_state(&stream)?, 2);
    c.works("give up", rustix::net::connect_unspec(&stream));
    c.fails("and connect elsewhere", connect(&stream, &target.at(0)), "EINPROGRESS");
    c.is("which works", await_events(&stream, PollFlags::OUT)?, "OUT");

    let waits = target.tcp()?;
    set_socket_timeout(&waits, Timeout::Send, Some(SHORT))?;
    c.fails("connect for a time", connect(&waits, &target.at(SILENT)), "EINPROGRESS");
    let interrupted = target.tcp()?;
    sys::alarm(SHORT, false);
    c.fails("connect until a signal", connect(&interrupted, &target.at(SILENT)), "EINTR");
    c.fails(
        "and go on",
        {
            set_socket_timeout(&interrupted, Timeout::Send, Some(SHORT))?;
            connect(&interrupted, &target.at(SILENT))
        },
        "EALREADY",
    );
    let limited = target.tcp()?;
    rustix::net::sockopt::set_tcp_user_timeout(&limited, 500)?;
    let start = Instant::now();
    c.fails("connect with a limit", connect(&limited, &target.at(SILENT)), "ETIMEDOUT");
    c.holds("the limit counts", start.elapsed() < Duration::from_secs(8));
    Ok(())
}
