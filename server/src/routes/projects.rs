//! Projects: `/up`, `/down`, `/status` and `/remove`.

use axum::extract::State;
use monocore_api::{
    DownRequest, ErrorBody, ErrorCode, ProjectConfig, ProjectQuery, ProjectSteps, RemoveRequest, StatusReport,
};

use crate::body::{Json, Query};
use crate::context::Context;
use crate::error::ApiError;

/// Brings a project up.
#[utoipa::path(
    post, path = "/up", tag = "projects", request_body = ProjectConfig,
    responses((status = 200, body = ProjectSteps), (status = "default", body = ErrorBody))
)]
pub(super) async fn up(
    State(_): State<Context>,
    Json(_): Json<ProjectConfig>,
) -> Result<Json<ProjectSteps>, ApiError> {
    Err(ApiError::new(ErrorCode::NotFound, "later"))
}

/// Takes a project down.
#[utoipa::path(
    post, path = "/down", tag = "projects", request_body = DownRequest,
    responses((status = 200, body = ProjectSteps), (status = "default", body = ErrorBody))
)]
pub(super) async fn down(
    State(_): State<Context>,
    Json(_): Json<DownRequest>,
) -> Result<Json<ProjectSteps>, ApiError> {
    Err(ApiError::new(ErrorCode::NotFound, "later"))
}

/// Status.
#[utoipa::path(
    get, path = "/status", tag = "projects", params(ProjectQuery),
    responses((status = 200, body = StatusReport), (status = "default", body = ErrorBody))
)]
pub(super) async fn status(
    State(_): State<Context>,
    Query(_): Query<ProjectQuery>,
) -> Result<Json<StatusReport>, ApiError> {
    Err(ApiError::new(ErrorCode::NotFound, "later"))
}

/// Removes.
#[utoipa::path(
    post, path = "/remove", tag = "projects", request_body = RemoveRequest,
    responses((status = 200, body = ProjectSteps), (status = "default", body = ErrorBody))
)]
pub(super) async fn remove(
    State(_): State<Context>,
    Json(_): Json<RemoveRequest>,
) -> Result<Json<ProjectSteps>, ApiError> {
    Err(ApiError::new(ErrorCode::NotFound, "later"))
}
