//! One request: authorized, redirected, repeated where that may help.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::header::{
    ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode, Url};

use super::Client;
use super::auth::Authorization;
use super::certificates::{self, Certificates};
use super::endpoint::{Endpoint, is_loopback};
use super::retry::Attempts;
use super::tls;
use crate::error::{Error, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest silence within an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const REDIRECTS: usize = 10;
/// So much of an error's text is read.
const ERROR_BYTES: usize = 16 << 10;

/// What is asked of an endpoint.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    /// Path within the repository.
    pub(super) path: &'a str,
    /// What it is, for messages.
    pub(super) what: &'static str,
    pub(super) accept: Option<&'static str>,
    /// First byte wanted.
    pub(super) from: u64,
}

/// HTTP with and without TLS. Trust anchors are only read once TLS is needed.
#[derive(Debug)]
pub(super) struct Http {
    /// Folders with certificates for single hosts.
    certificates: Vec<PathBuf>,
    /// Without TLS, to this machine itself: past any proxy, as Go's clients go.
    loopback: OnceLock<reqwest::Client>,
    plain: OnceLock<reqwest::Client>,
    tls: OnceLock<reqwest::Client>,
    /// For hosts with certificates of their own, and those on loopback.
    own: Mutex<HashMap<String, reqwest::Client>>,
}

impl Http {
    /// Without any connection yet; certificates for single hosts are looked for in these folders first.
    pub(super) fn new(certificates: Vec<PathBuf>) -> Self {
        let (loopback, plain, tls) = Default::default();
        Self { certificates, loopback, plain, tls, own: Mutex::default() }
    }

    /// The client for an address.
    pub(super) fn client(&self, url: &Url) -> Result<reqwest::Client> {
        let name = url.host_str().unwrap_or_default();
        let slot = match url.scheme() {
            "http" if is_loopback(name) => &self.loopback,
            "http" => &self.plain,
            _ => {
                let host = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
                if let Some(client) = self.own(host)? {
                    return Ok(client);
                }
                &self.tls
            }
        };
        if let Some(client) = slot.get() {
            return Ok(client.clone());
        }
        let client = match url.scheme() {
            "http" if is_loopback(name) => builder().tls_certs_only([]).no_proxy(),
            "http" => builder().tls_certs_only([]),
            _ => builder(),
        };
        let client = build(client)?;
        Ok(slot.get_or_init(|| client).clone())
    }

    /// The client for a host that there are certificates for, or that is reached past any proxy.
    fn own(&self, host: String) -> Result<Option<reqwest::Client>> {
        // One that panicked left no half of anything.
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = own.get(&host) {
            return Ok(Some(client.clone()));
        }
        let mut client = match certificates::folder(&self.certificates, &host) {
            Some(folder) => Certificates::load(&folder)?.apply(builder()),
            None if is_loopback(&host) => builder(),
            None => return Ok(None),
        };
        if is_loopback(&host) {
            client = client.no_proxy();
        }
        let client = build(client)?;
        own.insert(host, client.clone());
        Ok(Some(client))
    }
}

fn builder() -> reqwest::ClientBuilder {
    // Fails if somebody chose a provider for the process already; then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("monocore/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
}

fn build(client: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    client.build().map_err(|error| {
        let reason = format!("no TLS: {} (install ca-certificates, or set SSL_CERT_FILE)", causes(&error));
        Error::Connection { registry: "any".into(), reason }
    })
}

/// What came back on one attempt.
enum Answer {
    Good(Response),
    /// The registry wants to know who asks.
    Unauthorized(HeaderMap, Error),
    /// It may help to try again, after a time perhaps.
    Again(Error, Option<Duration>),
}

impl Client {
    /// Sends a request until it succeeds or there is no hope; the answer's body is still to be read.
    pub(super) async fn send(&self, endpoint: &Endpoint, ask: &Ask<'_>) -> Result<Response> {
        let mut attempts = Attempts::default();
        let mut renewed = false;
        loop {
            let authorization = self.tokens.lock().await.get(&endpoint.host).cloned();
            match self.attempt(endpoint, ask, authorization.as_ref()).await? {
                Answer::Good(response) => return Ok(response),
                Answer::Unauthorized(_, error) if renewed => return Err(error),
                Answer::Unauthorized(headers, error) => {
                    renewed = true;
                    self.authorize(endpoint, &headers, authorization.as_ref(), error).await?;
                }
                Answer::Again(error, asked) => {
                    attempts.pause(error, asked).await?;
                    // A token may have expired while we waited.
                    renewed = false;
                }
            }
        }
    }

    /// Obtains an authorization as the endpoint's challenge says, unless another request just did.
    async fn authorize(
        &self,
        endpoint: &Endpoint,
        headers: &HeaderMap,
        used: Option<&Authorization>,
        error: Error,
    ) -> Result<()> {
        let mut tokens = self.tokens.lock().await;
        if tokens.get(&endpoint.host) != used {
            return Ok(());
        }
        let challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenge = challenges.flat_map(super::challenge::parse).next().ok_or(error)?;
        let scope = format!("repository:{}:pull", self.repository);
        let authorization = super::auth::obtain(&self.http, endpoint, &challenge, &scope).await?;
        tokens.insert(endpoint.host.clone(), authorization);
        Ok(())
    }

    /// One attempt, redirects followed.
    async fn attempt(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
        who: Option<&Authorization>,
    ) -> Result<Answer> {
        let bad = |reason: String| Error::Registry { registry: endpoint.host.clone(), reason };
        let first = endpoint.url(&self.repository, ask.path);
        let first = Url::parse(&first).map_err(|error| bad(error.to_string()))?;
        let mut url = first.clone();
        for _ in 0..=REDIRECTS {
            let own = url.origin() == first.origin();
            let mut request = self.http.client(&url)?.get(url.clone());
            if let Some(accept) = ask.accept {
                request = request.header(ACCEPT, accept);
            }
            if ask.from > 0 {
                request = request.header(RANGE, format!("bytes={}-", ask.from));
            }
            // Whoever a registry sends us to learns nothing of who we are.
            if let Some(who) = who.filter(|_| own) {
                request = request.header(AUTHORIZATION, who.header()?);
            }
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) if tls::hint(&error).is_some() => return Err(connection(endpoint, &error)),
                Err(error) => return Ok(Answer::Again(connection(endpoint, &error), None)),
            };
            if !response.status().is_redirection() {
                return self.judge(endpoint, ask, response, own).await;
            }
            let target = response.headers().get(LOCATION).and_then(|target| target.to_str().ok());
            let target = target.ok_or_else(|| bad("redirects to nowhere".into()))?;
            let next = url.join(target).map_err(|error| bad(format!("redirects to {target:?}: {error}")))?;
            url = self.admit(endpoint, &first, next)?;
        }
        Err(bad(format!("redirects more than {REDIRECTS} times")))
    }

    /// Whether a redirect may be followed.
    fn admit(&self, endpoint: &Endpoint, first: &Url, next: Url) -> Result<Url> {
        let authority = next.host_str().unwrap_or_default();
        // Also not to loopback: what listens there is none of a registry's business.
        let plain = next.scheme() == "http" && first.scheme() == "http";
        if next.scheme() == "https" || plain {
            return Ok(next);
        }
        let reason = format!("redirects to {}://{authority}, which is not encrypted", next.scheme());
        Err(Error::Registry { registry: endpoint.host.clone(), reason })
    }

    async fn judge(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
        response: Response,
        own: bool,
    ) -> Result<Answer> {
        let status = response.status();
        if status.is_success() {
            return Ok(Answer::Good(response));
        }
        let registry = endpoint.host.clone();
        let headers = response.headers().clone();
        let words = words(response).await;
        let reason =
            if words.is_empty() { format!("answers {status}") } else { format!("answers {status}: {words}") };
        let what = thing(&self.repository, ask.path);
        match status {
            StatusCode::UNAUTHORIZED if own => {
                Ok(Answer::Unauthorized(headers, Error::Denied { registry, what, reason }))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::Denied { registry, what, reason }),
            StatusCode::NOT_FOUND => Err(Error::NotFound { registry, what }),
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let reason = format!("has no more than {} bytes of {what}, which should be longer", ask.from);
                Err(Error::Registry { registry, reason })
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Ok(Answer::Again(Error::Registry { registry, reason }, retry_after(&headers)))
            }
            status if status.is_server_error() => {
                Ok(Answer::Again(Error::Registry { registry, reason }, retry_after(&headers)))
            }
            _ => {
                Err(Error::Registry { registry, reason: format!("{reason} when asked for the {}", ask.what) })
            }
        }
    }
}

/// What a path within a repository stands for, as users write it.
fn thing(repository: &str, path: &str) -> String {
    match path.split_once('/') {
        Some(("manifests", digest)) if digest.contains(':') => format!("image {repository}@{digest}"),
        Some(("manifests", tag)) => format!("image {repository}:{tag}"),
        Some(("blobs", digest)) => format!("blob {digest} of {repository}"),
        _ => format!("{repository} {path}"),
    }
}

impl Authorization {
    /// The value of the header, kept out of logs.
    fn header(&self) -> Result<HeaderValue> {
        let bad =
            |_| Error::Credentials { registry: String::new(), reason: "they hold control characters".into() };
        let mut value = HeaderValue::from_str(&self.value()).map_err(bad)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// How long the registry asks to wait; dates are not worth a parser.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What an error's body says, shortened to what can be shown.
pub(super) async fn words(mut response: Response) -> String {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<Message>,
    }
    #[derive(serde::Deserialize)]
    struct Message {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let mut raw = Vec::new();
    while raw.len() < ERROR_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => raw.extend_from_slice(&chunk),
            _ => break,
        }
    }
    let Ok(Errors { errors }) = serde_json::from_slice(&raw) else { return String::new() };
    let text =
        errors.into_iter().map(|error| format!("{} {}", error.code, error.message)).collect::<Vec<_>>();
    text.join("; ").chars().filter(|character| !character.is_control()).take(300).collect()
}

/// A failure of the connection itself.
pub(super) fn connection(endpoint: &Endpoint, error: &reqwest::Error) -> Error {
    let reason = match tls::hint(error) {
        Some(hint) => format!("{} ({hint})", causes(error)),
        None => causes(error),
    };
    Error::Connection { registry: endpoint.host.clone(), reason }
}

/// An error with all that caused it, but without addresses: those of blobs carry signatures.
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut texts = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    if error.is_timeout() {
        texts.push("timed out".into());
    }
    if texts.is_empty() { "the request failed".into() } else { texts.join(": ") }
}
