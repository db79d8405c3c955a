//! Leases: sandboxes that live as long as the request that made them.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use monocore_api::{CreateSandbox, ErrorBody, SandboxDetails};
use tokio::sync::mpsc;

use super::sandboxes;
use crate::access::Access;
use crate::api_server::ApiServer;
use crate::body::Json;
use crate::error::ApiError;
use crate::stream::Framing;
use crate::work;

/// Makes a sandbox as `POST /v1/sandboxes` does, and removes it when the request ends. The answer
/// is one value, the sandbox, and then stays open. The sandbox is removed when the client closes
/// the connection or goes away, also while the sandbox is being made. A server that is told to end
/// lets the sandbox go on, unless it was started with `--private`.
#[utoipa::path(
    post, path = "/v1/leases", tag = "sandboxes", request_body = CreateSandbox,
    responses(
        (status = 201, body = SandboxDetails, content_type = "application/x-ndjson"),
        (status = "default", body = ErrorBody)
    )
)]
pub(super) async fn lease(
    State(context): State<ApiServer>,
    Extension(Access(scope)): Extension<Access>,
    headers: HeaderMap,
    Json(wanted): Json<CreateSandbox>,
) -> Result<Response, ApiError> {
    let framing = Framing::wanted(&headers);
    let lease = Lease::new(&context);
    let tenancy = Arc::clone(&lease.tenancy);
    let made = work::long(&context, move |context| {
        let details = sandboxes::make(context, wanted, scope)?;
        tenancy.made(context, &details.sandbox.id);
        Ok(details)
    });
    let details = made.await?;
    let first = framing.put(&serde_json::to_vec(&details).map_err(ApiError::internal)?);
    let ended = Box::pin(async move { context.ended().await });
    // Nothing follows the first value; the stream owns the lease.
    let rest = stream::pending::<Result<Bytes, Infallible>>().take_until(ended);
    let held = stream::once(async move { Ok(first) }).chain(rest).map(move |bytes| {
        let _held = &lease;
        bytes
    });
    Ok((StatusCode::CREATED, [framing.content_type()], Body::from_stream(held)).into_response())
}

/// The request's side of a lease: its end is the end of the sandbox.
#[derive(Debug)]
struct Lease {
    context: ApiServer,
    tenancy: Arc<Tenancy>,
}

/// A sandbox under a lease.
#[derive(Debug)]
struct Tenancy {
    stage: Mutex<Stage>,
    /// While this exists, a server that ends waits.
    _alive: Option<mpsc::Sender<()>>,
}

#[derive(Debug)]
enum Stage {
    /// The sandbox is being made.
    Making,
    /// The sandbox has this ID.
    Made(String),
    /// The request has ended.
    Over,
}

impl Lease {
    fn new(context: &ApiServer) -> Self {
        let tenancy = Tenancy { stage: Mutex::new(Stage::Making), _alive: context.alive.upgrade() };
        Self { context: context.clone(), tenancy: Arc::new(tenancy) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut stage = self.tenancy.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *stage, Stage::Over);
        let Stage::Made(id) = before else { return };
        // A server that is told to end takes no sandbox along, unless its client has gone.
        if *self.context.ending.borrow() && !self.context.private {
            return;
        }
        let (context, tenancy) = (self.context.clone(), Arc::clone(&self.tenancy));
        // The runtime may be ending: a thread of its own. The tenancy lives until the sandbox is gone.
        let removing = std::thread::Builder::new().name("lease".to_owned()).spawn(move || {
            remove(&context, &id);
            drop(tenancy);
        });
        if let Err(error) = removing {
            tracing::error!(%error, "a leased sandbox is not removed: no thread");
        }
    }
}

impl Tenancy {
    /// The sandbox exists. Where the request is over already, it is removed.
    fn made(&self, context: &ApiServer, id: &str) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*stage, Stage::Making) {
            *stage = Stage::Made(id.to_owned());
            return;
        }
        drop(stage);
        remove(context, id);
    }
}

fn remove(context: &ApiServer, id: &str) {
    if let Err(error) = sandboxes::remove_one(&context.home, id, true) {
        tracing::error!(id, error = error.message, "a leased sandbox is not removed");
    }
}
