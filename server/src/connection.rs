//! Connections: how many, and how long each may take to say what it wants.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tower::Service;

use crate::access::Peer;
use crate::listen::{Accepted, Listener};

/// The most connections at a time for each listener.
const MAX_CONNECTIONS: u64 = 2048;
/// Descriptors for each connection: itself, and what its request may open.
const DESCRIPTORS: u64 = 4;
/// From the first byte to the end of a request's head, and the longest a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// The largest head of a request, bytes.
const MAX_HEAD: usize = 32 << 10;
/// The longest a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long to wait when no descriptor is left.
const BREATH: Duration = Duration::from_millis(100);

/// What a connection knows of the server's life.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// True once the server is about to end.
    pub(crate) ending: watch::Receiver<bool>,
    /// Connections at a time for each listener; more wait in the kernel.
    pub(crate) connections: usize,
    /// Held by every connection.
    pub(crate) alive: mpsc::Sender<()>,
}

/// How many connections each listener may have by the limit on descriptors, which is raised as far as it may be.
pub(crate) fn allowed() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(MAX_CONNECTIONS * DESCRIPTORS);
    let current = limit.current.unwrap_or(u64::MAX);
    let raised = Rlimit { current: Some(wanted), ..limit };
    let has = match current < wanted && setrlimit(Resource::Nofile, raised).is_ok() {
        true => wanted,
        false => current,
    };
    usize::try_from((has / DESCRIPTORS).clamp(1, MAX_CONNECTIONS)).unwrap_or(1)
}

impl Life {
    async fn ended(&self) {
        let mut ending = self.ending.clone();
        // The sender lives as long as the server.
        let _ = ending.wait_for(|ending| *ending).await;
    }
}

/// Accepts connections until the task is dropped.
pub(crate) async fn serve(listener: Listener, router: Router, tls: Option<TlsAcceptor>, life: Life) {
    let room = Arc::new(Semaphore::new(life.connections));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let accepted = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                // No descriptor or memory is left. Accepting at once would fail again until others end.
                tracing::warn!(%error, "a connection is not accepted");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let (router, tls, life) = (router.clone(), tls.clone(), life.clone());
        tokio::spawn(async move {
            let _permit = permit;
            match accepted {
                Accepted::Unix(stream) => http(stream, Peer::Unix, router, life).await,
                Accepted::Tcp(stream, peer) => match tls {
                    None => http(stream, peer, router, life).await,
                    Some(tls) => {
                        let greeted = tokio::time::timeout(HANDSHAKE_TIME, tls.accept(stream)).await;
                        if let Ok(Ok(stream)) = greeted {
                            http(stream, peer, router, life).await;
                        }
                    }
                },
            }
        });
    }
}

/// Serves one connection to its end.
async fn http<S>(stream: S, peer: Peer, router: Router, life: Life)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let answer = router.clone().call(request.map(Body::new));
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = life.ended() => {
            // The request that is being answered is answered to its end.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, %peer, "a connection ended");
    }
    drop(life.alive);
}
