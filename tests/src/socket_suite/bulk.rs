//! Calls with much memory, which may go a way of their own: what they wait for, what ends the wait, and whose the memory is.

use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::{Errno, ioctl_fionread};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::check::{Checks, text, value};
use super::ends::{Target, polled, read_to_end, take, take_exactly, until, write_all};
use super::peer::pattern;
use super::sys;

const SHORT: Duration = Duration::from_millis(150);
/// What is received with, in bytes.
const ROOM: usize = 200_000;
/// What makes it plain that a connection carries much, in bytes.
const MUCH: usize = 50_000;

/// An echo whose connection has just carried much, so that a large receive is likely to go its own way.
fn busy(target: &Target) -> Result<OwnedFd, Errno> {
    let stream = target.stream("echo")?;
    carry_much(&stream)?;
    Ok(stream)
}

fn carry_much(stream: &OwnedFd) -> Result<(), Errno> {
    for _ in 0..2 {
        write_all(stream, &vec![b'.'; MUCH])?;
        let start = Instant::now();
        while ioctl_fionread(stream)? < MUCH as u64 && start.elapsed() < Duration::from_secs(10) {
            sleep(Duration::from_millis(2));
        }
        take(stream, ROOM, RecvFlags::empty())?;
    }
    Ok(())
}

/// Sends `parts` from another process, each after a while.
fn send_later(stream: &OwnedFd, parts: &[&[u8]]) -> std::io::Result<i32> {
    sys::fork(|| {
        for part in parts {
            sleep(SHORT / 2);
            let _ = write_all(stream, part);
        }
    })
}

fn ended(child: std::io::Result<i32>) -> String {
    child.and_then(sys::wait).unwrap_or_else(|error| error.to_string())
}

pub(super) fn waits(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let stream = busy(target)?;
    let child = send_later(&stream, &[b"in time"]);
    c.is("it comes while it is waited for", text(take(&stream, ROOM, RecvFlags::empty())), "\"in time\"");
    c.is("who sent it ends", ended(child), "exit 0");
    carry_much(&stream)?;
    c.fails("nothing is there", take(&stream, ROOM, RecvFlags::DONTWAIT), "EAGAIN");

    carry_much(&stream)?;
    set_socket_timeout(&stream, Timeout::Recv, Some(SHORT))?;
    let start = Instant::now();
    c.fails("nothing comes in time", take(&stream, ROOM, RecvFlags::empty()), "EAGAIN");
    c.holds("the time was waited for", start.elapsed() >= SHORT);
    c.holds("and not much longer", start.elapsed() < SHORT * 5);
    write_all(&stream, b"too late")?;
    until(&stream, "IN|OUT")?;
    c.is("it comes nevertheless", text(take_exactly(&stream, 8)), "\"too late\"");

    carry_much(&stream)?;
    set_socket_timeout(&stream, Timeout::Recv, None)?;
    sys::alarm(SHORT, false);
    c.fails("a signal ends the wait", take(&stream, ROOM, RecvFlags::empty()), "EINTR");
    sys::alarm(SHORT / 4, true);
    let child = send_later(&stream, &[b"", b"after it"]);
    c.is("a signal interrupts the wait", text(take(&stream, ROOM, RecvFlags::empty())), "\"after it\"");
    c.is("who sent after it ends", ended(child), "exit 0");
    Ok(())
}

pub(super) fn wholes(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let bytes: Vec<u8> = (0..ROOM as u64).map(pattern).collect();
    let stream = busy(target)?;
    let child = send_later(&stream, &[&bytes[..70_000], &bytes[70_000..70_001], &bytes[70_001..]]);
    let all = take(&stream, ROOM, RecvFlags::WAITALL)?;
    c.is("all of it at once", all.len(), ROOM);
    c.holds("in order", all == bytes);
    c.is("who sent it ends", ended(child), "exit 0");

    carry_much(&stream)?;
    set_socket_timeout(&stream, Timeout::Recv, Some(SHORT * 3))?;
    let child = send_later(&stream, &[b"some"]);
    c.is("some of it in time", text(take(&stream, ROOM, RecvFlags::WAITALL)), "\"some\"");
    c.is("who sent some ends", ended(child), "exit 0");

    // Somewhere in the middle of a page, and what lies around it stays as it is.
    carry_much(&stream)?;
    let mut room = vec![0xee; ROOM];
    let child = send_later(&stream, &[&bytes[..90_000]]);
    let mut count = 0;
    while count < 90_000 {
        let (_, more) = recv(&stream, &mut room[4097 + count..ROOM - 77], RecvFlags::empty())?;
        count += more;
    }
    c.holds("it lies where it should", room[4097..94_097] == bytes[..90_000]);
    c.holds("and nowhere else", [&room[..4097], &room[94_097..]].concat().iter().all(|byte| *byte == 0xee));
    c.is("who sent much ends", ended(child), "exit 0");
    Ok(())
}

pub(super) fn several(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let stream = busy(target)?;
    let reader = sys::fork(|| {
        let _ = take(&stream, ROOM, RecvFlags::empty());
    });
    sleep(SHORT);
    c.fails("there is nothing for another", take(&stream, ROOM, RecvFlags::DONTWAIT), "EAGAIN");
    if let Ok(reader) = &reader {
        sys::kill(*reader);
    }
    c.is("one who waits is killed", ended(reader), "signal 9");
    write_all(&stream, b"for another")?;
    until(&stream, "IN|OUT")?;
    c.is("what comes is another's", text(take_exactly(&stream, 11)), "\"for another\"");

    carry_much(&stream)?;
    let readers: Vec<_> = (0..2)
        .map(|_| {
            sys::fork(|| {
                let got = take(&stream, ROOM, RecvFlags::empty());
                assert!(got.is_ok_and(|got| got == b"one"), "each has one");
            })
        })
        .collect();
    for _ in 0..2 {
        sleep(SHORT);
        write_all(&stream, b"one")?;
    }
    for reader in readers {
        c.is("two wait, and each receives", ended(reader), "exit 0");
    }

    carry_much(&stream)?;
    let waits = sys::fork(|| {
        let none = rustix::event::PollFlags::IN;
        let there = polled(&stream, none, Duration::from_secs(10));
        assert!(there.is_ok_and(|there| there.contains("IN")), "it is seen");
    });
    set_socket_timeout(&stream, Timeout::Recv, Some(SHORT * 2))?;
    c.fails("who receives gives up", take(&stream, ROOM, RecvFlags::empty()), "EAGAIN");
    write_all(&stream, b"seen")?;
    c.is("who polls does not", ended(waits), "exit 0");
    c.is("and leaves it there", text(take_exactly(&stream, 4)), "\"seen\"");
    Ok(())
}

pub(super) fn ends(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let stream = busy(target)?;
    let child = sys::fork(|| {
        sleep(SHORT);
        let _ = shutdown(&stream, Shutdown::Read);
    });
    c.is("another ends receiving", value(take(&stream, ROOM, RecvFlags::empty()).map(|b| b.len())), "0");
    c.is("it ends, too", ended(child), "exit 0");

    let stream = busy(target)?;
    let child = sys::fork(|| {
        sleep(SHORT);
        let _ = shutdown(&stream, Shutdown::Write);
    });
    c.is("the peer's end", value(take(&stream, ROOM, RecvFlags::empty()).map(|b| b.len())), "0");
    c.is("who asked for it ends", ended(child), "exit 0");

    let stream = target.stream(&format!("send-and-reset {MUCH}"))?;
    c.is("before the reset", take_exactly(&stream, MUCH)?.len(), MUCH);
    let child = send_later(&stream, &[b"x"]);
    c.fails("the one who waits is told", take(&stream, ROOM, RecvFlags::empty()), "ECONNRESET");
    c.is("then there is nothing", value(take(&stream, ROOM, RecvFlags::empty()).map(|b| b.len())), "0");
    c.is("who provoked it ends", ended(child), "exit 0");
    Ok(())
}

/// Bytes of one send.
const BLOCK: usize = 300_000;

pub(super) fn sends(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let stream = target.stream("echo")?;
    let expected: Vec<u8> = (0..20u8).flat_map(|round| vec![round; BLOCK]).collect();
    let child = sys::fork(|| {
        // One place for all, in the middle of a page, and changed as soon as it was sent.
        let mut block = vec![0; BLOCK + 100];
        for round in 0..20u8 {
            block[100..].fill(round);
            if write_all(&stream, &block[100..]).is_err() {
                break;
            }
            block.fill(0xee);
        }
        let _ = shutdown(&stream, Shutdown::Write);
    });
    c.holds("what was sent is what was there", read_to_end(&stream)? == expected);
    c.is("who sent it ends", ended(child), "exit 0");

    let full = target.stream("stall 1500")?;
    set_socket_timeout(&full, Timeout::Send, Some(SHORT))?;
    let mut error = None;
    for _ in 0..200 {
        error = send(&full, &[0; BLOCK], SendFlags::NOSIGNAL).err();
        if error.is_some() {
            break;
        }
    }
    c.is("nobody takes it in time", error.map_or("ok", super::check::name), "EAGAIN");
    let over = target.stream("echo")?;
    shutdown(&over, Shutdown::Write)?;
    c.fails("it is over", send(&over, &[0; BLOCK], SendFlags::NOSIGNAL), "EPIPE");
    Ok(())
}
