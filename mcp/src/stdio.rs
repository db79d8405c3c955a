//! The protocol over standard input and output, for one client that started this process.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::model::{ClientNotification, JsonRpcMessage, RequestId};
use rmcp::service::{RxJsonRpcMessage, ServerInitializeError, TxJsonRpcMessage};
use rmcp::transport::Transport;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::io::stdio_pipes;
use rmcp::{RoleServer, ServiceExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::context::{Context, WAITING, WORKING};
use crate::handler::McpHandler;
use crate::{Error, McpHost, Policy};

/// The longest message, bytes: content for a file in base64 and what is around it.
pub(crate) const MAX_MESSAGE: usize = 1 << 20;
/// Requests that are not answered yet; the next one is read when an answer has been taken.
const UNANSWERED: usize = WORKING + WAITING + 96;
/// How long work may go on after the client has gone.
const ENDING_TIME: Duration = Duration::from_secs(20);
/// Threads for the protocol. The work itself is done on others.
const THREADS: usize = 2;

/// Serves the client at standard input and output until it goes away or a signal ends this process.
///
/// # Errors
/// The client does not speak the protocol, or the server cannot be started.
pub fn serve_stdio(host: McpHost, policy: Policy) -> Result<(), Error> {
    host.launcher.home.create()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .max_blocking_threads(4 * (WORKING + WAITING))
        .thread_keep_alive(Duration::from_secs(10))
        .build()
        .map_err(Error::Runtime)?;
    let served = runtime.block_on(serve(host, policy));
    // A read of standard input may never return.
    runtime.shutdown_background();
    served
}

async fn serve(host: McpHost, policy: Policy) -> Result<(), Error> {
    let mut interrupted = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
    let stop = async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    };
    let (reads, writes) = stdio_pipes();
    serve_streams(host, policy, reads, writes, stop).await
}

/// Serves the client at these streams until it goes away or `stop` completes.
///
/// # Errors
/// The client does not speak the protocol.
#[doc(hidden)]
pub async fn serve_streams(
    host: McpHost,
    policy: Policy,
    reads: impl AsyncRead + Send + Unpin + 'static,
    writes: impl AsyncWrite + Send + Unpin + 'static,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let (context, mut all_gone) = Context::new(host, policy);
    let mut stop = std::pin::pin!(stop);
    let lines = AsyncRwTransport::new(reads, writes).with_max_line_length(MAX_MESSAGE);
    let starting = McpHandler::new(context.clone()).serve(Bounded::new(lines));
    let served = tokio::select! {
        started = starting => match started {
            Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
            Err(error) => Err(Error::Handshake(error.to_string())),
            Ok(running) => {
                let end = running.cancellation_token();
                tokio::select! {
                    _ = running.waiting() => {}
                    () = &mut stop => end.cancel(),
                }
                Ok(())
            }
        },
        () = &mut stop => Ok(()),
    };
    context.end();
    tokio::select! {
        _ = all_gone.recv() => {}
        () = tokio::time::sleep(ENDING_TIME) => tracing::warn!("work did not end in time"),
    }
    served
}

/// A transport that reads no further while too many requests are unanswered. A client that does not read
/// its answers then waits itself.
struct Bounded<T> {
    inner: T,
    room: Arc<Semaphore>,
    unanswered: Arc<Mutex<HashMap<RequestId, OwnedSemaphorePermit>>>,
}

impl<T> Bounded<T> {
    fn new(inner: T) -> Self {
        Self { inner, room: Arc::new(Semaphore::new(UNANSWERED)), unanswered: Arc::default() }
    }
}

impl<T: Transport<RoleServer>> Transport<RoleServer> for Bounded<T> {
    type Error = T::Error;

    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let answered = match &item {
            JsonRpcMessage::Response(response) => Some(response.id.clone()),
            JsonRpcMessage::Error(error) => error.id.clone(),
            _ => None,
        };
        let unanswered = Arc::clone(&self.unanswered);
        let sending = self.inner.send(item);
        async move {
            let sent = sending.await;
            if let Some(id) = answered {
                unanswered.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            }
            sent
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        // Held before anything is read, so that nothing is lost when this future is dropped.
        let permit = self.room.clone().acquire_owned().await.ok()?;
        let message = self.inner.receive().await?;
        let mut unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        match &message {
            JsonRpcMessage::Request(request) => {
                unanswered.insert(request.id.clone(), permit);
            }
            // A cancelled request is not answered.
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) = &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    unanswered.remove(id);
                }
            }
            _ => {}
        }
        drop(unanswered);
        Some(message)
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.inner.close()
    }
}
