//! The named volumes.

use axum::extract::State;
use axum::http::StatusCode;
use monocore_api::{CreateVolume, ErrorBody, VolumeInfo, VolumeList};
use monocore_orchestrator::{spec, volume};

use super::Name;
use crate::api_server::ApiServer;
use crate::body::Json;
use crate::convert;
use crate::error::ApiError;
use crate::work;

/// Lists the volumes, by name.
#[utoipa::path(
    get, path = "/v1/volumes", tag = "volumes",
    responses((status = 200, body = VolumeList), (status = "default", body = ErrorBody))
)]
pub(super) async fn list(State(context): State<ApiServer>) -> Result<Json<VolumeList>, ApiError> {
    let volumes =
        work::short(&context, |context| Ok(volume::list(&context.home)?.into_iter().map(info).collect()));
    volumes.await.map(|volumes| Json(VolumeList { volumes }))
}

/// Makes a volume; one that is there already stays as it is.
#[utoipa::path(
    post, path = "/v1/volumes", tag = "volumes", request_body = CreateVolume,
    responses((status = 201, body = VolumeInfo), (status = "default", body = ErrorBody))
)]
pub(super) async fn create(
    State(context): State<ApiServer>,
    Json(wanted): Json<CreateVolume>,
) -> Result<(StatusCode, Json<VolumeInfo>), ApiError> {
    let name = convert::one("name", wanted.name.as_deref(), spec::parse_name)?;
    let made = work::short(&context, move |context| {
        let name = volume::create(&context.home, name.as_deref(), wanted.labels)?;
        Ok(info(volume::find(&context.home, &name)?))
    });
    made.await.map(|made| (StatusCode::CREATED, Json(made)))
}

/// Shows a volume.
#[utoipa::path(
    get, path = "/v1/volumes/{name}", tag = "volumes", params(("name" = String, Path)),
    responses((status = 200, body = VolumeInfo), (status = "default", body = ErrorBody))
)]
pub(super) async fn inspect(
    State(context): State<ApiServer>,
    Name(name): Name,
) -> Result<Json<VolumeInfo>, ApiError> {
    work::short(&context, move |context| Ok(info(volume::find(&context.home, &name)?))).await.map(Json)
}

/// Removes a volume that no sandbox uses, with its content.
#[utoipa::path(
    delete, path = "/v1/volumes/{name}", tag = "volumes", params(("name" = String, Path)),
    responses((status = 204), (status = "default", body = ErrorBody))
)]
pub(super) async fn remove(
    State(context): State<ApiServer>,
    Name(name): Name,
) -> Result<StatusCode, ApiError> {
    let removed = work::short(&context, move |context| Ok(volume::remove_unused(&context.home, &name)?));
    removed.await.map(|_| StatusCode::NO_CONTENT)
}

fn info(volume: volume::Volume) -> VolumeInfo {
    VolumeInfo {
        name: volume.name,
        labels: volume.labels,
        created_ms: volume.created_ms,
        used_by: volume.users,
    }
}
