//! What every request passes: Host, Origin, token; and the access log.

use std::net::IpAddr;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use monocore_api::ErrorCode;

use crate::access::{Access, Peer, Scope, TokenId};
use crate::api_server::ApiServer;
use crate::error::ApiError;
use crate::limit::Client;
use crate::{tokens, work};

/// Paths that say nothing of sandboxes and need no token.
const OPEN_PATHS: [&str; 6] = ["/healthz", "/readyz", "/", "/docs", "/shell", "/openapi.json"];
/// The same for all paths below.
const OPEN_DIRECTORY: &str = "/assets/";

/// Judges a request, passes it on, and writes a line about it.
pub(crate) async fn guard(State(context): State<ApiServer>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::Unix);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // A body cannot be shared between threads, so only what is judged is borrowed.
    let judged = judge(&context, peer, request.headers(), &method, &path);
    let mut response = match judged.await {
        Ok(caller) => {
            request.extensions_mut().insert(Access(caller.scope));
            request.extensions_mut().insert(TokenId(caller.token));
            next.run(request).await
        }
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let status = response.status().as_u16();
    count(&context, status);
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(target: "monocore_server::access", %peer, %method, path, status, ms, "request");
    response
}

/// Refuses who may only look.
pub(crate) async fn needs_run(request: Request, next: Next) -> Response {
    let scope = request.extensions().get::<Access>().map_or(Scope::Read, |access| access.0);
    match require(scope, Scope::Run) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn count(context: &ApiServer, status: u16) {
    let mut answered = context.requests.answered.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    *answered.entry(status).or_default() += 1;
}

/// Who asks, where the request is allowed.
async fn judge(
    context: &ApiServer,
    peer: Peer,
    headers: &HeaderMap,
    method: &Method,
    path: &str,
) -> Result<Caller, ApiError> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    // A page that had its name point at loopback (DNS rebinding) still sends its own name.
    if matches!(peer, Peer::Loopback(_)) && !host.is_some_and(is_local_host) {
        return Err(ApiError::new(
            ErrorCode::ForbiddenHost,
            "the Host header must be localhost or a loopback address",
        ));
    }
    if peer != Peer::Unix {
        same_origin(headers, host, method, path)?;
    }
    let is_open = OPEN_PATHS.contains(&path) || path.starts_with(OPEN_DIRECTORY);
    let caller = match is_open {
        true => Ok(Caller { scope: Scope::Read, token: None }),
        false => caller(context, peer, headers).await,
    };
    let client = match (&caller, peer) {
        (Ok(Caller { token: Some(id), .. }), _) => Some(Client::Token(id.clone())),
        // Also whoever tries tokens.
        (_, Peer::Remote(address)) => Some(Client::Address(address.ip().to_canonical())),
        _ => None,
    };
    if client.is_some_and(|client| !context.rate_limit.take(client, Instant::now())) {
        return Err(ApiError::new(ErrorCode::RateLimited, "too many requests; try again in a second"));
    }
    let caller = caller?;
    if is_open {
        return Ok(caller);
    }
    let needed = if matches!(*method, Method::GET | Method::HEAD) { Scope::Read } else { Scope::Run };
    require(caller.scope, needed)?;
    Ok(caller)
}

/// Fails unless `scope` includes `needed`.
pub(crate) fn require(scope: Scope, needed: Scope) -> Result<(), ApiError> {
    if scope >= needed {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::Forbidden, format!("the token's scope is {scope}, and {needed} is needed")))
}

/// Who asks.
#[derive(Debug)]
struct Caller {
    scope: Scope,
    /// The token's ID, where one was given.
    token: Option<String>,
}

async fn caller(context: &ApiServer, peer: Peer, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let without_token = Caller { scope: Scope::Admin, token: None };
    let unauthorized = |message| ApiError::new(ErrorCode::Unauthorized, message);
    match given_token(headers) {
        Some(text) => {
            let text = text.ok_or_else(|| unauthorized("give the token as `Authorization: Bearer TOKEN`"))?;
            let known =
                work::short(context, |context| tokens::list(&context.home).map_err(ApiError::internal))
                    .await?;
            let token = tokens::check(&known, &text).ok_or_else(|| unauthorized("the token is not known"))?;
            Ok(Caller { scope: token.scope, token: Some(token.id.clone()) })
        }
        None if peer == Peer::Unix => Ok(without_token),
        None if matches!(peer, Peer::Loopback(_)) && !context.require_token => Ok(without_token),
        None => Err(unauthorized("a token is needed: `Authorization: Bearer TOKEN`")),
    }
}

/// The token of a request, `Some(None)` where there is one that cannot be read. A browser's
/// WebSocket has no other place for it than the list of protocols.
fn given_token(headers: &HeaderMap) -> Option<Option<String>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
        });
        return Some(token);
    }
    let protocols = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let token = protocols.split(',').find_map(|one| one.trim().strip_prefix("bearer."))?;
    Some(Some(token.to_owned()))
}

/// `localhost`, a name below it, or a loopback address; with any port, since ports are forwarded.
fn is_local_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if port.is_empty() || port.starts_with(':') => address,
            _ => return false,
        },
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Refuses what another site's page makes a browser send.
fn same_origin(headers: &HeaderMap, host: Option<&str>, method: &Method, path: &str) -> Result<(), ApiError> {
    let foreign =
        || ApiError::new(ErrorCode::ForbiddenOrigin, "requests from pages of other origins are refused");
    if let Some(origin) = headers.get(header::ORIGIN) {
        let authority = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
        if authority.is_none() || authority != host {
            return Err(foreign());
        }
    }
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    let mode = headers.get("sec-fetch-mode").and_then(|mode| mode.to_str().ok());
    // A link to the dashboard may be followed from anywhere.
    let is_visit = *method == Method::GET && mode == Some("navigate") && path == "/";
    match site {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) if is_visit => Ok(()),
        Some(_) => Err(foreign()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_hosts_are_told_from_others() {
        for host in
            ["localhost", "localhost:3456", "LOCALHOST:1", "127.0.0.1:3456", "[::1]:3456", "a.localhost"]
        {
            assert!(is_local_host(host), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:3456", "localhost.evil.example", "10.0.0.1", "[::1", "[::2]"]
        {
            assert!(!is_local_host(host), "{host}");
        }
    }

    #[test]
    fn pages_of_others_are_refused() {
        let headers = |list: &[(&'static str, &'static str)]| {
            list.iter()
                .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect::<HeaderMap>()
        };
        let judged = |list: &[(&'static str, &'static str)], path: &str| {
            same_origin(&headers(list), Some("localhost:3456"), &Method::GET, path).is_ok()
        };
        assert!(judged(&[], "/v1/sandboxes"), "curl sends no origin");
        assert!(judged(&[("origin", "http://localhost:3456"), ("sec-fetch-site", "same-origin")], "/v1/x"));
        assert!(!judged(&[("origin", "http://localhost:8000")], "/v1/x"));
        assert!(!judged(&[("origin", "http://evil.example")], "/v1/x"));
        assert!(!judged(&[("origin", "null")], "/v1/x"));
        assert!(!judged(&[("sec-fetch-site", "cross-site")], "/v1/x"));
        assert!(!judged(&[("sec-fetch-site", "same-site")], "/"));
        assert!(judged(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], "/"));
    }
}
