//! How connections end: each way by itself, both, and by a reset, as both sides see it.

use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{RecvFlags, SendFlags, Shutdown, connect, send, shutdown};

use super::check::{Checks, text, value};
use super::ends::{RESETS, Target, peer_name, read_to_end, take, take_exactly, until, write_all};
use super::sys;

pub(super) fn half_close(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let stream = target.stream("echo")?;
    write_all(&stream, b"before")?;
    c.works("end sending", shutdown(&stream, Shutdown::Write));
    c.fails("no more is sent", send(&stream, b"x", SendFlags::NOSIGNAL), "EPIPE");
    c.is("the answer still comes", text(read_to_end(&stream)), "\"before\"");
    c.works("end sending again", shutdown(&stream, Shutdown::Write).or_else(gone));

    let name = format!("half{}", target.family_digit());
    let stream = target.stream(&format!("say-and-close-first {name}"))?;
    c.is("the peer's last words", text(take_exactly(&stream, 3)), "\"bye\"");
    c.is("the peer's end", value(take(&stream, 8, RecvFlags::empty()).map(|bytes| bytes.len())), "0");
    std::thread::sleep(Duration::from_millis(30));
    c.works("the peer still listens", write_all(&stream, b"long after"));
    shutdown(&stream, Shutdown::Write)?;
    c.is("and hears everything", target.ask(&format!("ending {name}"))?, "end after 10");

    let stream = target.stream(&format!("watch {name}"))?;
    write_all(&stream, b"some")?;
    drop(stream);
    c.is("closing is an end", target.ask(&format!("ending {name}"))?, "end after 4");
    let stream = target.stream(&format!("close-first {name}"))?;
    c.is("an end before anything", value(read_to_end(&stream).map(|bytes| bytes.len())), "0");
    write_all(&stream, &[0; 100_000])?;
    drop(stream);
    c.is("much after the end", target.ask(&format!("ending {name}"))?, "end after 100000");
    Ok(())
}

/// A connection whose both ways have ended may be gone already.
fn gone(errno: Errno) -> Result<(), Errno> {
    if errno == Errno::NOTCONN { Ok(()) } else { Err(errno) }
}

pub(super) fn shutdowns(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let fresh = target.tcp()?;
    c.fails("before connecting", shutdown(&fresh, Shutdown::Both), "ENOTCONN");
    let stream = target.stream("echo")?;
    c.fails("of no way", sys::shutdown(&stream, 7), "EINVAL");
    c.works("of reading", shutdown(&stream, Shutdown::Read));
    c.is("reading finds the end", value(take(&stream, 8, RecvFlags::empty()).map(|bytes| bytes.len())), "0");
    c.works("writing goes on", write_all(&stream, b"more"));
    c.is(
        "what comes nevertheless is read",
        {
            until(&stream, "IN|OUT|RDHUP")?;
            let start = std::time::Instant::now();
            let mut bytes = Vec::new();
            while bytes.len() < 4 && start.elapsed() < Duration::from_secs(5) {
                bytes.extend(take(&stream, 8, RecvFlags::DONTWAIT)?);
            }
            text(Ok(bytes))
        },
        "\"more\"",
    );
    c.works("of both", shutdown(&stream, Shutdown::Both));
    c.fails("writing is over", send(&stream, b"x", SendFlags::NOSIGNAL), "EPIPE");
    c.is("reading is over", value(take(&stream, 8, RecvFlags::empty()).map(|bytes| bytes.len())), "0");

    let name = format!("both{}", target.family_digit());
    let stream = target.stream(&format!("watch {name}"))?;
    write_all(&stream, b"some")?;
    shutdown(&stream, Shutdown::Both)?;
    c.is("both is an end", target.ask(&format!("ending {name}"))?, "end after 4");
    Ok(())
}

pub(super) fn resets(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let stream = target.tcp()?;
    connect(&stream, &target.at(RESETS))?;
    until(&stream, "IN|OUT|ERR|HUP|RDHUP")?;
    c.fails("receiving tells", take(&stream, 8, RecvFlags::empty()), "ECONNRESET");
    c.is("once", value(take(&stream, 8, RecvFlags::empty()).map(|bytes| bytes.len())), "0");
    c.fails("sending is a broken pipe", send(&stream, b"x", SendFlags::NOSIGNAL), "EPIPE");
    c.fails("there is no peer", peer_name(&stream), "ENOTCONN");
    c.fails("nothing to end", shutdown(&stream, Shutdown::Write), "ENOTCONN");

    let stream = target.stream("reset-after 3")?;
    write_all(&stream, b"abc")?;
    until(&stream, "IN|OUT|ERR|HUP|RDHUP")?;
    c.fails("sending tells", send(&stream, b"x", SendFlags::NOSIGNAL), "ECONNRESET");
    c.fails("then a broken pipe", send(&stream, b"x", SendFlags::NOSIGNAL), "EPIPE");
    let stream = target.stream("reset-after 3")?;
    write_all(&stream, b"abc")?;
    until(&stream, "IN|OUT|ERR|HUP|RDHUP")?;
    let error = rustix::net::sockopt::socket_error(&stream)?;
    c.fails("the option tells", error, "ECONNRESET");
    let waits = target.stream("reset-after 1")?;
    let writer = waits.try_clone().map_err(|_| Errno::MFILE)?;
    let child = sys::fork(|| {
        std::thread::sleep(Duration::from_millis(60));
        let _ = write_all(&writer, b"a");
    });
    c.fails("the one who waits is told", take(&waits, 8, RecvFlags::empty()), "ECONNRESET");
    c.is("the other half ends", child.and_then(sys::wait).unwrap_or_default(), "exit 0");

    let name = format!("reset{}", target.family_digit());
    let stream = target.stream(&format!("watch {name}"))?;
    write_all(&stream, b"some")?;
    until_acknowledged(&stream)?;
    set_socket_linger(&stream, Some(Duration::ZERO))?;
    drop(stream);
    c.is("closing without lingering", target.ask(&format!("ending {name}"))?, "reset after 4");
    let stream = target.stream(&format!("say-and-close-first {name}"))?;
    until(&stream, "IN|OUT|RDHUP")?;
    set_socket_linger(&stream, Some(Duration::ZERO))?;
    drop(stream);
    c.is("closing after the peer's end", target.ask(&format!("ending {name}"))?, "reset after 0");
    let stream = target.stream(&format!("watch {name}"))?;
    let second = stream.try_clone().map_err(|_| Errno::MFILE)?;
    set_socket_linger(&stream, Some(Duration::from_secs(3)))?;
    write_all(&stream, b"some")?;
    drop((stream, second));
    c.is("closing with lingering", target.ask(&format!("ending {name}"))?, "end after 4");
    let stream = target.stream(&format!("say-and-watch {name}"))?;
    until(&stream, "IN|OUT")?;
    drop(stream);
    c.is("closing with something unread", target.ask(&format!("ending {name}"))?, "reset after 0");
    Ok(())
}

/// Waits until the other end has everything.
fn until_acknowledged(stream: &std::os::fd::OwnedFd) -> Result<(), Errno> {
    for _ in 0..1000 {
        if sys::unsent_bytes(stream)? == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
