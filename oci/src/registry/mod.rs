//! A client of registries (OCI distribution spec 1.1; Docker Registry HTTP API v2): pulling only.
//!
//! On reqwest directly, because what matters here is what a higher client hides: redirects followed one by one so
//! that credentials stay with their host, downloads taken up again where they broke, mirrors, sizes bounded while
//! they are read.

mod auth;
mod blob;
mod certificates;
mod challenge;
mod credentials;
mod download;
mod endpoint;
mod retry;
mod send;
mod tls;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::OnceLock;

use futures::StreamExt;
use tokio::sync::Mutex;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::hash::digest_of;
use crate::manifest::{ACCEPT, DOCUMENT_BYTES, Descriptor};
use crate::reference::Reference;

pub use download::download;
use endpoint::Endpoint;
use send::{Ask, Http};

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub struct RegistryOptions {
    /// Registries (`host` or `host:port`) that are spoken to without TLS. Those on loopback are too, unless there are
    /// certificates for them.
    pub plain_http: Vec<String>,
    /// Folders with certificates, each in a folder named like its registry, looked through before
    /// `~/.config/{containers,docker}/certs.d` and `/etc/{containers,docker}/certs.d`.
    pub certificates: Vec<PathBuf>,
    /// Mirrors by registry: each `host[:port]`, or with `http://` or `https://` before it; tried in order, then the
    /// registry itself.
    pub mirrors: BTreeMap<String, Vec<String>>,
}

/// A client for the registry of one reference.
#[derive(Debug)]
pub(crate) struct Client {
    http: Http,
    repository: String,
    /// Mirrors, then the registry itself.
    endpoints: Vec<Endpoint>,
    /// Authorization that an endpoint accepted, by its host.
    tokens: Mutex<HashMap<String, auth::Authorization>>,
    /// Tells the endpoint that had the manifest, so that layers are asked of it first.
    preferred: OnceLock<usize>,
}

impl Client {
    pub(crate) fn new(reference: &Reference, options: &RegistryOptions) -> Self {
        Self {
            http: Http::new(options.certificates.clone()),
            repository: reference.repository().to_owned(),
            endpoints: endpoint::endpoints(reference.registry(), options),
            tokens: Mutex::default(),
            preferred: OnceLock::new(),
        }
    }

    /// The manifest or index that the registry has under a tag or digest, verified against the digest if one is
    /// given, and its digest.
    pub(crate) async fn manifest(&self, tag: &str, digest: Option<&Digest>) -> Result<(Vec<u8>, Digest)> {
        let name = digest.map_or_else(|| tag.to_owned(), Digest::to_string);
        let mut last = None;
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let path = format!("manifests/{name}");
            let ask = Ask { path: &path, what: "manifest", accept: Some(ACCEPT), from: 0 };
            let raw = match self.document(endpoint, &ask).await {
                Ok(raw) => raw,
                Err(error) => {
                    last = self.worse(endpoint, last, error);
                    continue;
                }
            };
            let found = digest_of(&raw);
            match digest {
                Some(expected) if found != *expected => {
                    let reason = format!("{} sent {found}", endpoint.host);
                    last = Some(Error::Verification { what: "manifest", expected: *expected, reason });
                }
                _ => {
                    // The first to answer stays the preferred one.
                    let _ = self.preferred.set(index);
                    return Ok((raw, found));
                }
            }
        }
        Err(last.unwrap_or_else(no_endpoint))
    }

    /// A blob small enough to be held in memory; not yet verified.
    pub(crate) async fn small_blob(&self, blob: &Descriptor) -> Result<Vec<u8>> {
        let path = format!("blobs/{}", blob.digest);
        let mut last = None;
        for endpoint in self.in_order() {
            match self.document(endpoint, &Ask { path: &path, what: "blob", accept: None, from: 0 }).await {
                Ok(raw) => return Ok(raw),
                Err(error) => last = self.worse(endpoint, last, error),
            }
        }
        Err(last.unwrap_or_else(no_endpoint))
    }

    /// Endpoints, the one that had the manifest first.
    fn in_order(&self) -> impl Iterator<Item = &Endpoint> {
        let preferred = self.preferred.get().copied().unwrap_or(0);
        let (before, from) = self.endpoints.split_at(preferred.min(self.endpoints.len()));
        from.iter().chain(before)
    }

    /// The error to report after another endpoint failed: the registry's own rather than a mirror's.
    fn worse(&self, endpoint: &Endpoint, last: Option<Error>, error: Error) -> Option<Error> {
        if self.endpoints.len() > 1 {
            tracing::warn!(registry = %endpoint.host, %error, "endpoint failed");
        }
        if endpoint.is_mirror { last.or(Some(error)) } else { Some(error) }
    }

    /// Reads a bounded body, again if it breaks off.
    async fn document(&self, endpoint: &Endpoint, ask: &Ask<'_>) -> Result<Vec<u8>> {
        let mut attempts = retry::Attempts::default();
        loop {
            let response = self.send(endpoint, ask).await?;
            match self.body(endpoint, response).await {
                Err(error @ Error::Connection { .. }) => attempts.pause(error, None).await?,
                result => return result,
            }
        }
    }

    async fn body(&self, endpoint: &Endpoint, response: reqwest::Response) -> Result<Vec<u8>> {
        let mut raw = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            raw.extend_from_slice(&chunk.map_err(|error| send::connection(endpoint, &error))?);
            if raw.len() as u64 > DOCUMENT_BYTES {
                let reason = format!("sent a document of more than {DOCUMENT_BYTES} bytes");
                return Err(Error::Registry { registry: endpoint.host.clone(), reason });
            }
        }
        Ok(raw)
    }
}

/// What fuzz targets reach of this module.
#[cfg(feature = "fuzzing")]
mod fuzzing {
    use super::{auth, challenge, credentials};

    pub(crate) fn challenges(header: &str) -> usize {
        challenge::parse(header).len()
    }

    pub(crate) fn has_credentials(raw: &[u8], registry: &str) -> bool {
        credentials::Config::parse(raw).is_ok_and(|config| matches!(config.entry(registry), Ok(Some(_))))
    }

    pub(crate) fn token(raw: &[u8]) -> Option<String> {
        auth::parse_token(raw)
    }
}
#[cfg(feature = "fuzzing")]
pub(crate) use fuzzing::{challenges, has_credentials, token};

fn no_endpoint() -> Error {
    Error::Connection { registry: "none".into(), reason: "no endpoint to ask".into() }
}
