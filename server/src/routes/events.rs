//! What happens to sandboxes, as it happens.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use monocore_api::{ErrorBody, EventQuery, SandboxEvent};
use monocore_orchestrator::events::{self, EventReader, EventStart};

use super::logs::parse_since;
use crate::api_server::ApiServer;
use crate::body::Query;
use crate::error::ApiError;
use crate::stream::{self, Framing};
use crate::work;

/// Sends what happens to sandboxes: one JSON value a line, or events with `Accept:
/// text/event-stream`.
#[utoipa::path(
    get, path = "/v1/events", tag = "sandboxes", params(EventQuery),
    responses(
        (status = 200, body = SandboxEvent, content_type = "application/x-ndjson"),
        (status = "default", body = ErrorBody)
    )
)]
pub(super) async fn events(
    State(context): State<ApiServer>,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let since = query.since.as_deref().map(parse_since).transpose()?;
    let permit = work::long_permit(&context)?;
    let (held, watched) = work::interrupt()?;
    let opened = work::short(&context, move |context| {
        let start = if since.is_some() { EventStart::Oldest } else { EventStart::Now };
        Ok(EventReader::open(&context.home, start)?.interrupted_by(watched))
    });
    let mut reader = opened.await?;
    let (sender, response) = stream::channel(&context, Framing::wanted(&headers), Some(held));
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        loop {
            while let Ok(Some(found)) = reader.next_event() {
                let is_new = since.is_none_or(|since| found.at() >= since);
                let event = convert(&found);
                let is_wanted = query
                    .sandbox
                    .as_ref()
                    .is_none_or(|sandbox| event.id == *sandbox || event.name.as_ref() == Some(sandbox));
                if is_new && is_wanted && !sender.send(&event) {
                    return;
                }
            }
            if !reader.wait(None).unwrap_or(false) {
                return;
            }
        }
    });
    Ok(response)
}

fn convert(event: &events::SandboxEvent) -> SandboxEvent {
    let attribute = |name: &str| event.actor.attributes.get(name);
    SandboxEvent {
        event: event.name().to_owned(),
        detail: event.action.split_once(':').map(|(_, detail)| detail.trim().to_owned()),
        id: event.id.clone(),
        name: attribute("name").cloned(),
        image: event.from.clone(),
        exit_code: attribute("exitCode").and_then(|code| code.parse().ok()),
        time_ms: event.time_ns / 1_000_000,
    }
}
