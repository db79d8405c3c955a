//! The paths, and what all of them share.

mod dashboard;
mod edits;
mod events;
mod exec;
mod exec_ws;
mod files;
mod health;
mod images;
mod leases;
mod life;
mod list_files;
mod logs;
mod metrics;
mod projects;
mod sandboxes;
mod volumes;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::middleware;
use axum::routing::get;
use monocore_api::ErrorCode;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::exec_ws::KeptCommands;
use crate::api_server::ApiServer;
use crate::error::ApiError;
use crate::guard;
use crate::openapi::Document;

/// Everything the OpenAPI document describes.
pub(crate) fn api() -> OpenApiRouter<ApiServer> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(sandboxes::list, sandboxes::create))
        .routes(routes!(leases::lease))
        .routes(routes!(sandboxes::inspect, sandboxes::remove, edits::update))
        .routes(routes!(sandboxes::all_stats))
        .routes(routes!(sandboxes::stats))
        .routes(routes!(edits::processes))
        .routes(routes!(edits::changes))
        .routes(routes!(life::start))
        .routes(routes!(life::stop))
        .routes(routes!(life::restart))
        .routes(routes!(life::kill))
        .routes(routes!(life::wait))
        .routes(routes!(life::pause))
        .routes(routes!(life::unpause))
        .routes(routes!(logs::logs))
        .routes(routes!(logs::network))
        .routes(routes!(events::events))
        .routes(routes!(exec::exec))
        .routes(routes!(exec_ws::exec_ws))
        .routes(routes!(files::download, files::upload))
        .routes(routes!(list_files::list_files))
        .routes(routes!(images::list, images::remove))
        .routes(routes!(images::inspect))
        .routes(routes!(images::pull))
        .routes(routes!(volumes::list, volumes::create))
        .routes(routes!(volumes::inspect, volumes::remove))
        .routes(routes!(projects::up))
        .routes(routes!(projects::down))
        .routes(routes!(projects::status))
        .routes(routes!(projects::remove))
        .routes(routes!(health::version))
        .routes(routes!(health::info))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
}

/// Routes of another crate, behind the checks of Host, Origin and token. They need the scope run.
#[derive(Clone, Debug)]
pub struct Mounted {
    /// Where, such as `/mcp`.
    pub path: &'static str,
    /// The routes, as from their own root.
    pub router: Router,
    /// Nothing else is served.
    pub alone: bool,
}

/// The whole server without its sockets.
pub(crate) fn router(context: ApiServer, mounted: Option<Mounted>) -> Router {
    let router = match &mounted {
        Some(mounted) if mounted.alone => Router::new(),
        _ => own_routes(),
    };
    let router = match mounted {
        Some(Mounted { path, router: inner, .. }) => {
            // Also a GET may show what commands wrote.
            let inner = inner.layer(middleware::from_fn(guard::needs_run));
            router.nest_service(path, inner)
        }
        None => router,
    };
    router
        .fallback(async || ApiError::new(ErrorCode::NotFound, "no such path; see /openapi.json"))
        .layer(middleware::from_fn_with_state(context.clone(), guard::guard))
        .with_state(context)
}

fn own_routes() -> Router<ApiServer> {
    let (router, _) = api().split_for_parts();
    router
        .route("/openapi.json", get(dashboard::openapi))
        .route("/", get(dashboard::index))
        .route("/docs", get(dashboard::docs))
        .route("/shell", get(dashboard::shell))
        .route("/assets/{name}", get(dashboard::asset))
        .method_not_allowed_fallback(async || {
            ApiError::new(ErrorCode::MethodNotAllowed, "the path has no such method; see /openapi.json")
        })
}

/// The sandbox that a path names.
#[derive(Debug)]
pub(crate) struct Name(String);

impl<S: Sync + Send> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|error| ApiError::new(ErrorCode::BadRequest, error.body_text()))
    }
}
