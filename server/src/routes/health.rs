//! The server and its machine.

use axum::extract::State;
use monocore_api::{ErrorBody, ErrorCode, HostReport, Readiness, VersionInfo};

use crate::api_server::ApiServer;
use crate::body::Json;
use crate::error::ApiError;
use crate::work;

/// Versions of the program and of the guest inside it.
#[utoipa::path(get, path = "/v1/version", tag = "server", responses((status = 200, body = VersionInfo)))]
pub(super) async fn version(State(context): State<ApiServer>) -> Json<VersionInfo> {
    Json(context.host.version.clone())
}

/// Whether this machine can run sandboxes, and why not.
#[utoipa::path(
    get, path = "/v1/info", tag = "server",
    responses((status = 200, body = HostReport), (status = "default", body = ErrorBody))
)]
pub(super) async fn info(State(context): State<ApiServer>) -> Result<Json<HostReport>, ApiError> {
    work::short(&context, |context| Ok((context.host.report)())).await.map(Json)
}

/// Answers while the server lives.
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, body = Readiness)))]
pub(super) async fn healthz() -> Json<Readiness> {
    Json(Readiness { status: "ok".to_owned() })
}

/// Answers whether requests can be served: the state directory can be read.
#[utoipa::path(
    get, path = "/readyz", tag = "server",
    responses((status = 200, body = Readiness), (status = 503, body = ErrorBody))
)]
pub(super) async fn readyz(State(context): State<ApiServer>) -> Result<Json<Readiness>, ApiError> {
    let looked = work::short(&context, |context| {
        std::fs::read_dir(context.home.root()).map(|_| ()).map_err(ApiError::internal)
    });
    match looked.await {
        Ok(()) => Ok(Json(Readiness { status: "ok".to_owned() })),
        Err(_) => Err(ApiError::new(ErrorCode::TooBusy, "the state directory cannot be read")),
    }
}
