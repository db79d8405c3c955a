//! A command in a running sandbox, with its streams over a WebSocket.

use std::io::{self, Read, Write};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::response::Response;
use futures::{SinkExt, StreamExt};
use monocore_api::{
    Channel, ClientMessage, ErrorBody, ErrorCode, ExecStart, ServerMessage, StreamFrame, TerminalSize,
};
use monocore_orchestrator::session::{Input, Output, Streams};
use monocore_orchestrator::spec::Signal;
use monocore_protocol::TermSize;
use tokio::sync::mpsc;

use super::{Name, exec};
use crate::access::{Access, Scope};
use crate::api_server::ApiServer;
use crate::error::ApiError;
use crate::guard;
use crate::work::{self, HangUp};

/// What a browser must name beside its token.
const PROTOCOL: &str = "monocore.v1";
/// The largest message of a client, bytes.
const MAX_MESSAGE: usize = 1 << 20;
/// Messages on their way in each direction; more make the sender wait.
const IN_FLIGHT: usize = 16;
/// Most bytes of output in a message.
const CHUNK: usize = 64 << 10;

/// Runs a command in a running sandbox with its streams over a WebSocket. The client's first
/// message is an ExecStart as text; later text messages are ClientMessage, binary ones a byte for
/// the stream (0 standard input, 1 output, 2 diagnostics) and bytes. The server's text messages are
/// ServerMessage. The command is killed if the client goes away.
#[utoipa::path(
    get, path = "/v1/sandboxes/{name}/exec/ws", tag = "sandboxes", params(("name" = String, Path)),
    responses((status = 101), (status = "default", body = ErrorBody))
)]
pub(super) async fn exec_ws(
    State(context): State<ApiServer>,
    Name(name): Name,
    Extension(Access(scope)): Extension<Access>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    guard::require(scope, Scope::Run)?;
    let upgrade = upgrade.map_err(|error| ApiError::new(ErrorCode::BadRequest, error.body_text()))?;
    // A sandbox that is not there is told by a status.
    let client = exec::connect(&context, name).await?;
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    Ok(upgrade.on_upgrade(async move |socket| {
        let (mut sink, mut source) = socket.split();
        let last = match first(&mut source).await {
            Ok(start) => converse(&context, client, start, &mut sink, source).await,
            Err(error) => Err(error),
        };
        let last = match last {
            Ok(exit_code) => ServerMessage::Exit { exit_code },
            Err(error) => ServerMessage::Error { code: error.code, message: error.message },
        };
        // The client may be gone.
        let _ = sink.send(text(&last)).await;
        let _ = sink.close().await;
    }))
}

type Source = futures::stream::SplitStream<WebSocket>;
type Sink = futures::stream::SplitSink<WebSocket, Message>;

async fn first(source: &mut Source) -> Result<ExecStart, ApiError> {
    let waited = tokio::time::timeout(std::time::Duration::from_secs(30), source.next());
    match waited.await {
        Ok(Some(Ok(Message::Text(text)))) => serde_json::from_str(text.as_str())
            .map_err(|error| ApiError::new(ErrorCode::InvalidJson, format!("the first message: {error}"))),
        Err(_) => Err(ApiError::new(ErrorCode::RequestTimeout, "the first message did not arrive in time")),
        _ => Err(ApiError::new(ErrorCode::BadRequest, "the first message must be text: an ExecStart")),
    }
}

/// Carries the streams until the command ends, and gives its exit code.
async fn converse(
    context: &ApiServer,
    client: monocore_orchestrator::ControlClient,
    start: ExecStart,
    sink: &mut Sink,
    mut source: Source,
) -> Result<u8, ApiError> {
    let call = exec::call(start.command, &start.env, start.workdir, start.user)?;
    let (outputs, mut output) = mpsc::channel(IN_FLIGHT);
    let (inputs, input) = mpsc::channel(IN_FLIGHT);
    let (stdin, mut inputs) = match start.stdin {
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
    drop(outputs);
    // Asked for before the client's next message is read: a signal in it is for this command. This does not block:
    // the connection is new.
    let command = client.exec(call, streams)?;
    // Dropped at the end of this function: then the command is killed, if it still runs.
    let control = HangUp(command.handle()?);
    let mut ended = std::pin::pin!(work::long(context, move |_| Ok(command.wait()?.code())));
    let mut result = None;
    let mut blocked: Option<Bytes> = None;
    loop {
        tokio::select! {
            biased;
            bytes = output.recv() => match bytes {
                Some(bytes) => sink.send(Message::Binary(bytes)).await.map_err(|_| gone())?,
                // The streams have ended, and so has the command or will soon.
                None => break,
            },
            done = &mut ended, if result.is_none() => result = Some(done),
            permit = reserve(inputs.clone()), if blocked.is_some() => match permit {
                Some(permit) => drop(permit.send(blocked.take().unwrap_or_default())),
                None => { blocked = None; inputs = None }
            },
            // While input waits for the command, nothing is read: the client's sends wait, too.
            message = source.next(), if blocked.is_none() => match message {
                Some(Ok(Message::Binary(bytes))) => blocked = stdin_bytes(&bytes)?.filter(|_| inputs.is_some()),
                Some(Ok(Message::Text(text))) => match tell(&control, text.as_str())? {
                    Told::Done => {}
                    Told::StdinEnd => inputs = None,
                },
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(gone()),
            },
            () = context.ended() => return Err(ApiError::new(ErrorCode::TooBusy, "the server ends")),
        }
    }
    match result {
        Some(result) => result,
        None => ended.await,
    }
}

async fn reserve(inputs: Option<mpsc::Sender<Bytes>>) -> Option<mpsc::OwnedPermit<Bytes>> {
    inputs?.reserve_owned().await.ok()
}

fn gone() -> ApiError {
    ApiError::new(ErrorCode::BadRequest, "the client went away")
}

fn text(message: &ServerMessage) -> Message {
    // Plain data with text keys.
    Message::Text(serde_json::to_string(message).unwrap_or_default().into())
}

fn term_size(size: TerminalSize) -> TermSize {
    TermSize { rows: size.rows, columns: size.columns }
}

/// The input in a binary message; nothing if it is empty.
fn stdin_bytes(message: &Bytes) -> Result<Option<Bytes>, ApiError> {
    match StreamFrame::decode(message) {
        Some(StreamFrame { channel: Channel::Stdin, bytes }) => {
            Ok((!bytes.is_empty()).then(|| message.slice(1..)))
        }
        _ => Err(ApiError::new(ErrorCode::BadRequest, "a binary message begins with a 0: standard input")),
    }
}

/// What came of a text message.
enum Told {
    Done,
    StdinEnd,
}

fn tell(control: &HangUp, text: &str) -> Result<Told, ApiError> {
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
