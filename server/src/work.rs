//! Blocking work away from the threads that serve connections, and bounded.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use monocore_api::ErrorCode;
use monocore_orchestrator::ControlHandle;
use tokio::sync::OwnedSemaphorePermit;

use crate::api_server::ApiServer;
use crate::error::ApiError;

/// Does something short; waits for its turn.
pub(crate) async fn short<T: Send + 'static>(
    context: &ApiServer,
    work: impl FnOnce(&ApiServer) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let permit = context.short.clone().acquire_owned().await.map_err(ApiError::internal)?;
    run(context, permit, work).await
}

/// Does something that may take any time; refused when there is much of it already.
pub(crate) async fn long<T: Send + 'static>(
    context: &ApiServer,
    work: impl FnOnce(&ApiServer) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let permit = long_permit(context)?;
    run(context, permit, work).await
}

/// The right to do something long.
pub(crate) fn long_permit(context: &ApiServer) -> Result<OwnedSemaphorePermit, ApiError> {
    context
        .long
        .clone()
        .try_acquire_owned()
        .map_err(|_| ApiError::new(ErrorCode::TooBusy, "too many commands and streams at a time"))
}

/// The permit is given back when the work has ended, also when nobody waits for it any more.
async fn run<T: Send + 'static>(
    context: &ApiServer,
    permit: OwnedSemaphorePermit,
    work: impl FnOnce(&ApiServer) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let context = context.clone();
    let done = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work(&context)
    });
    done.await.map_err(|error| ApiError::internal(format!("a worker failed: {error}")))?
}

/// Hangs up when its request is over, so that a client that went away leaves nothing.
#[derive(Debug)]
pub(crate) struct HangUp(pub(crate) ControlHandle);

impl Drop for HangUp {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

/// Two ends: while the first lives, whoever watches the second goes on.
pub(crate) fn interrupt() -> Result<(UnixStream, OwnedFd), ApiError> {
    let (held, watched) = UnixStream::pair().map_err(ApiError::internal)?;
    Ok((held, watched.into()))
}
