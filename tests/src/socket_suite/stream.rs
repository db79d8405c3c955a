//! Bytes through a connection: flags, vectors, time limits, signals, and many of them.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::{Errno, ioctl_fionread, readv, writev};
use rustix::net::sockopt::{Timeout, set_socket_send_buffer_size, set_socket_timeout};
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, recvmsg, send, sendmsg,
    shutdown,
};

use super::check::{Checks, text, value};
use super::ends::{Target, read_to_end, take, take_exactly, until, write_all};
use super::peer::pattern;
use super::sys;

const SHORT: Duration = Duration::from_millis(150);

pub(super) fn run(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let stream = target.stream("echo")?;
    c.fails("nothing has come", take(&stream, 8, RecvFlags::DONTWAIT), "EAGAIN");
    c.fails("nothing to look at", take(&stream, 8, RecvFlags::DONTWAIT | RecvFlags::PEEK), "EAGAIN");
    c.is("nothing is sent", value(send(&stream, b"", SendFlags::NOSIGNAL)), "0");
    c.is("sent", value(send(&stream, b"abcdef", SendFlags::NOSIGNAL)), "6");
    until(&stream, "IN|OUT")?;
    c.is("unread", value(ioctl_fionread(&stream)), "6");
    c.is("looked at", text(take(&stream, 4, RecvFlags::PEEK)), "\"abcd\"");
    c.is("looked at again", text(take(&stream, 9, RecvFlags::PEEK)), "\"abcdef\"");
    c.is("received in parts", text(take(&stream, 2, RecvFlags::empty())), "\"ab\"");
    c.is("unread after a part", value(ioctl_fionread(&stream)), "4");
    c.is("no room, no bytes", value(take(&stream, 0, RecvFlags::empty()).map(|bytes| bytes.len())), "0");
    c.is("thrown away", value(throw_away(&stream, 3)), "3");
    c.is("what is left", text(take(&stream, 9, RecvFlags::empty())), "\"f\"");
    c.is("everything is acknowledged", acknowledged(&stream)?, 0);
    write_all(&stream, b"x")?;
    take_exactly(&stream, 1)?;
    c.is("more to come", value(send(&stream, b"y", SendFlags::MORE | SendFlags::NOSIGNAL)), "1");
    c.is("it comes", value(send(&stream, b"z", SendFlags::NOSIGNAL)), "1");
    c.is("both are there", text(take_exactly(&stream, 2)), "\"yz\"");

    let parts = target.stream("in-parts")?;
    c.is("the first part", text(take(&parts, 64, RecvFlags::empty())), "\"one\"");
    c.is("all parts", text(take(&parts, 8, RecvFlags::WAITALL)), "\"twothree\"");
    let ended = target.stream("send 5")?;
    c.is("all until the end", value(take(&ended, 64, RecvFlags::WAITALL).map(|bytes| bytes.len())), "5");
    c.is("the end", value(take(&ended, 64, RecvFlags::empty()).map(|bytes| bytes.len())), "0");
    c.is("the end again", value(take(&ended, 64, RecvFlags::DONTWAIT).map(|bytes| bytes.len())), "0");
    Ok(())
}

/// Reads by MSG_TRUNC, which a stream takes as a wish to forget.
fn throw_away(stream: &OwnedFd, count: usize) -> Result<usize, Errno> {
    let mut bytes = [0; 16];
    let (_, count) = recv(stream, &mut bytes[..count], RecvFlags::TRUNC)?;
    Ok(count)
}

/// What is unacknowledged after a moment.
fn acknowledged(stream: &OwnedFd) -> Result<i32, Errno> {
    let start = Instant::now();
    loop {
        let left = sys::unsent_bytes(stream)?;
        if left == 0 || start.elapsed() > SHORT * 10 {
            return Ok(left);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(super) fn vectors(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let stream = target.stream("echo")?;
    let sent = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
    c.is("writev", value(writev(&stream, &sent)), "5");
    until(&stream, "IN|OUT")?;
    take_and_keep(&stream, 5)?;
    let (mut one, mut two) = ([0; 3], [0; 9]);
    let mut room = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
    c.is("readv", value(readv(&stream, &mut room)), "5");
    c.is("readv's parts", format!("{:?} {:?}", &one, &two[..2]), "[97, 98, 99] [100, 101]");

    let mut control = SendAncillaryBuffer::default();
    c.is("sendmsg", value(sendmsg(&stream, &sent, &mut control, SendFlags::NOSIGNAL)), "5");
    take_and_keep(&stream, 5)?;
    let mut bytes = [0; 16];
    let message = recvmsg(
        &stream,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut RecvAncillaryBuffer::default(),
        RecvFlags::empty(),
    )?;
    c.is("recvmsg", message.bytes, 5);
    c.holds("recvmsg gives a stream no address", message.address.is_none());
    c.is("recvmsg's flags", message.flags.bits(), 0);
    c.is("recvmsg's bytes", String::from_utf8_lossy(&bytes[..5]), "abcde");

    c.is("write", value(rustix::io::write(&stream, b"by file")), "7");
    take_and_keep(&stream, 7)?;
    let mut bytes = [0; 16];
    c.is("read", value(rustix::io::read(&stream, &mut bytes[..])), "7");
    c.fails("no place in a stream", rustix::fs::seek(&stream, rustix::fs::SeekFrom::Start(0)), "ESPIPE");
    Ok(())
}

/// Waits until `count` bytes lie there.
fn take_and_keep(stream: &OwnedFd, count: u64) -> Result<(), Errno> {
    let start = Instant::now();
    while ioctl_fionread(stream)? < count && start.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

pub(super) fn timeouts(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let stream = target.stream("later 1200 late")?;
    set_socket_timeout(&stream, Timeout::Recv, Some(SHORT))?;
    let start = Instant::now();
    c.fails("nothing comes in time", take(&stream, 8, RecvFlags::empty()), "EAGAIN");
    c.holds("the time was waited for", start.elapsed() >= SHORT);
    c.holds("and not much longer", start.elapsed() < SHORT * 5);
    let full = target.stream("stall 1500")?;
    set_socket_timeout(&full, Timeout::Send, Some(SHORT))?;
    set_socket_send_buffer_size(&full, 32 << 10)?;
    let mut error = None;
    for _ in 0..256 {
        error = send(&full, &[0; 65_536], SendFlags::NOSIGNAL).err();
        if error.is_some() {
            break;
        }
    }
    c.is("nobody takes it in time", error.map_or("ok", super::check::name), "EAGAIN");
    c.holds("something is not acknowledged", sys::unsent_bytes(&full)? > 0);
    set_socket_timeout(&stream, Timeout::Recv, Some(Duration::from_secs(10)))?;
    c.is("it comes late", text(take(&stream, 8, RecvFlags::empty())), "\"late\"");
    Ok(())
}

pub(super) fn signals(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let stream = target.stream("later 700 late")?;
    // With a time limit, a call is never begun again.
    set_socket_timeout(&stream, Timeout::Recv, None)?;
    sys::alarm(SHORT, false);
    c.fails("a signal ends the wait", take(&stream, 8, RecvFlags::empty()), "EINTR");
    sys::alarm(SHORT / 4, true);
    c.is("a signal interrupts the wait", text(take(&stream, 8, RecvFlags::empty())), "\"late\"");
    let limited = target.stream("later 700 late")?;
    sys::alarm(SHORT, true);
    c.fails("a signal ends a wait that is limited", take(&limited, 8, RecvFlags::empty()), "EINTR");
    sys::alarm(SHORT, false);
    let none = rustix::event::PollFlags::empty();
    c.fails("a signal ends poll", super::ends::polled(&limited, none, SHORT * 10), "EINTR");

    let killed = |flags: SendFlags| {
        let stream = target.stream("echo")?;
        shutdown(&stream, Shutdown::Write)?;
        let child = sys::fork(|| {
            sys::default_sigpipe();
            let _ = send(&stream, b"x", flags);
        });
        let ended = child.and_then(sys::wait);
        ended.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    };
    c.is("a broken pipe kills", value(killed(SendFlags::empty())), "signal 13");
    c.is("a broken pipe does not if told so", value(killed(SendFlags::NOSIGNAL)), "exit 0");
    Ok(())
}

/// Bytes of one way.
const VOLUME: u64 = 3 << 20;

pub(super) fn volume(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let bytes = read_to_end(target.stream(&format!("send {VOLUME}"))?)?;
    c.is("bytes received", bytes.len(), VOLUME);
    let as_sent = bytes.iter().zip(0..).all(|(byte, at)| *byte == pattern(at));
    c.holds("they are the peer's", as_sent);
    let stream = target.stream("echo")?;
    let child = sys::fork(|| {
        let _ = write_all(&stream, &bytes).and_then(|()| shutdown(&stream, Shutdown::Write));
    });
    let back = read_to_end(&stream)?;
    c.holds("all come back", back == bytes);
    c.is("the writer ends", child.and_then(sys::wait).unwrap_or_default(), "exit 0");
    let small = target.stream("echo")?;
    for number in 0..100u32 {
        write_all(&small, &number.to_le_bytes())?;
        if take_exactly(&small, 4)? != number.to_le_bytes() {
            c.holds("each question has its answer", false);
            return Ok(());
        }
    }
    c.holds("each question has its answer", true);
    Ok(())
}
