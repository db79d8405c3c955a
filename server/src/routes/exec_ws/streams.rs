//! The streams of a command, between the threads that carry them and a WebSocket.

use std::io::{self, Read, Write};

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use monocore_api::{Channel, ClientMessage, ErrorCode, ExecStart, ServerMessage, StreamFrame, TerminalSize};
use monocore_orchestrator::session::{Input, Output, Streams};
use monocore_orchestrator::spec::Signal;
use monocore_orchestrator::{ControlClient, RemoteCommand};
use monocore_protocol::TermSize;
use tokio::sync::mpsc;

use crate::error::ApiError;
use crate::routes::exec;
use crate::work::HangUp;

/// Messages on their way in each direction; more make the sender wait.
const IN_FLIGHT: usize = 16;
/// Most bytes of output in a message.
pub(super) const CHUNK: usize = 64 << 10;

/// The client's half of a WebSocket.
pub(super) type Source = futures::stream::SplitStream<WebSocket>;
/// The server's half.
pub(super) type Sink = futures::stream::SplitSink<WebSocket, Message>;

/// A command that was asked for.
pub(super) struct Begun {
    /// Whole binary messages.
    pub(super) output: mpsc::Receiver<Bytes>,
    /// Nothing where the command reads end of file.
    pub(super) inputs: Option<mpsc::Sender<Bytes>>,
    pub(super) control: HangUp,
    pub(super) command: RemoteCommand,
}

/// Asks for a command before the client's next message is read: a signal in that is for this
/// command. This does not block, since the connection is new.
pub(super) fn begin(client: ControlClient, start: ExecStart) -> Result<Begun, ApiError> {
    let call = exec::call(start.command, &start.env, start.workdir, start.user)?;
    let (outputs, output) = mpsc::channel(IN_FLIGHT);
    let (inputs, input) = mpsc::channel(IN_FLIGHT);
    let (stdin, inputs) = match start.stdin {
        true => (Input::Reader(Box::new(FromClient { from: input, rest: Bytes::new() })), Some(inputs)),
        false => (Input::Empty, None),
    };
    let to_client = |channel| Output::Writer(Box::new(ToClient { to: outputs.clone(), channel }));
    let streams = match start.terminal {
        Some(size) => {
            Streams::Terminal { size: term_size(size), input: stdin, output: to_client(Channel::Stdout) }
        }
        None => {
            Streams::Pipes { stdin, stdout: to_client(Channel::Stdout), stderr: to_client(Channel::Stderr) }
        }
    };
    let command = client.exec(call, streams)?;
    let control = HangUp(command.handle()?);
    Ok(Begun { output, inputs, control, command })
}

pub(super) async fn reserve(inputs: Option<mpsc::Sender<Bytes>>) -> Option<mpsc::OwnedPermit<Bytes>> {
    inputs?.reserve_owned().await.ok()
}

pub(super) fn gone() -> ApiError {
    ApiError::new(ErrorCode::BadRequest, "the client went away")
}

pub(super) fn text(message: &ServerMessage) -> Message {
    // Plain data with text keys.
    Message::Text(serde_json::to_string(message).unwrap_or_default().into())
}

pub(super) fn term_size(size: TerminalSize) -> TermSize {
    TermSize { rows: size.rows, columns: size.columns }
}

/// The input in a binary message; nothing if it is empty.
pub(super) fn stdin_bytes(message: &Bytes) -> Result<Option<Bytes>, ApiError> {
    match StreamFrame::decode(message) {
        Some(StreamFrame { channel: Channel::Stdin, bytes }) => {
            Ok((!bytes.is_empty()).then(|| message.slice(1..)))
        }
        _ => Err(ApiError::new(ErrorCode::BadRequest, "a binary message begins with a 0: standard input")),
    }
}

/// What came of a text message.
pub(super) enum Told {
    Done,
    StdinEnd,
}

pub(super) fn tell(control: &HangUp, text: &str) -> Result<Told, ApiError> {
    let message: ClientMessage = serde_json::from_str(text)
        .map_err(|error| ApiError::new(ErrorCode::InvalidJson, format!("a message: {error}")))?;
    match message {
        ClientMessage::StdinEnd => return Ok(Told::StdinEnd),
        ClientMessage::Resize(size) => control.0.resize(term_size(size)),
        ClientMessage::Signal { signal } => {
            let signal = Signal::parse(&signal).map_err(|error| ApiError::value("signal", error))?;
            control.0.signal(signal.number());
        }
    }
    Ok(Told::Done)
}

/// A command's input on the thread that carries it.
struct FromClient {
    from: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Read for FromClient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.from.blocking_recv() {
                Some(bytes) => self.rest = bytes,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.rest.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

/// A command's output on the thread that carries it.
struct ToClient {
    to: mpsc::Sender<Bytes>,
    channel: Channel,
}

impl Write for ToClient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK);
        let frame = StreamFrame { channel: self.channel, bytes: &bytes[..count] }.encode();
        self.to.blocking_send(frame.into()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
