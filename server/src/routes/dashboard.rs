//! The dashboard and the page of the API, which are files in the program.

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use monocore_api::ErrorCode;

use crate::error::ApiError;

/// No request leaves the origin, and nothing runs but the files below.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The terminal puts style elements into its page. Its scripts are as bound as all others.
const SHELL_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const INDEX: &str = include_str!("../dashboard/index.html");
const DOCS: &str = include_str!("../dashboard/docs.html");
const SHELL: &str = include_str!("../dashboard/shell.html");
const ASSETS: [(&str, &str, &str); 8] = [
    ("dashboard.js", "text/javascript", include_str!("../dashboard/dashboard.js")),
    ("docs.js", "text/javascript", include_str!("../dashboard/docs.js")),
    ("style.css", "text/css", include_str!("../dashboard/style.css")),
    ("shell.js", "text/javascript", include_str!("../dashboard/shell.js")),
    ("xterm.js", "text/javascript", include_str!("../dashboard/vendor/xterm.js")),
    ("addon-fit.js", "text/javascript", include_str!("../dashboard/vendor/addon-fit.js")),
    ("xterm.css", "text/css", include_str!("../dashboard/vendor/xterm.css")),
    ("icon.svg", "image/svg+xml", include_str!("../dashboard/icon.svg")),
];

pub(super) async fn index() -> Response {
    page("text/html; charset=utf-8", INDEX)
}

pub(super) async fn docs() -> Response {
    page("text/html; charset=utf-8", DOCS)
}

pub(super) async fn shell() -> Response {
    let mut page = page("text/html; charset=utf-8", SHELL);
    let policy = HeaderValue::from_static(SHELL_POLICY);
    page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    page
}

pub(super) async fn openapi() -> Response {
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ([kind], crate::openapi::document()).into_response()
}

pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, ApiError> {
    let found = ASSETS.iter().find(|(known, ..)| *known == name);
    let (_, kind, text) = found.ok_or_else(|| ApiError::new(ErrorCode::NotFound, "no such file"))?;
    Ok(page(kind, text))
}

fn page(kind: &'static str, text: &'static str) -> Response {
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let policy = (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    ([kind, policy], text).into_response()
}
