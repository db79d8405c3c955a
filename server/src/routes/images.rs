//! The image store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use monocore_api::{
    ErrorBody, ErrorCode, Image, ImageDetails, ImageLayer, ImageList, ImageProcess, PullEvent, PullRequest,
    RemovedImage,
};
use monocore_oci::{Digest, Progress, Reference};
use monocore_orchestrator::images::{open_store, parse_platform};
use monocore_orchestrator::registry;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::access::{Access, Scope};
use crate::api_server::ApiServer;
use crate::body::{Json, Query};
use crate::error::ApiError;
use crate::stream::{self, Framing, Sender};
use crate::{guard, work};

/// Progress of one layer is sent no more often than this.
const INTERVAL: Duration = Duration::from_millis(100);

/// Which image is meant.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ImageQuery {
    /// A reference, an ID or the beginning of one.
    image: String,
}

/// Lists the images in the store, by name.
#[utoipa::path(
    get, path = "/v1/images", tag = "images",
    responses((status = 200, body = ImageList), (status = "default", body = ErrorBody))
)]
pub(super) async fn list(State(context): State<ApiServer>) -> Result<Json<ImageList>, ApiError> {
    let images = work::short(&context, |context| {
        let mut images: Vec<Image> = open_store(&context.home)?.list()?.iter().map(image).collect();
        images.sort_by(|a, b| (&a.reference, &a.id).cmp(&(&b.reference, &b.id)));
        Ok(images)
    });
    images.await.map(|images| Json(ImageList { images }))
}

/// Shows everything about an image.
#[utoipa::path(
    get, path = "/v1/images/inspect", tag = "images", params(ImageQuery),
    responses((status = 200, body = ImageDetails), (status = "default", body = ErrorBody))
)]
pub(super) async fn inspect(
    State(context): State<ApiServer>,
    Query(query): Query<ImageQuery>,
) -> Result<Json<ImageDetails>, ApiError> {
    let found = work::short(&context, move |context| {
        let found = open_store(&context.home)?.find(&query.image)?;
        let layer = |layer: &monocore_oci::LayerInfo| ImageLayer {
            digest: layer.digest.to_string(),
            size_bytes: layer.size,
        };
        let config = &found.config;
        Ok(ImageDetails {
            image: image(&found),
            process: ImageProcess {
                entrypoint: config.entrypoint.clone(),
                command: config.cmd.clone(),
                env: config.env.clone(),
                workdir: config.working_dir.clone(),
                user: config.user.clone(),
                exposed_ports: config.exposed_ports.clone(),
                volumes: config.volumes.clone(),
                stop_signal: config.stop_signal.clone(),
            },
            layers: found.layers.iter().map(layer).collect(),
            warnings: found.warnings()?,
        })
    });
    found.await.map(Json)
}

/// Removes an image that no sandbox needs.
#[utoipa::path(
    delete, path = "/v1/images", tag = "images", params(ImageQuery),
    responses((status = 200, body = RemovedImage), (status = "default", body = ErrorBody))
)]
pub(super) async fn remove(
    State(context): State<ApiServer>,
    Extension(Access(scope)): Extension<Access>,
    Query(query): Query<ImageQuery>,
) -> Result<Json<RemovedImage>, ApiError> {
    guard::require(scope, Scope::Admin)?;
    let removed = work::short(&context, move |context| {
        let store = open_store(&context.home)?;
        let id = Some(store.find(&query.image)?.id.to_string());
        let sandboxes = registry::list(&context.home)?;
        let user =
            sandboxes.iter().find(|entry| entry.kept.as_ref().is_some_and(|kept| kept.record().image == id));
        if let Some(user) = user {
            let message = format!("image {} belongs to sandbox {}", query.image, user.name);
            return Err(ApiError::new(ErrorCode::ImageInUse, message));
        }
        Ok(store.remove(&query.image)?)
    });
    removed.await.map(|pruned| Json(RemovedImage { references: pruned.images, bytes: pruned.bytes }))
}

/// Fetches an image: one event a line, or server-sent events with `Accept: text/event-stream`. The
/// last event is done or failed.
#[utoipa::path(
    post, path = "/v1/images/pull", tag = "images", request_body = PullRequest,
    responses(
        (status = 200, body = PullEvent, content_type = "application/x-ndjson"),
        (status = "default", body = ErrorBody)
    )
)]
pub(super) async fn pull(
    State(context): State<ApiServer>,
    headers: HeaderMap,
    Json(wanted): Json<PullRequest>,
) -> Result<Response, ApiError> {
    let reference: Reference = wanted.image.parse()?;
    let platform = wanted.platform.as_deref().map(parse_platform).transpose()?;
    let permit = work::long_permit(&context)?;
    let (sender, response) = stream::channel(&context, Framing::wanted(&headers), None);
    let images = context.images();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let told = Arc::new(Told { sender, layers: Mutex::default() });
        let pulled = images.with_progress(Arc::clone(&told) as Arc<dyn Progress>).pull(&reference, platform);
        let last = match pulled {
            Ok(found) => PullEvent::Done { image: image(&found) },
            Err(error) => {
                let error = ApiError::from(error);
                PullEvent::Failed { code: error.code, message: error.message }
            }
        };
        told.sender.send(&last);
    });
    Ok(response)
}

fn image(image: &monocore_oci::Image) -> Image {
    let familiar = |name: &str| match name.parse::<Reference>() {
        Ok(reference) => reference.familiar(),
        Err(_) => name.to_owned(),
    };
    Image {
        reference: image.reference.as_deref().map(familiar),
        id: image.id.to_string(),
        digest: image.digest.to_string(),
        platform: image.platform.to_string(),
        created: image.created.clone(),
        size_bytes: image.size(),
    }
}

/// Sends how a pull proceeds. It must not block: a slow reader misses some.
#[derive(Debug)]
struct Told {
    sender: Sender,
    layers: Mutex<HashMap<Digest, Layer>>,
}

#[derive(Debug)]
struct Layer {
    total: u64,
    done: u64,
    told: Instant,
}

impl Progress for Told {
    fn layer_started(&self, layer: &Digest, bytes: u64) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.insert(*layer, Layer { total: bytes, done: 0, told: Instant::now() });
        self.tell(layer, 0, bytes);
    }

    fn layer_advanced(&self, layer: &Digest, bytes: u64) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = layers.get_mut(layer) {
            known.done += bytes;
            if known.told.elapsed() >= INTERVAL {
                known.told = Instant::now();
                self.tell(layer, known.done, known.total);
            }
        }
    }

    fn layer_finished(&self, layer: &Digest) {
        self.sender.offer(&PullEvent::LayerDone { layer: layer.to_string() });
    }
}

impl Told {
    fn tell(&self, layer: &Digest, done_bytes: u64, total_bytes: u64) {
        self.sender.offer(&PullEvent::Progress { layer: layer.to_string(), done_bytes, total_bytes });
    }
}
