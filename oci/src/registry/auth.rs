//! Who we are to a registry (Docker Registry v2 "Token Authentication", and its OAuth2 form).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde::Deserialize;

use super::challenge::Challenge;
use super::credentials::{Credentials, lookup};
use super::endpoint::Endpoint;
use super::send::{Http, causes, connection, words};
use crate::error::{Error, Result};

/// Largest token answer in bytes.
const TOKEN_BYTES: usize = 1 << 20;

/// What goes into the `Authorization` header.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Authorization {
    Basic { user: String, password: String },
    Bearer(String),
}

impl Authorization {
    pub(super) fn value(&self) -> String {
        match self {
            Self::Basic { user, password } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
            }
            Self::Bearer(token) => format!("Bearer {token}"),
        }
    }
}

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authorization")
    }
}

/// Obtains an authorization that answers a challenge.
pub(super) async fn obtain(
    http: &Http,
    endpoint: &Endpoint,
    challenge: &Challenge,
    scope: &str,
) -> Result<Authorization> {
    let credentials = lookup(&endpoint.registry).await?;
    match challenge {
        Challenge::Basic => match credentials {
            Some(Credentials::Password { user, password }) => Ok(Authorization::Basic { user, password }),
            _ => Err(Error::Denied {
                registry: endpoint.host.clone(),
                what: scope.to_owned(),
                reason: "it wants a user and a password".into(),
            }),
        },
        Challenge::Bearer { realm, service, scope: wanted } => {
            let scope = wanted.as_deref().unwrap_or(scope);
            token(http, endpoint, realm, service.as_deref(), scope, credentials)
                .await
                .map(Authorization::Bearer)
        }
    }
}

async fn token(
    http: &Http,
    endpoint: &Endpoint,
    realm: &str,
    service: Option<&str>,
    scope: &str,
    credentials: Option<Credentials>,
) -> Result<String> {
    let bad = |reason: String| Error::Registry { registry: endpoint.host.clone(), reason };
    let mut url = Url::parse(realm).map_err(|error| bad(format!("names {realm:?} for tokens: {error}")))?;
    let plain = url.scheme() == "http" && endpoint.scheme == "http";
    if url.scheme() != "https" && !plain {
        return Err(bad(format!("names {realm:?} for tokens, which is not encrypted")));
    }
    let client = http.client(&url)?;
    let request = match credentials {
        Some(Credentials::IdentityToken(token)) => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", &token);
            form.append_pair("client_id", "monocore").append_pair("scope", scope);
            form.extend_pairs(service.map(|service| ("service", service)));
            client.post(url).header("content-type", "application/x-www-form-urlencoded").body(form.finish())
        }
        credentials => {
            url.query_pairs_mut()
                .extend_pairs(service.map(|service| ("service", service)))
                .append_pair("scope", scope);
            let request = client.get(url);
            match credentials {
                Some(Credentials::Password { user, password }) => request.basic_auth(user, Some(password)),
                _ => request,
            }
        }
    };
    let mut response = request.send().await.map_err(|error| connection(endpoint, &error))?;
    let status = response.status();
    if !status.is_success() {
        let reason = format!("no token: {status} {}", words(response).await);
        return Err(Error::Denied { registry: endpoint.host.clone(), what: scope.to_owned(), reason });
    }
    let mut raw = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| bad(causes(&error)))? {
        raw.extend_from_slice(&chunk);
        if raw.len() > TOKEN_BYTES {
            return Err(bad("sends a token without end".into()));
        }
    }
    parse_token(&raw).ok_or_else(|| bad("sends no token where one was promised".into()))
}

pub(super) fn parse_token(raw: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(raw).ok()?;
    answer.token.filter(|token| !token.is_empty()).or(answer.access_token).filter(|token| !token.is_empty())
}
