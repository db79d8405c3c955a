//! The session against an agent played by the test, over Unix sockets.

mod signals;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use monocore_protocol::{
    Configure, Decoder, Event, Exec, ExecId, ExitStatus, Opening, Request, Root, Stream, StreamId, VERSION,
    encode,
};

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// An agent's side of the connections.
struct Agent {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

struct Control {
    socket: UnixStream,
    decoder: Decoder,
}

impl Agent {
    fn new() -> (Self, Session) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent");
        let listener = Listener::new(UnixListener::bind(&path).unwrap()).unwrap();
        let session = Session::start(listener, Configure::new(Root::Current)).unwrap();
        (Self { path, _dir: dir }, session)
    }

    fn dial(&self, opening: Opening) -> UnixStream {
        let mut socket = UnixStream::connect(&self.path).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.write_all(&encode(&opening).unwrap()).unwrap();
        socket
    }

    fn control(&self) -> Control {
        let mut control =
            Control { socket: self.dial(Opening::Control { version: VERSION }), decoder: Decoder::default() };
        assert!(matches!(control.request(), Request::Configure(_)));
        control
    }

    fn stream(&self, exec: ExecId, stream: Stream) -> UnixStream {
        self.dial(Opening::Stream(StreamId::Exec { exec, stream }))
    }
}

impl Control {
    fn request(&mut self) -> Request {
        loop {
            if let Some(request) = self.decoder.take().unwrap() {
                return request;
            }
            let mut buffer = [0; 512];
            let count = self.socket.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "the session hung up");
            self.decoder.push(&buffer[..count]);
        }
    }

    fn exec(&mut self) -> Exec {
        match self.request() {
            Request::Exec(exec) => *exec,
            other => panic!("{other:?}"),
        }
    }

    fn say(&mut self, event: &Event) {
        self.socket.write_all(&encode(event).unwrap()).unwrap();
    }
}

/// A writer that passes on what it gets.
struct Tap(mpsc::Sender<Vec<u8>>);

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.send(bytes.to_vec()).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn tap() -> (Output, mpsc::Receiver<Vec<u8>>) {
    let (sender, receiver) = mpsc::channel();
    (Output::Writer(Box::new(Tap(sender))), receiver)
}

fn quiet() -> Streams {
    Streams::Pipes { stdin: Input::Empty, stdout: Output::Discard, stderr: Output::Discard }
}

#[test]
fn a_command_ends_when_its_status_and_all_output_are_there() {
    let (agent, session) = Agent::new();
    let (stdout, seen) = tap();
    let streams = Streams::Pipes { stdin: Input::Empty, stdout, stderr: Output::Discard };
    let process = session.exec(Exec::new(ExecId(0), ["x"]), streams).unwrap();
    let mut control = agent.control();
    let id = control.exec().id;
    let mut stdout = agent.stream(id, Stream::Stdout);
    let stderr = agent.stream(id, Stream::Stderr);
    control.say(&Event::Started { exec: id, pid: 7 });
    control.say(&Event::Exited { exec: id, status: ExitStatus::Code(3) });
    drop(stderr);
    let soon = Instant::now() + Duration::from_millis(100);
    assert_eq!(process.wait_until(Some(soon), None).unwrap(), Waited::TimedOut);
    stdout.write_all(b"late").unwrap();
    drop(stdout);
    assert_eq!(process.wait().unwrap(), ExitStatus::Code(3));
    assert_eq!(process.pid(), Some(7));
    assert_eq!(seen.try_iter().flatten().collect::<Vec<_>>(), b"late");
}

#[test]
fn standard_input_reaches_the_command_and_ends() {
    let (agent, session) = Agent::new();
    let (ours, theirs) = std::io::pipe().unwrap();
    let streams =
        Streams::Pipes { stdin: Input::Fd(ours.into()), stdout: Output::Discard, stderr: Output::Discard };
    let _process = session.exec(Exec::new(ExecId(0), ["x"]), streams).unwrap();
    let mut control = agent.control();
    let exec = control.exec();
    assert_eq!(exec.stdio, Stdio::Pipes { stdin: Stdin::Stream });
    let mut stdin = agent.stream(exec.id, Stream::Stdin);
    let mut theirs = theirs;
    theirs.write_all(b"typed").unwrap();
    drop(theirs);
    let mut seen = Vec::new();
    stdin.read_to_end(&mut seen).unwrap();
    assert_eq!(seen, b"typed");
}

#[test]
fn a_guest_that_goes_away_ends_every_wait() {
    let (agent, session) = Agent::new();
    let process = session.exec(Exec::new(ExecId(0), ["x"]), quiet()).unwrap();
    let mut control = agent.control();
    control.exec();
    let ping = std::thread::spawn(move || session.ping(SOON));
    assert!(matches!(control.request(), Request::Ping(_)));
    drop(control);
    assert!(matches!(process.wait(), Err(SessionError::Lost)));
    assert!(matches!(ping.join().unwrap(), Err(SessionError::Lost)));
}

#[test]
fn another_version_of_the_agent_is_refused_and_told_nothing() {
    let (agent, session) = Agent::new();
    let process = session.exec(Exec::new(ExecId(0), ["x"]), quiet()).unwrap();
    let mut socket = agent.dial(Opening::Control { version: VERSION + 1 });
    assert!(matches!(process.wait(), Err(SessionError::Version { .. })));
    assert_eq!(socket.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn nonsense_on_the_control_connection_ends_the_session() {
    let (agent, session) = Agent::new();
    let process = session.exec(Exec::new(ExecId(0), ["x"]), quiet()).unwrap();
    let mut control = agent.control();
    control.socket.write_all(&[0xff; 16]).unwrap();
    assert!(matches!(process.wait(), Err(SessionError::Nonsense(_))));
}

#[test]
fn streams_nobody_asked_for_are_closed() {
    let (agent, session) = Agent::new();
    let process = session.exec(Exec::new(ExecId(0), ["x"]), quiet()).unwrap();
    let mut control = agent.control();
    let id = control.exec().id;
    let mut strangers = vec![
        agent.stream(ExecId(id.0 + 1), Stream::Stdout),
        agent.stream(id, Stream::Stdin),
        agent.dial(Opening::Control { version: VERSION }),
    ];
    let mut garbage = UnixStream::connect(&agent.path).unwrap();
    garbage.write_all(&[0xff; 40]).unwrap();
    strangers.push(garbage);
    for stranger in &mut strangers {
        stranger.set_read_timeout(Some(SOON)).unwrap();
        assert!(matches!(stranger.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
    // The real ones still work.
    drop((agent.stream(id, Stream::Stdout), agent.stream(id, Stream::Stderr)));
    control.say(&Event::Exited { exec: id, status: ExitStatus::Signal(15) });
    assert_eq!(process.wait().unwrap().code(), 143);
}

#[test]
fn a_command_that_cannot_start_says_why_and_with_which_code() {
    let (agent, session) = Agent::new();
    let process = session.exec(Exec::new(ExecId(0), ["nosuch"]), quiet()).unwrap();
    let mut control = agent.control();
    let id = control.exec().id;
    control.say(&Event::ExecFailed { exec: id, code: 127, message: "nosuch: not found".into() });
    match process.wait() {
        Err(SessionError::Exec { code: 127, message }) => assert_eq!(message, "nosuch: not found"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_output_that_takes_no_more_closes_the_guests_stream() {
    let (agent, session) = Agent::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let streams =
        Streams::Pipes { stdin: Input::Empty, stdout: Output::Fd(writer.into()), stderr: Output::Discard };
    let _process = session.exec(Exec::new(ExecId(0), ["yes"]), streams).unwrap();
    let mut control = agent.control();
    let id = control.exec().id;
    let mut stdout = agent.stream(id, Stream::Stdout);
    drop(reader);
    let failed = (0..10_000).any(|_| stdout.write_all(&[b'y'; 4096]).is_err());
    assert!(failed, "the guest never noticed");
}

#[test]
fn a_quiet_output_leaves_its_pipe_free_for_the_reader() {
    let (agent, session) = Agent::new();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let streams =
        Streams::Pipes { stdin: Input::Empty, stdout: Output::Fd(writer.into()), stderr: Output::Discard };
    let _process = session.exec(Exec::new(ExecId(0), ["sleep"]), streams).unwrap();
    let mut control = agent.control();
    let id = control.exec().id;
    let mut stdout = agent.stream(id, Stream::Stdout);
    stdout.write_all(b"up").unwrap();
    reader.read_exact(&mut [0; 2]).unwrap();
    let (done, closed) = mpsc::channel();
    std::thread::spawn(move || {
        drop(reader);
        done.send(()).unwrap();
    });
    closed.recv_timeout(Duration::from_secs(10)).expect("the reader cannot close its end");
    drop(stdout);
}
