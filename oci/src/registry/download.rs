//! A file from a web server, by its address.

use std::io::Write;

use reqwest::header::LOCATION;
use reqwest::{Response, Url};

use super::endpoint::is_loopback;
use super::send::{Http, REDIRECTS, causes};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::hash::Hasher;

/// Writes the file at `url` to `out` as it arrives; its digest. Without TLS only this machine itself is asked.
///
/// # Errors
/// The address is not possible, the server does not have the file, it is longer than `max_bytes`, or it cannot be written.
pub async fn download(url: &str, max_bytes: u64, out: &mut (dyn Write + Send)) -> Result<Digest> {
    let mut url = Url::parse(url).map_err(|error| problem(url, format!("not an address: {error}")))?;
    let http = Http::new(Vec::new());
    for _ in 0..REDIRECTS {
        let is_local = is_loopback(url.host_str().unwrap_or_default());
        if !(url.scheme() == "https" || url.scheme() == "http" && is_local) {
            return Err(problem(url.as_str(), "only https is taken, and http from this machine".into()));
        }
        let answer = http.client(&url)?.get(url.clone()).send().await;
        let answer = answer.map_err(|error| problem(url.as_str(), causes(&error)))?;
        if !answer.status().is_redirection() {
            return take(url.as_str(), answer, max_bytes, out).await;
        }
        let to = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let to = to.and_then(|to| url.join(to).ok());
        let to = to.ok_or_else(|| problem(url.as_str(), "a redirect leads nowhere".into()))?;
        if url.scheme() == "https" && to.scheme() != "https" {
            return Err(problem(url.as_str(), "a redirect leads from TLS to plain text".into()));
        }
        url = to;
    }
    Err(problem(url.as_str(), "too many redirects".into()))
}

async fn take(
    url: &str,
    mut answer: Response,
    max_bytes: u64,
    out: &mut (dyn Write + Send),
) -> Result<Digest> {
    if !answer.status().is_success() {
        return Err(problem(url, format!("the server says {}", answer.status())));
    }
    let (mut hash, mut bytes) = (Hasher::default(), 0u64);
    while let Some(part) = answer.chunk().await.map_err(|error| problem(url, causes(&error)))? {
        bytes += part.len() as u64;
        if bytes > max_bytes {
            return Err(problem(url, format!("the file is longer than {max_bytes} bytes")));
        }
        hash.update(&part);
        out.write_all(&part).map_err(|error| problem(url, format!("writing the file: {error}")))?;
    }
    Ok(hash.finish())
}

fn problem(url: &str, reason: String) -> Error {
    Error::Download { url: url.to_owned(), reason }
}
