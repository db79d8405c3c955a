//! What poll and epoll say of a connection in each of its states.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFlags, Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, connect, send, shutdown};

use super::check::{Checks, text};
use super::ends::{RESETS, Target, await_events, now, polled, take, take_exactly, until, write_all};

/// Fills a socket until it stays full, and says whether it ever does: what is on its way may make room once more.
fn fill(stream: &OwnedFd) -> Result<bool, Errno> {
    let bytes = [0; 65_536];
    for _ in 0..4096 {
        if send(stream, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_err()
            && polled(stream, PollFlags::OUT, Duration::from_millis(200))?.is_empty()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn poll(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let stream = target.tcp()?;
    c.is("before connecting", now(&stream)?, "OUT|HUP");
    connect(&stream, &target.at(0))?;
    c.is("connected", now(&stream)?, "OUT");
    write_all(&stream, b"echo\nabc")?;
    c.is("data has come", until(&stream, "IN|OUT")?, "IN|OUT");
    take_exactly(&stream, 3)?;
    c.is("data is taken", now(&stream)?, "OUT");
    let short = Duration::from_millis(50);
    c.is("waiting for data", polled(&stream, PollFlags::IN, short)?, "");
    let later = target.stream("later 80 x")?;
    c.is("data wakes the one who polls", await_events(&later, PollFlags::IN)?, "IN");

    let full = target.stream("stall 2500")?;
    c.holds("a full socket takes no more", fill(&full)?);
    c.is("poll of a full socket", polled(&full, PollFlags::OUT, Duration::ZERO)?, "");
    c.is("room wakes the one who polls", await_events(&full, PollFlags::OUT)?, "OUT");
    Ok(())
}

pub(super) fn ends(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let half = target.stream("say-and-close-first polled")?;
    c.is("the peer has ended", until(&half, "IN|OUT|RDHUP")?, "IN|OUT|RDHUP");
    c.is("what came before is there", text(take(&half, 16, RecvFlags::empty())), "\"bye\"");
    c.is("the end stays", now(&half)?, "IN|OUT|RDHUP");
    shutdown(&half, Shutdown::Write)?;
    c.is("both have ended", until(&half, "IN|OUT|HUP|RDHUP")?, "IN|OUT|HUP|RDHUP");

    let own = target.stream("echo")?;
    shutdown(&own, Shutdown::Write)?;
    c.is("the answer to an end is an end", until(&own, "IN|OUT|HUP|RDHUP")?, "IN|OUT|HUP|RDHUP");
    let deaf = target.stream("later 20000 x")?;
    shutdown(&deaf, Shutdown::Read)?;
    c.is("reading was given up", now(&deaf)?, "IN|OUT|RDHUP");
    shutdown(&deaf, Shutdown::Write)?;
    c.is("writing, too", now(&deaf)?, "IN|OUT|HUP|RDHUP");

    let reset = target.tcp()?;
    connect(&reset, &target.at(RESETS))?;
    c.is("reset", until(&reset, "IN|OUT|ERR|HUP|RDHUP")?, "IN|OUT|ERR|HUP|RDHUP");
    c.fails("the reset is told", take(&reset, 1, RecvFlags::empty()), "ECONNRESET");
    c.is("and is over", now(&reset)?, "IN|OUT|HUP|RDHUP");
    Ok(())
}

/// A set of one descriptor.
struct Set(OwnedFd);

impl Set {
    fn of(socket: &OwnedFd, events: epoll::EventFlags) -> Result<Self, Errno> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&set, socket, epoll::EventData::new_u64(7), events)?;
        Ok(Self(set))
    }

    /// What there is within `ms`.
    fn wait(&self, ms: i64) -> Result<String, Errno> {
        let mut events = [MaybeUninit::uninit(); 4];
        let timeout = Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 };
        let (events, _) = epoll::wait(&self.0, &mut events, Some(&timeout))?;
        let Some(event) = events.first() else { return Ok(String::new()) };
        let (seen, data) = (event.flags, event.data);
        let names = [
            (epoll::EventFlags::IN, "IN"),
            (epoll::EventFlags::OUT, "OUT"),
            (epoll::EventFlags::ERR, "ERR"),
            (epoll::EventFlags::HUP, "HUP"),
            (epoll::EventFlags::RDHUP, "RDHUP"),
        ];
        let known = names.iter().filter(|(flag, _)| seen.contains(*flag)).map(|(_, name)| *name);
        let seen: Vec<&str> = known.chain((data.u64() != 7).then_some("of another")).collect();
        Ok(seen.join("|"))
    }
}

pub(super) fn epoll(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    use epoll::EventFlags;
    let both = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP;
    let stream = target.socket(SocketType::STREAM, SocketFlags::NONBLOCK)?;
    let level = Set::of(&stream, both)?;
    let edge = Set::of(&stream, both | EventFlags::ET)?;
    c.is("before connecting", level.wait(0)?, "OUT|HUP");
    c.is("before connecting, by edge", edge.wait(0)?, "OUT|HUP");
    c.is("the edge comes once", edge.wait(0)?, "");
    c.fails("connect", connect(&stream, &target.at(0)), "EINPROGRESS");
    let writable = Set::of(&stream, EventFlags::OUT)?;
    c.is("connected", writable.wait(10_000)?, "OUT");
    c.is("connected, still", writable.wait(0)?, "OUT");
    c.is("connected, by edge", edge.wait(10_000)?, "OUT");
    c.is("that edge comes once", edge.wait(30)?, "");

    write_all(&stream, b"echo\nabc")?;
    let readable = Set::of(&stream, EventFlags::IN)?;
    c.is("data", readable.wait(10_000)?, "IN");
    c.is("data is an edge", edge.wait(10_000)?, "IN|OUT");
    c.is("data without news is none", edge.wait(30)?, "");
    c.is("data stays", readable.wait(0)?, "IN");
    write_all(&stream, b"def")?;
    c.is("more data is an edge", edge.wait(10_000)?, "IN|OUT");
    until(&stream, "IN|OUT")?;
    take_all(&stream, 6)?;
    c.is("taken", readable.wait(30)?, "");

    let once = Set::of(&stream, EventFlags::IN | EventFlags::ONESHOT)?;
    write_all(&stream, b"g")?;
    c.is("one shot", once.wait(10_000)?, "IN");
    c.is("and no other", once.wait(30)?, "");
    take_all(&stream, 1)?;
    shutdown(&stream, Shutdown::Write)?;
    c.is("the end", readable.wait(10_000)?, "IN|HUP");
    c.is("the end is an edge", edge.wait(10_000)?, "IN|OUT|HUP|RDHUP");
    Ok(())
}

/// Takes `count` bytes from a socket that does not wait.
fn take_all(stream: &OwnedFd, count: usize) -> Result<(), Errno> {
    let mut left = count;
    while left > 0 {
        await_events(stream, PollFlags::IN)?;
        left -= take(stream, left, RecvFlags::empty())?.len();
    }
    Ok(())
}
