//! A command in a running sandbox, with its streams over a WebSocket.

mod kept;
mod streams;

use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::response::Response;
use futures::{SinkExt, StreamExt};
use monocore_api::{ErrorBody, ErrorCode, ExecResume, ExecStart, ServerMessage};
use monocore_orchestrator::ControlClient;
use serde_json::Value;

pub(crate) use self::kept::KeptCommands;
use self::kept::{Joining, Owner};
use self::streams::{Begun, Sink, Source, Told, begin, gone, reserve, stdin_bytes, tell, text};
use super::{Name, exec};
use crate::access::{Access, Scope, TokenId};
use crate::api_server::ApiServer;
use crate::error::ApiError;
use crate::{guard, work};

/// What a browser must name beside its token.
const PROTOCOL: &str = "monocore.v1";
/// The largest message of a client, bytes.
const MAX_MESSAGE: usize = 1 << 20;
/// How long a client may take to say what it wants.
const FIRST_MESSAGE: Duration = Duration::from_secs(30);

/// Runs a command in a running sandbox with its streams over a WebSocket. The client's first
/// message is an ExecStart or an ExecResume as text; later text messages are ClientMessage, binary
/// ones a byte for the stream (0 standard input, 1 output, 2 diagnostics) and bytes. The server's
/// text messages are ServerMessage. The command is killed if the client goes away, unless its
/// ExecStart says `keep`.
#[utoipa::path(
    get, path = "/v1/sandboxes/{name}/exec/ws", tag = "sandboxes", params(("name" = String, Path)),
    responses((status = 101), (status = "default", body = ErrorBody))
)]
pub(super) async fn exec_ws(
    State(context): State<ApiServer>,
    Name(name): Name,
    Extension(Access(scope)): Extension<Access>,
    Extension(TokenId(token)): Extension<TokenId>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    guard::require(scope, Scope::Run)?;
    let upgrade = upgrade.map_err(|error| ApiError::new(ErrorCode::BadRequest, error.body_text()))?;
    // A sandbox that is not there is told by a status.
    let (sandbox, client) = exec::connect(&context, name).await?;
    let owner = Owner { sandbox, token };
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    Ok(upgrade.on_upgrade(async move |socket| serve(context, owner, client, socket).await))
}

async fn serve(context: ApiServer, owner: Owner, client: ControlClient, mut socket: WebSocket) {
    let session = match first(&mut socket).await {
        Ok(First::Start(start)) if start.keep.is_none() => {
            let (mut sink, source) = socket.split();
            let last = converse(&context, client, start, &mut sink, source).await;
            return end(sink, last).await;
        }
        Ok(First::Start(start)) => kept::start(&context, owner, client, start),
        Ok(First::Resume(resume)) => context.kept.resume(&owner, resume),
        Err(error) => Err(error),
    };
    let (sink, error) = match session {
        Ok((session, size)) => match session.send(Joining { socket, size }).await {
            Ok(()) => return,
            Err(ended) => (ended.0.socket.split().0, kept::no_such_session()),
        },
        Err(error) => (socket.split().0, error),
    };
    end(sink, Err(error)).await;
}

/// Says how it ended and closes; the client may be gone.
async fn end(mut sink: Sink, last: Result<u8, ApiError>) {
    let last = match last {
        Ok(exit_code) => ServerMessage::Exit { exit_code },
        Err(error) => ServerMessage::Error { code: error.code, message: error.message },
    };
    let _ = sink.send(text(&last)).await;
    let _ = sink.close().await;
}

/// What a client begins with.
enum First {
    Start(ExecStart),
    Resume(ExecResume),
}

async fn first(socket: &mut WebSocket) -> Result<First, ApiError> {
    let text = match tokio::time::timeout(FIRST_MESSAGE, socket.recv()).await {
        Ok(Some(Ok(Message::Text(text)))) => text,
        Err(_) => {
            return Err(ApiError::new(ErrorCode::RequestTimeout, "the first message did not arrive in time"));
        }
        _ => {
            return Err(ApiError::new(
                ErrorCode::BadRequest,
                "the first message must be text: an ExecStart or an ExecResume",
            ));
        }
    };
    let wrong = |error| ApiError::new(ErrorCode::InvalidJson, format!("the first message: {error}"));
    let value: Value = serde_json::from_str(text.as_str()).map_err(wrong)?;
    match value.get("session") {
        Some(_) => serde_json::from_value(value).map(First::Resume).map_err(wrong),
        None => serde_json::from_value(value).map(First::Start).map_err(wrong),
    }
}

/// Carries the streams until the command ends, and gives its exit code.
async fn converse(
    context: &ApiServer,
    client: ControlClient,
    start: ExecStart,
    sink: &mut Sink,
    mut source: Source,
) -> Result<u8, ApiError> {
    // Its control is dropped at the end of this function: then the command is killed, if it still runs.
    let Begun { mut output, mut inputs, control, command } = begin(client, start)?;
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
