//! The protocol over streamable HTTP, as routes that the server mounts.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use rmcp::transport::streamable_http_server::session::local::{LocalSessionManager, SessionConfig};
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

use crate::context::Context;
use crate::handler::McpHandler;
use crate::stdio::MAX_MESSAGE;
use crate::{McpHost, Policy};

/// Sessions at a time, of clients of the protocol's era with `initialize`; more are refused.
const SESSIONS: usize = 256;
/// A session ends after so much silence.
const SILENCE: Duration = Duration::from_secs(1800);
/// The first revision of the protocol without sessions.
const STATELESS: &str = "2026-07-28";

/// The protocol at the root of a router. It judges neither Host nor Origin nor tokens: whoever mounts it does.
pub fn http_router(host: McpHost, policy: Policy) -> Router {
    let (context, _) = Context::new(host, policy);
    let mut silence = SessionConfig::default();
    silence.keep_alive = Some(SILENCE);
    let mut sessions = LocalSessionManager::default();
    sessions.session_config = silence;
    let sessions = Arc::new(sessions);
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_max_request_body_bytes(MAX_MESSAGE);
    let handler = move || Ok(McpHandler::new(context.clone()));
    let service = StreamableHttpService::new(handler, Arc::clone(&sessions), config);
    Router::new().fallback_service(service).layer(middleware::from_fn_with_state(sessions, bounded))
}

/// Refuses a request that would begin one session too many.
async fn bounded(State(sessions): State<Arc<LocalSessionManager>>, request: Request, next: Next) -> Response {
    if begins_session(request.method(), request.headers()) && sessions.sessions.read().await.len() >= SESSIONS
    {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many sessions at a time").into_response();
    }
    next.run(request).await
}

fn begins_session(method: &Method, headers: &HeaderMap) -> bool {
    let version = headers.get("mcp-protocol-version").and_then(|version| version.to_str().ok());
    method == Method::POST
        && !headers.contains_key("mcp-session-id")
        && version.is_none_or(|version| version < STATELESS)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn sessions_begin_with_a_first_message_of_the_older_era() {
        let begins = |method: Method, list: &[(&'static str, &'static str)]| {
            let header = |(name, value): &(&'static str, &'static str)| {
                (axum::http::HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            begins_session(&method, &list.iter().map(header).collect())
        };
        assert!(begins(Method::POST, &[]) && begins(Method::POST, &[("mcp-protocol-version", "2025-11-25")]));
        assert!(!begins(Method::POST, &[("mcp-session-id", "x")]) && !begins(Method::GET, &[]));
        assert!(!begins(Method::POST, &[("mcp-protocol-version", "2026-07-28")]));
    }
}
