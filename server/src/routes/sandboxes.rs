//! Sandboxes: listed, made, looked at, removed, measured.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use monocore_api::{
    CreateSandbox, ErrorBody, ErrorCode, GuestStats, ListQuery, MachineStats, RemoveQuery, SandboxDetails,
    SandboxList, SandboxStats,
};
use monocore_orchestrator::{
    ControlClient, Error, Home, MachineCounters, Record, registry, start_in_background,
};

use super::{Name, life};
use crate::access::{Access, Scope};
use crate::api_server::ApiServer;
use crate::body::{Json, Query};
use crate::convert;
use crate::error::ApiError;
use crate::work;

const SIGKILL: u8 = 9;

/// Lists sandboxes, the newest first; those that run unless `all` is given.
#[utoipa::path(
    get, path = "/v1/sandboxes", tag = "sandboxes", params(ListQuery),
    responses((status = 200, body = SandboxList), (status = "default", body = ErrorBody))
)]
pub(super) async fn list(
    State(context): State<ApiServer>,
    Query(query): Query<ListQuery>,
) -> Result<Json<SandboxList>, ApiError> {
    let sandboxes = work::short(&context, move |context| {
        let entries = registry::list(&context.home)?;
        let found = entries.iter().rev().map(convert::sandbox);
        Ok(found.filter(|sandbox| convert::is_listed(sandbox, &query)).collect())
    });
    sandboxes.await.map(|sandboxes| Json(SandboxList { sandboxes }))
}

/// Makes a sandbox and starts it, unless `start` is false. The image is fetched if the store lacks
/// it.
#[utoipa::path(
    post, path = "/v1/sandboxes", tag = "sandboxes", request_body = CreateSandbox,
    responses((status = 201, body = SandboxDetails), (status = "default", body = ErrorBody))
)]
pub(super) async fn create(
    State(context): State<ApiServer>,
    Extension(Access(scope)): Extension<Access>,
    Json(wanted): Json<CreateSandbox>,
) -> Result<(StatusCode, Json<SandboxDetails>), ApiError> {
    let details = work::long(&context, move |context| make(context, wanted, scope));
    details.await.map(|details| (StatusCode::CREATED, Json(details)))
}

/// Makes a sandbox and starts it, unless `start` is false.
pub(super) fn make(
    context: &ApiServer,
    wanted: CreateSandbox,
    scope: Scope,
) -> Result<SandboxDetails, ApiError> {
    let (start, auto_remove) = (wanted.start, wanted.remove_on_exit);
    let spec = convert::spec(wanted, scope)?;
    let kept = context.launcher.create(spec, &context.images(), auto_remove)?;
    let id = kept.record().id.clone();
    if start && let Err(error) = start_in_background(&context.launcher, &kept) {
        // As `run -d` does: what could not be started is not kept.
        let _ = registry::remove(&context.home, &kept);
        return Err(error.into());
    }
    match registry::find(&context.home, &id) {
        Ok(entry) => Ok(convert::details(&entry)),
        // Its command has ended, and it went with it.
        Err(Error::NoSandbox(_)) => Ok(convert::gone(&kept)),
        Err(error) => Err(error.into()),
    }
}

/// Shows everything about a sandbox. `name` is its name, ID, or unique ID prefix.
#[utoipa::path(
    get, path = "/v1/sandboxes/{name}", tag = "sandboxes", params(("name" = String, Path)),
    responses((status = 200, body = SandboxDetails), (status = "default", body = ErrorBody))
)]
pub(super) async fn inspect(
    State(context): State<ApiServer>,
    Name(name): Name,
) -> Result<Json<SandboxDetails>, ApiError> {
    let found =
        work::short(&context, move |context| Ok(convert::details(&registry::find(&context.home, &name)?)));
    found.await.map(Json)
}

/// Removes a sandbox with its disk and logs.
#[utoipa::path(
    delete, path = "/v1/sandboxes/{name}", tag = "sandboxes", params(("name" = String, Path), RemoveQuery),
    responses((status = 204), (status = "default", body = ErrorBody))
)]
pub(super) async fn remove(
    State(context): State<ApiServer>,
    Name(name): Name,
    Query(query): Query<RemoveQuery>,
) -> Result<StatusCode, ApiError> {
    let removed = work::long(&context, move |context| remove_one(&context.home, &name, query.force));
    removed.await.map(|()| StatusCode::NO_CONTENT)
}

/// Removes a sandbox; with `force` also one that runs, and one that does not exist counts as
/// removed.
pub(super) fn remove_one(home: &Home, name: &str, force: bool) -> Result<(), ApiError> {
    let entry = match registry::find(home, name) {
        Err(Error::NoSandbox(_)) if force => return Ok(()),
        other => other?,
    };
    if entry.running.is_some() {
        if !force {
            let message = format!("sandbox {} is running: stop it first, or use force=true", entry.name);
            return Err(ApiError::new(ErrorCode::StillRunning, message));
        }
        life::stop_with(home, &entry, Some(SIGKILL), None)?;
    }
    match entry.kept.as_ref().map(|kept| registry::remove(home, kept)) {
        // It was to go with its command, and has.
        Some(Err(Error::File { source, .. })) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => Ok(other.transpose().map(|_| ())?),
    }
}

/// Shows what a running sandbox uses.
#[utoipa::path(
    get, path = "/v1/sandboxes/{name}/stats", tag = "sandboxes", params(("name" = String, Path)),
    responses((status = 200, body = SandboxStats), (status = "default", body = ErrorBody))
)]
pub(super) async fn stats(
    State(context): State<ApiServer>,
    Name(name): Name,
) -> Result<Json<SandboxStats>, ApiError> {
    let stats = work::short(&context, move |context| {
        Ok(stats_of(&context.home, &registry::running(&context.home, &name)?)?)
    });
    stats.await.map(Json)
}

/// Shows what all running sandboxes use. One that does not answer is left out.
#[utoipa::path(
    get, path = "/v1/stats", tag = "sandboxes",
    responses((status = 200, body = [SandboxStats]), (status = "default", body = ErrorBody))
)]
pub(super) async fn all_stats(State(context): State<ApiServer>) -> Result<Json<Vec<SandboxStats>>, ApiError> {
    work::short(&context, |context| Ok(running_stats(&context.home)?)).await.map(Json)
}

/// What all running sandboxes use, as far as they answer.
pub(super) fn running_stats(home: &Home) -> Result<Vec<SandboxStats>, Error> {
    let records = registry::list(home)?.into_iter().filter_map(|entry| entry.running);
    Ok(records.filter_map(|record| stats_of(home, &record).ok()).collect())
}

fn stats_of(home: &Home, record: &Record) -> Result<SandboxStats, Error> {
    let stats = ControlClient::connect(home, record)?.stats()?;
    let guest = stats.guest.map(|guest| GuestStats {
        uptime_ms: guest.uptime_ms,
        cpu_user_ms: guest.cpu_user_ms,
        cpu_system_ms: guest.cpu_system_ms,
        memory_used_bytes: guest.memory_total_bytes.saturating_sub(guest.memory_available_bytes),
        memory_total_bytes: guest.memory_total_bytes,
        tasks: guest.tasks,
    });
    let machine = stats.machine.as_ref().map(machine_stats);
    Ok(SandboxStats { id: record.id.clone(), name: record.name.clone(), guest, machine })
}

/// Bytes of the network are those of the card or of the sockets carried by it; bytes of shares
/// count as a disk's.
fn machine_stats(counters: &MachineCounters) -> MachineStats {
    let mut stats = MachineStats { cpu_ms: counters.cpu_ns / 1_000_000, ..MachineStats::default() };
    for device in &counters.devices {
        let count = |name| device.get(name).unwrap_or(0);
        match device.kind.as_str() {
            "block" | "fs" => {
                stats.block_read_bytes += count("read_bytes");
                stats.block_written_bytes += count("written_bytes");
            }
            "nat" | "tap" | "passt" | "tsi" => {
                stats.net_received_bytes += count("bytes_to_guest");
                stats.net_sent_bytes += count("bytes_from_guest");
            }
            _ => {}
        }
    }
    stats
}
