//! Files of a sandbox as tar streams, whether it runs or not.

use std::io;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use monocore_api::{ErrorBody, ErrorCode, FilesQuery};
use monocore_orchestrator::copy::{Copied, Copier, Source};
use monocore_orchestrator::registry;
use monocore_orchestrator::session::Signals;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use super::Name;
use crate::access::{Access, Scope};
use crate::api_server::ApiServer;
use crate::body::Query;
use crate::error::ApiError;
use crate::{guard, work};

/// Bytes on their way at a time.
const CHUNK: usize = 64 << 10;
/// How long a client may be silent while it sends.
const SILENCE: Duration = Duration::from_secs(60);

type Copying = JoinHandle<Result<Copied, ApiError>>;

/// Sends a file or directory of a sandbox as a tar archive. Needs the scope run.
#[utoipa::path(
    get, path = "/v1/sandboxes/{name}/files", tag = "sandboxes", params(("name" = String, Path), FilesQuery),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/x-tar"),
        (status = "default", body = ErrorBody)
    )
)]
pub(super) async fn download(
    State(context): State<ApiServer>,
    Extension(Access(scope)): Extension<Access>,
    Name(name): Name,
    Query(query): Query<FilesQuery>,
) -> Result<Response, ApiError> {
    guard::require(scope, Scope::Run)?;
    let (reads, writes) = pipe_with(PipeFlags::CLOEXEC).map_err(ApiError::internal)?;
    let mut reads = pipe::Receiver::from_owned_fd(reads).map_err(ApiError::internal)?;
    let copying = copy(&context, name, query, move |copier, query| {
        copier.archive_out(&Source::new(query.path.as_bytes(), query.follow), writes)
    })?;
    // An error before the first byte is still told by a status.
    let first = chunk(&mut reads).await.map_err(ApiError::internal)?;
    let Some(first) = first else {
        finished(copying).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let rest = stream::unfold(Some((reads, copying)), |state| async move {
        let (mut reads, copying) = state?;
        match chunk(&mut reads).await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some((reads, copying)))),
            Ok(None) => {
                // An archive that was cut short must not look whole.
                let error = finished(copying).await.err()?;
                Some((Err(io::Error::other(error.message)), None))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    let body = Body::from_stream(stream::once(async move { Ok(first) }).chain(rest));
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"))], body).into_response())
}

/// Unpacks a tar archive into a directory of a sandbox.
#[utoipa::path(
    put, path = "/v1/sandboxes/{name}/files", tag = "sandboxes", params(("name" = String, Path), FilesQuery),
    request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses((status = 204), (status = "default", body = ErrorBody))
)]
pub(super) async fn upload(
    State(context): State<ApiServer>,
    Name(name): Name,
    Query(query): Query<FilesQuery>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let (reads, writes) = pipe_with(PipeFlags::CLOEXEC).map_err(ApiError::internal)?;
    let mut writes = pipe::Sender::from_owned_fd(writes).map_err(ApiError::internal)?;
    let copying =
        copy(&context, name, query, move |copier, query| copier.archive_in(reads, query.path.as_bytes()))?;
    let mut body = body.into_data_stream();
    loop {
        match tokio::time::timeout(SILENCE, body.next()).await {
            Ok(None) => break,
            Ok(Some(Ok(bytes))) => {
                // The sandbox's side has ended: its error is the one to tell.
                if writes.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            Ok(Some(Err(error))) => {
                return Err(ApiError::new(
                    ErrorCode::BadRequest,
                    format!("the body cannot be read: {error}"),
                ));
            }
            Err(_) => {
                return Err(ApiError::new(ErrorCode::RequestTimeout, "the body did not arrive in time"));
            }
        }
    }
    drop(writes);
    finished(copying).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Starts a copy on a thread of its own.
fn copy(
    context: &ApiServer,
    name: String,
    query: FilesQuery,
    what: impl FnOnce(&Copier<'_>, &FilesQuery) -> Result<Copied, monocore_orchestrator::Error> + Send + 'static,
) -> Result<Copying, ApiError> {
    if !query.path.starts_with('/') || query.path.contains('\0') {
        return Err(ApiError::value("path", "give an absolute path"));
    }
    let permit = work::long_permit(context)?;
    let context = context.clone();
    Ok(tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let signals = Signals::none()?;
        let entry = registry::find(&context.home, &name)?;
        let copier =
            Copier { launcher: &context.launcher, entry: &entry, signals: &signals, owners: query.owners };
        Ok(what(&copier, &query)?)
    }))
}

async fn finished(copying: Copying) -> Result<Copied, ApiError> {
    copying.await.map_err(|error| ApiError::internal(format!("a worker failed: {error}")))?
}

/// Some bytes; nothing at the end.
async fn chunk(reads: &mut pipe::Receiver) -> io::Result<Option<Bytes>> {
    let mut bytes = vec![0; CHUNK];
    let count = reads.read(&mut bytes).await?;
    bytes.truncate(count);
    Ok((count > 0).then(|| bytes.into()))
}
