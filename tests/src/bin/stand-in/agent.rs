//! A machine and the agent in it, played: it speaks the agent's protocol over the handed-over connections.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use monocore_protocol::{
    AGENT_PORT, Answer, Decoder, Event, Exec, ExecId, ExitStatus, Opening, Request, RequestId, Stats, Stdin,
    Stdio, Stream, StreamId, Tool, VERSION, encode,
};
use monocore_spec::{DeviceSpec, VmSpec, VsockBackend};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::sys;

/// Plays the machine that the words `SPEC_FD LIFELINE_FD` are about, until the lifeline is cut.
pub(super) fn play(words: &[OsString]) -> io::Result<()> {
    let number = |index: usize| -> io::Result<RawFd> {
        let word = words.get(index).and_then(|word| word.to_str());
        word.and_then(|word| word.parse().ok()).ok_or_else(|| io::Error::other("not a descriptor"))
    };
    let (spec, lifeline) = (take(number(0)?)?, UnixStream::from(take(number(1)?)?));
    let mut text = String::new();
    File::from(spec).read_to_string(&mut text)?;
    let spec: VmSpec = serde_json::from_str(&text)?;
    let handoff = spec.devices.iter().find_map(|device| match device {
        DeviceSpec::Vsock(vsock) => match vsock.backend {
            VsockBackend::Handoff { fd } => Some(fd),
            _ => None,
        },
        _ => None,
    });
    let handoff = take(handoff.ok_or_else(|| io::Error::other("no way for connections"))?)?;
    let control = dial(&handoff, &Opening::Control { version: VERSION })?;
    let mut agent = Agent { handoff, control, decoder: Decoder::default(), running: BTreeMap::new() };
    loop {
        let mut fds = [PollFd::new(&lifeline, PollFlags::IN), PollFd::new(&agent.control, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !fds[0].revents().is_empty() {
            return Ok(());
        }
        if !fds[1].revents().is_empty() && !agent.serve()? {
            // The supervisor's session is over; the lifeline tells when the machine is.
            return (&lifeline).read(&mut [0]).map(drop);
        }
    }
}

fn take(number: RawFd) -> io::Result<OwnedFd> {
    let taken = sys::inherited(number)?;
    sys::close(number);
    Ok(taken)
}

/// A connection to the agent's port, as the socket device hands it over.
fn dial(handoff: &OwnedFd, opening: &Opening) -> io::Result<UnixStream> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let message = [AGENT_PORT.to_le_bytes(), 0u32.to_le_bytes()].concat();
    let descriptors = [theirs.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(handoff, &[IoSlice::new(&message)], &mut ancillary, SendFlags::NOSIGNAL)?;
    ours.write_all(&frame(opening)?)?;
    Ok(ours)
}

fn frame<T: serde::Serialize>(message: &T) -> io::Result<Vec<u8>> {
    encode(message).map_err(|error| io::Error::other(error.to_string()))
}

struct Agent {
    handoff: OwnedFd,
    control: UnixStream,
    decoder: Decoder,
    /// Commands that run, with their streams.
    running: BTreeMap<ExecId, Vec<UnixStream>>,
}

impl Agent {
    /// Does what is asked; false once nobody is there to ask.
    fn serve(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        let count = match self.control.read(&mut buffer) {
            Ok(0) | Err(_) => return Ok(false),
            Ok(count) => count,
        };
        self.decoder.push(&buffer[..count]);
        while let Some(request) =
            self.decoder.take::<Request>().map_err(|error| io::Error::other(error.to_string()))?
        {
            self.request(request)?;
        }
        Ok(true)
    }

    fn request(&mut self, request: Request) -> io::Result<()> {
        match request {
            Request::Exec(exec) => self.begin(&exec),
            Request::Signal { exec, signal } => self.end(exec, ExitStatus::Signal(signal)),
            Request::KillGroup { exec } => self.end(exec, ExitStatus::Signal(9)),
            Request::Stats(id) => self.answer(id, Answer::Stats(Stats::default())),
            Request::Ping(id)
            | Request::Sync(id)
            | Request::Shutdown(id)
            | Request::Leave { id, .. }
            | Request::SetTime { id, .. }
            | Request::Reseed { id, .. }
            | Request::SetLimits { id, .. } => self.answer(id, Answer::Done),
            _ => Ok(()),
        }
    }

    fn say(&mut self, event: &Event) -> io::Result<()> {
        self.control.write_all(&frame(event)?)
    }

    fn answer(&mut self, id: RequestId, answer: Answer) -> io::Result<()> {
        self.say(&Event::Answer { id, result: Ok(answer) })
    }

    fn begin(&mut self, exec: &Exec) -> io::Result<()> {
        let streams = match exec.stdio {
            Stdio::Pipes { stdin: Stdin::Empty } => &[Stream::Stdout, Stream::Stderr][..],
            Stdio::Pipes { stdin: Stdin::Stream } => &[Stream::Stdout, Stream::Stderr, Stream::Stdin],
            Stdio::Terminal(_) => &[Stream::Terminal],
            Stdio::Null => &[],
        };
        let name = |stream| Opening::Stream(StreamId::Exec { exec: exec.id, stream });
        let mut dialled = Vec::new();
        for stream in streams {
            dialled.push(dial(&self.handoff, &name(*stream))?);
        }
        self.say(&Event::Started { exec: exec.id, pid: exec.id.0 + 1 })?;
        let words: Vec<String> = exec.argv.iter().map(ToString::to_string).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let status = match (&exec.tool, &words[..]) {
            (None, ["sleep", ..]) => {
                self.running.insert(exec.id, dialled);
                return Ok(());
            }
            (None, ["exit", status]) => status.parse().unwrap_or(125),
            (None, words) => {
                if let Some(output) = dialled.first_mut() {
                    // A reader that is gone is the reader's affair.
                    let _ = output.write_all(format!("{}\n", words.join(" ")).as_bytes());
                }
                0
            }
            (Some(tool), _) => work(tool, &mut dialled),
        };
        drop(dialled);
        self.say(&Event::Exited { exec: exec.id, status: ExitStatus::Code(status) })
    }

    fn end(&mut self, exec: ExecId, status: ExitStatus) -> io::Result<()> {
        match self.running.remove(&exec) {
            Some(_) => self.say(&Event::Exited { exec, status }),
            None => Ok(()),
        }
    }
}

/// Plays the agent's own work: what is packed is one small file, what is to be unpacked is read to its end. The streams are
/// output, errors, input.
fn work(tool: &Tool, streams: &mut [UnixStream]) -> u8 {
    let [output, _, input @ ..] = streams else { return 125 };
    let done = match tool {
        Tool::Pack { name, .. } => {
            let mut header = tar::Header::new_gnu();
            header.set_size(5);
            header.set_mode(0o644);
            let mut archive = tar::Builder::new(output);
            archive.append_data(&mut header, name.to_string(), &b"bytes"[..]).and_then(|()| archive.finish())
        }
        _ => match input {
            [input] => io::copy(input, &mut io::sink()).map(drop),
            _ => output.shutdown(Shutdown::Write),
        },
    };
    u8::from(done.is_err())
}
