//! Copying between a stream connection and its local end, one thread each.
//!
//! Bytes between a pipe and the connection are spliced, a regular file is sent, anything else is copied through a
//! buffer. The socket does not block: a splice holds the pipe's lock for as long as it waits for a socket, and whoever
//! is at the pipe's other end could then neither read nor close it. The local descriptor may be either.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use monocore_protocol::Stream;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat, sendfile};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustix::pipe::{SpliceFlags, splice};

use super::process::Progress;
use super::streams::{Input, Output, Remote};

/// Enough for a few hundred wake-ups a second at a gigabyte a second; a page-sized buffer costs ten times that.
const BUFFER_BYTES: usize = 64 << 10;
const SPLICE_BYTES: usize = 1 << 20;
const STACK_BYTES: usize = 64 << 10;

/// What a stream the guest dials will be connected to.
#[derive(Debug)]
pub(crate) enum Endpoint {
    Stdin(Input, Arc<Progress>),
    Output(Output, Arc<Progress>),
    Terminal(Input, Output, Arc<Progress>),
    Remote(Stream, Arc<dyn Remote>),
    FileOutput(Output, Sender<io::Result<()>>),
    FileInput(Input, Sender<io::Result<()>>),
}

impl Endpoint {
    /// The stream will never come.
    pub(crate) fn abandon(self) {
        match self {
            Self::Output(_, progress) | Self::Terminal(_, _, progress) => progress.output_ends(),
            Self::Stdin(..) | Self::Remote(..) | Self::FileOutput(..) | Self::FileInput(..) => {}
        }
    }
}

/// Connects `endpoint` with the stream that came for it.
///
/// # Errors
/// No thread or descriptor is to be had.
pub(crate) fn spawn(endpoint: Endpoint, socket: OwnedFd) -> io::Result<()> {
    ioctl_fionbio(&socket, true)?;
    match endpoint {
        Endpoint::Remote(stream, peer) => {
            peer.stream(stream, socket);
            Ok(())
        }
        Endpoint::Stdin(input, progress) => thread("stdin", move || pump_stdin(input, &socket, &progress)),
        Endpoint::Output(output, progress) => thread("output", move || {
            report(copy_out(&socket, output), "output");
            drop(socket);
            progress.output_ends();
        }),
        Endpoint::Terminal(input, output, progress) => {
            let typed = socket.try_clone()?;
            let typing = Arc::clone(&progress);
            thread("typing", move || pump_stdin(input, &typed, &typing))?;
            thread("terminal", move || {
                report(copy_out(&socket, output), "terminal");
                progress.output_ends();
            })
        }
        Endpoint::FileOutput(output, done) => thread("file", move || {
            // Who asked may have stopped waiting.
            let _ = done.send(copy_out(&socket, output));
        }),
        Endpoint::FileInput(input, done) => thread("file", move || {
            let result = copy_in(input, &socket, None).and_then(|()| Ok(shutdown(&socket, Shutdown::Write)?));
            let _ = done.send(result);
        }),
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(work).map(drop)
}

fn report(result: io::Result<()>, stream: &str) {
    if let Err(error) = result {
        tracing::debug!(stream, %error, "a stream ends early");
    }
}

fn pump_stdin(input: Input, socket: &OwnedFd, progress: &Progress) {
    if matches!(input, Input::Empty) {
        return;
    }
    report(copy_in(input, socket, Some(progress.ended())), "stdin");
    // Fails when the guest has closed the stream, which is as good.
    let _ = shutdown(socket, Shutdown::Write);
}

/// Copies all of `input` into the socket, or until `stop` becomes readable while nothing comes.
fn copy_in(input: Input, socket: &OwnedFd, stop: Option<BorrowedFd<'_>>) -> io::Result<()> {
    match input {
        Input::Empty => Ok(()),
        Input::Fd(fd) => match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
            FileType::RegularFile => {
                loop_while(socket, || sendfile(socket, &fd, None, SPLICE_BYTES), || Ok(true))
            }
            kind => copy_fd_in(&fd, kind, socket, stop),
        },
        Input::Reader(mut reader) => {
            let mut buffer = vec![0; BUFFER_BYTES];
            loop {
                match reader.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(count) => send_all(socket, &buffer[..count])?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

fn copy_fd_in(
    fd: &OwnedFd,
    kind: FileType,
    socket: &OwnedFd,
    stop: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    if kind == FileType::Fifo {
        let take = || splice(fd, None, socket, None, SPLICE_BYTES, SpliceFlags::empty());
        return loop_while(socket, take, || readable(fd, socket, stop));
    }
    let mut buffer = vec![0; BUFFER_BYTES];
    while readable(fd, socket, stop)? {
        match rustix::io::read(fd, &mut buffer) {
            Ok(0) => break,
            Ok(count) => send_all(socket, &buffer[..count])?,
            Err(Errno::INTR | Errno::AGAIN) => {}
            // A terminal whose other side is gone.
            Err(Errno::IO) if kind == FileType::CharacterDevice => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Moves bytes into `socket` by `step` until it finds none, waiting by `ready` before each.
fn loop_while(
    socket: &OwnedFd,
    mut step: impl FnMut() -> rustix::io::Result<usize>,
    mut ready: impl FnMut() -> io::Result<bool>,
) -> io::Result<()> {
    while ready()? {
        match step() {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_for(socket.as_fd(), PollFlags::OUT)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits until `fd` has something to read; false when the command has ended or reads no more.
fn readable(fd: &OwnedFd, socket: &OwnedFd, stop: Option<BorrowedFd<'_>>) -> io::Result<bool> {
    loop {
        let mut fds = vec![PollFd::new(fd, PollFlags::IN), PollFd::new(socket, PollFlags::empty())];
        fds.extend(stop.map(|stop| PollFd::from_borrowed_fd(stop, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if !fds[1].revents().is_empty() || fds.get(2).is_some_and(|stop| !stop.revents().is_empty()) {
            return Ok(false);
        }
        if !fds[0].revents().is_empty() {
            return Ok(true);
        }
    }
}

/// Copies the socket into `output` until the guest ends the stream. An output that takes no more is an error; the
/// caller then closes the socket, which the command notices at its next write.
fn copy_out(socket: &OwnedFd, output: Output) -> io::Result<()> {
    match output {
        Output::Fd(fd) if FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::Fifo => {
            copy_out_by_splice(socket, &fd)
        }
        Output::Fd(fd) => copy_out_by_buffer(socket, |bytes| write_all(&fd, bytes)),
        Output::Writer(mut writer) => copy_out_by_buffer(socket, |bytes| {
            writer.write_all(bytes)?;
            writer.flush()
        }),
        Output::Discard => copy_out_by_buffer(socket, |_| Ok(())),
    }
}

fn copy_out_by_splice(socket: &OwnedFd, pipe: &OwnedFd) -> io::Result<()> {
    loop {
        match splice(socket, None, pipe, None, SPLICE_BYTES, SpliceFlags::MOVE) {
            Ok(0) | Err(Errno::CONNRESET) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            // Either end may have been the reason; both must be ready for the next.
            Err(Errno::AGAIN) => {
                wait_for(socket.as_fd(), PollFlags::IN)?;
                wait_for(pipe.as_fd(), PollFlags::OUT)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn copy_out_by_buffer(socket: &OwnedFd, mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(()),
            Ok((count, _)) => write(&buffer[..count])?,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_for(socket.as_fd(), PollFlags::IN)?,
            Err(error) => return Err(error.into()),
        }
    }
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_for(fd.as_fd(), PollFlags::OUT)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn send_all(socket: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_for(socket.as_fd(), PollFlags::OUT)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn wait_for(fd: BorrowedFd<'_>, what: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(fd, what)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
