//! Bodies: JSON in and out, read within bounds of size and time.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderValue, header, request::Parts};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use monocore_api::ErrorCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// The largest body read, bytes. Longer input of a command goes through a WebSocket.
pub(crate) const MAX_BODY: usize = 2 << 20;
/// How long a client may take to send a body.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A value as JSON. As an argument an empty body is the type's default, if it has one: an empty
/// object.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(text) => {
                let kind = HeaderValue::from_static("application/json");
                ([(header::CONTENT_TYPE, kind)], text).into_response()
            }
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written");
                axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let body = read(request.into_body()).await?;
        let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
        serde_json::from_slice(text)
            .map(Self)
            .map_err(|error| ApiError::new(ErrorCode::InvalidJson, format!("the body: {error}")))
    }
}

async fn read(body: Body) -> Result<Vec<u8>, ApiError> {
    let late = || ApiError::new(ErrorCode::RequestTimeout, "the body did not arrive in time");
    let whole = tokio::time::timeout(BODY_TIME, Limited::new(body, MAX_BODY).collect());
    match whole.await.map_err(|_| late())? {
        Ok(collected) => Ok(collected.to_bytes().to_vec()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ApiError::new(ErrorCode::BodyTooLarge, format!("the body is larger than {MAX_BODY} bytes")))
        }
        Err(error) => Err(ApiError::new(ErrorCode::BadRequest, format!("the body cannot be read: {error}"))),
    }
}

/// The query of a request's address.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|query| Self(query.0)).map_err(|error| {
            ApiError::new(ErrorCode::BadRequest, format!("the query: {}", error.body_text()))
        })
    }
}
