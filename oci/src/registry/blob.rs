//! Downloading a layer: resumed where the connection broke, handed to the thread that converts it.

use bytes::Bytes;
use futures::StreamExt;
use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;
use tokio::sync::{mpsc, oneshot};

use super::Client;
use super::endpoint::Endpoint;
use super::retry::Attempts;
use super::send::{Ask, connection};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::ChunkSource;

/// Pieces that may wait to be converted; each as large as the network gives them.
const WAITING: usize = 64;

/// What is sent to the converting thread: pieces, then `None`, or what went wrong.
type Message = Result<Option<Bytes>>;

/// A layer on its way, seen by the thread that takes it.
#[derive(Debug)]
pub(crate) struct Download {
    start: Option<oneshot::Sender<u64>>,
    pieces: mpsc::Receiver<Message>,
}

impl ChunkSource for Download {
    fn next(&mut self, offset: u64) -> Result<Option<Bytes>> {
        if let Some(start) = self.start.take() {
            // If nobody listens any more, the channel below says so.
            let _ = start.send(offset);
        }
        let cancelled =
            || Error::Connection { registry: "any".into(), reason: "the download was cancelled".into() };
        self.pieces.blocking_recv().unwrap_or_else(|| Err(cancelled()))
    }

    fn resumes(&self) -> bool {
        true
    }
}

impl Client {
    /// A layer's download and the work that feeds it, which begins when the first piece is asked for and ends early
    /// if none ever is.
    pub(crate) fn download(&self, digest: Digest, size: u64) -> (Download, impl Future<Output = ()>) {
        let (start, started) = oneshot::channel();
        let (sender, pieces) = mpsc::channel(WAITING);
        let feed = async move {
            let Ok(offset) = started.await else { return };
            let last = self.feed(digest, size, offset, &sender).await;
            // Whoever took the pieces may have given up.
            let _ = sender.send(last.map(|()| None)).await;
        };
        (Download { start: Some(start), pieces }, feed)
    }

    async fn feed(
        &self,
        digest: Digest,
        size: u64,
        mut offset: u64,
        sender: &mpsc::Sender<Message>,
    ) -> Result<()> {
        let mut last = None;
        for endpoint in self.in_order() {
            match self.feed_from(endpoint, digest, size, &mut offset, sender).await {
                Ok(()) => return Ok(()),
                Err(error) => last = self.worse(endpoint, last, error),
            }
        }
        Err(last.unwrap_or_else(super::no_endpoint))
    }

    /// Feeds from one endpoint until the layer is complete; breaks are mended as long as each attempt brings something.
    async fn feed_from(
        &self,
        endpoint: &Endpoint,
        digest: Digest,
        size: u64,
        offset: &mut u64,
        sender: &mpsc::Sender<Message>,
    ) -> Result<()> {
        let path = format!("blobs/{digest}");
        let mut attempts = Attempts::default();
        while *offset < size {
            let before = *offset;
            let error = match self.piecewise(endpoint, &path, offset, size, sender).await {
                Ok(true) => return Ok(()),
                Ok(false) => Error::Registry {
                    registry: endpoint.host.clone(),
                    reason: format!("ends layer {digest} after {offset} of {size} bytes"),
                },
                Err(error @ Error::Connection { .. }) => error,
                Err(error) => return Err(error),
            };
            if *offset > before {
                attempts.reset();
            }
            attempts.pause(error, None).await?;
        }
        Ok(())
    }

    /// One request's worth of pieces; returns whether the layer is complete or nobody wants it any more.
    async fn piecewise(
        &self,
        endpoint: &Endpoint,
        path: &str,
        offset: &mut u64,
        size: u64,
        sender: &mpsc::Sender<Message>,
    ) -> Result<bool> {
        let response = self.send(endpoint, &Ask { path, what: "layer", accept: None, from: *offset }).await?;
        // A server that knows no ranges sends it all again.
        let mut skip = if response.status() == StatusCode::PARTIAL_CONTENT { 0 } else { *offset };
        if skip == 0 && *offset > 0 && range_start(&response) != Some(*offset) {
            let reason = "sends another range than it was asked for".to_owned();
            return Err(Error::Registry { registry: endpoint.host.clone(), reason });
        }
        let mut stream = response.bytes_stream();
        while let Some(piece) = stream.next().await {
            let mut piece = piece.map_err(|error| connection(endpoint, &error))?;
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
            let _ = piece.split_to(skipped);
            skip -= skipped as u64;
            if piece.is_empty() {
                continue;
            }
            *offset += piece.len() as u64;
            // What is too long is sent on: the other side knows what to make of it.
            if sender.send(Ok(Some(piece))).await.is_err() || *offset > size {
                return Ok(true);
            }
        }
        Ok(*offset == size)
    }
}

/// First byte of a partial answer (`bytes 100-199/200`).
fn range_start(response: &reqwest::Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.trim().strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
