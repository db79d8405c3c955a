//! Bytes between a command and a connection, with back-pressure: what one side does not take, the other is not asked
//! for.
//!
//! A pump watches one of its two ends: its source while it waits for bytes, its sink while it waits for room. Between
//! a pipe and a socket the kernel moves the bytes (one copy); a terminal's pass through a buffer.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read, write};
use rustix::net::{Shutdown, shutdown};
use rustix::pipe::{SpliceFlags, splice};

use super::poller::{Poller, Readiness, Token};
use crate::error::{Doing, Error};

const SPLICE_BYTES: usize = 1 << 20;
const BUFFER_BYTES: usize = 16 << 10;
/// Most moves before the others get their turn.
const ROUNDS: usize = 16;
/// What a terminal makes an end of file of: control-D.
const END_OF_FILE: &[u8] = &[4];

/// One direction of a stream.
#[derive(Debug)]
pub(crate) struct Pump {
    source: OwnedFd,
    sink: OwnedFd,
    means: Means,
    waits_for: End,
}

#[derive(Debug)]
enum Means {
    /// One end is a pipe.
    Splice,
    /// Bytes read and not yet written; whether the source has ended.
    Copy { buffer: Vec<u8>, written: usize, is_input: bool, source_ended: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Source,
    Sink,
}

/// Whether a pump has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Over,
}

impl Pump {
    /// A command's standard input.
    pub(crate) fn into_pipe(socket: OwnedFd, pipe: OwnedFd) -> Self {
        Self::new(socket, pipe, Means::Splice)
    }

    /// A command's output.
    pub(crate) fn from_pipe(pipe: OwnedFd, socket: OwnedFd) -> Self {
        Self::new(pipe, socket, Means::Splice)
    }

    /// What is typed at a terminal.
    pub(crate) fn into_terminal(socket: OwnedFd, terminal: OwnedFd) -> Self {
        Self::new(socket, terminal, copy(true))
    }

    /// What a terminal shows.
    pub(crate) fn from_terminal(terminal: OwnedFd, socket: OwnedFd) -> Self {
        Self::new(terminal, socket, copy(false))
    }

    /// One direction of a connection between two sockets.
    pub(crate) fn between(source: OwnedFd, sink: OwnedFd) -> Self {
        Self::new(source, sink, copy(false))
    }

    fn new(source: OwnedFd, sink: OwnedFd, means: Means) -> Self {
        Self { source, sink, means, waits_for: End::Source }
    }

    /// Begins to watch the source.
    pub(crate) fn start(&mut self, index: usize, poller: &Poller) -> Result<(), Error> {
        poller.watch(&self.source, Token::Slot(index), Readiness::Read)
    }

    /// Carries a terminal's bytes.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.means, Means::Copy { .. })
    }

    /// Has nothing to deliver at the moment. What it waits for does not tell: it is a guess after a
    /// splice, and a pump that leaves the others their turn has more.
    pub(crate) fn is_idle(&self) -> bool {
        self.waits_for == End::Source && !has_bytes(&self.source)
    }

    /// Moves what can be moved.
    pub(crate) fn advance(&mut self, index: usize, poller: &Poller) -> Result<Progress, Error> {
        let mut moved = false;
        for _ in 0..ROUNDS {
            match self.step() {
                Ok(Progress::More) => moved = true,
                Ok(Progress::Over) => return Ok(self.over(poller)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.wait_for(self.blocked_end(moved), index, poller)?;
                    return Ok(Progress::More);
                }
                // The other side is gone; the command or the host notices when this pump is dropped.
                Err(_) => return Ok(self.over(poller)),
            }
        }
        self.wait_for(if self.has_pending() { End::Sink } else { End::Source }, index, poller)?;
        Ok(Progress::More)
    }

    fn over(&mut self, poller: &Poller) -> Progress {
        poller.forget(&self.source);
        poller.forget(&self.sink);
        self.finish();
        Progress::Over
    }

    /// From here on what comes goes nowhere.
    pub(crate) fn discard(&mut self, index: usize, poller: &Poller) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let nowhere = open("/dev/null", flags, Mode::empty()).doing("open", "/dev/null")?;
        self.wait_for(End::Source, index, poller)?;
        self.finish();
        self.sink = nowhere;
        Ok(())
    }

    /// Gives up and keeps the sink open.
    pub(crate) fn into_sink(self, poller: &Poller) -> OwnedFd {
        poller.forget(&self.source);
        poller.forget(&self.sink);
        self.sink
    }

    /// Tells the sink that nothing more comes.
    pub(crate) fn finish(&mut self) {
        // Fails on what is no socket, where closing says the same, and on one that is closed already.
        let _ = shutdown(&self.sink, Shutdown::Write);
    }

    /// Which end made the last step impossible. A splice does not say: if it moved nothing although its watched end
    /// is ready, it must have been the other.
    fn blocked_end(&self, moved: bool) -> End {
        match (&self.means, moved) {
            (Means::Copy { .. }, _) if self.has_pending() => End::Sink,
            (Means::Copy { .. }, _) | (Means::Splice, true) => End::Source,
            (Means::Splice, false) => match self.waits_for {
                End::Source => End::Sink,
                End::Sink => End::Source,
            },
        }
    }

    fn has_pending(&self) -> bool {
        matches!(&self.means, Means::Copy { buffer, written, .. } if *written < buffer.len())
    }

    fn wait_for(&mut self, end: End, index: usize, poller: &Poller) -> Result<(), Error> {
        if end == self.waits_for {
            return Ok(());
        }
        self.waits_for = end;
        match end {
            End::Source => {
                poller.forget(&self.sink);
                poller.watch(&self.source, Token::Slot(index), Readiness::Read)
            }
            End::Sink => {
                poller.forget(&self.source);
                poller.watch(&self.sink, Token::Slot(index), Readiness::Write)
            }
        }
    }

    fn step(&mut self) -> Result<Progress, Errno> {
        match &mut self.means {
            Means::Splice => {
                let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
                match splice(&self.source, None, &self.sink, None, SPLICE_BYTES, flags)? {
                    0 => Ok(Progress::Over),
                    _ => Ok(Progress::More),
                }
            }
            Means::Copy { buffer, written, is_input, source_ended } => {
                if *written < buffer.len() {
                    *written += write(self.sink.as_fd(), &buffer[*written..])?;
                    return Ok(Progress::More);
                }
                if *source_ended {
                    return Ok(Progress::Over);
                }
                buffer.resize(BUFFER_BYTES, 0);
                *written = BUFFER_BYTES;
                let count = match read(self.source.as_fd(), &mut buffer[..]) {
                    // All programs on a terminal have closed it.
                    Err(Errno::IO) => 0,
                    other => other?,
                };
                buffer.truncate(count);
                *written = 0;
                if count == 0 {
                    *source_ended = true;
                    if *is_input {
                        buffer.extend_from_slice(END_OF_FILE);
                    }
                }
                Ok(Progress::More)
            }
        }
    }
}

fn copy(is_input: bool) -> Means {
    Means::Copy { buffer: Vec::new(), written: 0, is_input, source_ended: false }
}

/// Whether there is something to read at once.
fn has_bytes(source: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(source, PollFlags::IN)];
    // What cannot be asked has nothing.
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|_| fds[0].revents().contains(PollFlags::IN))
}

#[cfg(test)]
mod tests {
    use rustix::pipe::pipe;

    use super::*;

    #[test]
    fn a_pump_with_bytes_in_its_source_is_not_idle() {
        let (reads, writes) = pipe().unwrap();
        let (socket, _host) = std::os::unix::net::UnixStream::pair().unwrap();
        let pump = Pump::from_pipe(reads, socket.into());
        assert!(pump.is_idle(), "nothing was written");
        write(&writes, b"the end of a command's output").unwrap();
        assert!(!pump.is_idle(), "it waits for its source, and there is something");
        drop(writes);
        assert!(!pump.is_idle(), "the command's end takes nothing away");
    }
}
