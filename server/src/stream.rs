//! Streams: values as lines of JSON, or as server-sent events where the client asks for those.

use std::convert::Infallible;
use std::os::unix::net::UnixStream;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::stream;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::api_server::ApiServer;

/// Values on their way; more make the producer wait.
const IN_FLIGHT: usize = 64;

/// How values are put into a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One JSON value a line (`application/x-ndjson`).
    Lines,
    /// `data: JSON` and an empty line (`text/event-stream`).
    Events,
}

impl Framing {
    /// What the client takes.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        if accept.contains("text/event-stream") { Self::Events } else { Self::Lines }
    }

    /// The answer's content type.
    pub(crate) fn content_type(self) -> (header::HeaderName, HeaderValue) {
        let kind = match self {
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
        };
        (header::CONTENT_TYPE, HeaderValue::from_static(kind))
    }

    /// The value as it is sent.
    pub(crate) fn put(self, json: &[u8]) -> Bytes {
        match self {
            Self::Lines => [json, b"\n"].concat().into(),
            Self::Events => [b"data: ", json, b"\n\n"].concat().into(),
        }
    }
}

/// The producer's end of a stream, for a thread that may block.
#[derive(Debug)]
pub(crate) struct Sender {
    to: mpsc::Sender<Bytes>,
    framing: Framing,
}

impl Sender {
    /// Sends a value when there is room; false when nobody reads any more.
    pub(crate) fn send(&self, value: &impl Serialize) -> bool {
        match serde_json::to_vec(value) {
            Ok(json) => self.to.blocking_send(self.framing.put(&json)).is_ok(),
            Err(error) => {
                tracing::error!(%error, "a value of a stream cannot be written");
                false
            }
        }
    }

    /// Sends a value if there is room: for a producer that must not wait.
    pub(crate) fn offer(&self, value: &impl Serialize) {
        if let Ok(json) = serde_json::to_vec(value) {
            // A slow reader misses some.
            let _ = self.to.try_send(self.framing.put(&json));
        }
    }

    /// Sends a line of JSON as it is.
    pub(crate) fn send_json(&self, json: &[u8]) -> bool {
        self.to.blocking_send(self.framing.put(json)).is_ok()
    }
}

/// A stream's two ends. `held` is dropped with the answer, which tells the producer that nobody
/// reads.
pub(crate) fn channel(context: &ApiServer, framing: Framing, held: Option<UnixStream>) -> (Sender, Response) {
    let (to, from) = mpsc::channel(IN_FLIGHT);
    let values = stream::unfold((from, held), |(mut from, held)| async move {
        let bytes: Bytes = from.recv().await?;
        Some((Ok::<_, Infallible>(bytes), (from, held)))
    });
    let context = context.clone();
    let values = values.take_until(Box::pin(async move { context.ended().await }));
    let response = ([framing.content_type()], Body::from_stream(values)).into_response();
    (Sender { to, framing }, response)
}
