//! The output of a sandbox, and the decisions of its network.

use std::time::SystemTime;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use monocore_api::{ErrorBody, LogLine, LogQuery, LogStreamName};
use monocore_orchestrator::spec::parse_duration;
use monocore_orchestrator::{LogEntry, LogSelection, LogStream, Receipts, SelectedLog, registry};

use super::Name;
use crate::api_server::ApiServer;
use crate::body::Query;
use crate::convert;
use crate::error::ApiError;
use crate::stream::{self, Framing};
use crate::work;

/// Sends a sandbox's output: one JSON value a line, or events with `Accept: text/event-stream`.
#[utoipa::path(
    get, path = "/v1/sandboxes/{name}/logs", tag = "sandboxes", params(("name" = String, Path), LogQuery),
    responses(
        (status = 200, body = LogLine, content_type = "application/x-ndjson"),
        (status = "default", body = ErrorBody)
    )
)]
pub(super) async fn logs(
    State(context): State<ApiServer>,
    Name(name): Name,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let selection = LogSelection {
        tail: query.tail.as_deref().map(parse_tail).transpose()?.flatten(),
        since: query.since.as_deref().map(parse_since).transpose()?,
        follow: query.follow,
    };
    let permit = work::long_permit(&context)?;
    let (held, watched) = work::interrupt()?;
    let opened = work::short(&context, move |context| {
        let entry = registry::find(&context.home, &name)?;
        Ok(SelectedLog::open(&context.home, convert::kept(&entry)?, selection, Some(watched))?)
    });
    let mut log = opened.await?;
    let (sender, response) = stream::channel(&context, Framing::wanted(&headers), Some(held));
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        while let Ok(Some(entry)) = log.next_entry()
            && sender.send(&line(&entry))
        {}
    });
    Ok(response)
}

/// Sends what the network of a running sandbox lets through and what not, as it happens.
#[utoipa::path(
    get, path = "/v1/sandboxes/{name}/network", tag = "sandboxes", params(("name" = String, Path)),
    responses(
        (status = 200, body = serde_json::Value, content_type = "application/x-ndjson"),
        (status = "default", body = ErrorBody)
    )
)]
pub(super) async fn network(
    State(context): State<ApiServer>,
    Name(name): Name,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let permit = work::long_permit(&context)?;
    let (held, watched) = work::interrupt()?;
    let opened = work::short(&context, move |context| {
        let record = registry::running(&context.home, &name)?;
        Ok(Receipts::follow(&context.home, &record)?.interrupted_by(watched))
    });
    let mut receipts = opened.await?;
    let (sender, response) = stream::channel(&context, Framing::wanted(&headers), Some(held));
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        while let Ok(Some(lines)) = receipts.next_lines() {
            let mut whole = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            if !whole.all(|line| sender.send_json(line)) {
                break;
            }
        }
    });
    Ok(response)
}

fn line(entry: &LogEntry) -> LogLine {
    let (log, bytes) = match std::str::from_utf8(&entry.bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(STANDARD.encode(&entry.bytes))),
    };
    let stream = match entry.stream {
        LogStream::Stdout => LogStreamName::Stdout,
        LogStream::Stderr => LogStreamName::Stderr,
    };
    LogLine { log, bytes, stream, time: humantime::format_rfc3339_nanos(entry.time).to_string() }
}

fn parse_tail(text: &str) -> Result<Option<usize>, ApiError> {
    match text {
        "all" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| ApiError::value("tail", "give a number of lines, or all")),
    }
}

pub(super) fn parse_since(text: &str) -> Result<SystemTime, ApiError> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Ok(time);
    }
    parse_duration(text).ok().and_then(|ago| SystemTime::now().checked_sub(ago)).ok_or_else(|| {
        ApiError::value("since", "give a time such as 2026-11-30T04:41:00Z, or a duration such as 10m")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_and_times_are_read() {
        assert_eq!(parse_tail("all").unwrap(), None);
        assert_eq!(parse_tail("10").unwrap(), Some(10));
        assert!(parse_tail("-1").is_err() && parse_tail("").is_err());
        assert!(parse_since("2026-11-30T04:41:00Z").is_ok() && parse_since("10m").is_ok());
        assert!(parse_since("yesterday").is_err());
    }
}
