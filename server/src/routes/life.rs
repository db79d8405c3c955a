//! A sandbox's life: start, stop, restart, kill, wait.

use axum::extract::State;
use axum::http::StatusCode;
use monocore_api::{ErrorBody, ErrorCode, ExitReport, KillRequest, SandboxDetails, StopRequest};
use monocore_orchestrator::spec::{Signal, parse_duration};
use monocore_orchestrator::{
    ControlClient, Error, Home, Launcher, SandboxEntry, events, registry, start_in_background,
};

use super::Name;
use crate::api_server::ApiServer;
use crate::body::Json;
use crate::convert;
use crate::error::ApiError;
use crate::work::{self, HangUp};

/// The code of a sandbox that went without a word: 128 and SIGKILL's number.
const KILLED: u8 = 137;

/// Starts a sandbox; one that runs already is left as it is.
#[utoipa::path(
    post, path = "/v1/sandboxes/{name}/start", tag = "sandboxes", params(("name" = String, Path)),
    responses((status = 200, body = SandboxDetails), (status = "default", body = ErrorBody))
)]
pub(super) async fn start(
    State(context): State<ApiServer>,
    Name(name): Name,
) -> Result<Json<SandboxDetails>, ApiError> {
    let details = work::long(&context, move |context| {
        let entry = registry::find(&context.home, &name)?;
        if entry.running.is_none() {
            start_one(&context.launcher, &entry)?;
        }
        after(&context.home, &entry)
    });
    details.await.map(Json)
}

/// Stops a sandbox and waits for its end; one that does not run is left as it is.
#[utoipa::path(
    post, path = "/v1/sandboxes/{name}/stop", tag = "sandboxes", params(("name" = String, Path)),
    request_body = StopRequest,
    responses((status = 200, body = SandboxDetails), (status = "default", body = ErrorBody))
)]
pub(super) async fn stop(
    State(context): State<ApiServer>,
    Name(name): Name,
    Json(how): Json<StopRequest>,
) -> Result<Json<SandboxDetails>, ApiError> {
    let details = work::long(&context, move |context| {
        let (signal, grace_ms) = parse(&how)?;
        let entry = registry::find(&context.home, &name)?;
        stop_with(&context.home, &entry, signal, grace_ms)?;
        after(&context.home, &entry)
    });
    details.await.map(Json)
}

/// Stops a sandbox and starts it again.
#[utoipa::path(
    post, path = "/v1/sandboxes/{name}/restart", tag = "sandboxes", params(("name" = String, Path)),
    request_body = StopRequest,
    responses((status = 200, body = SandboxDetails), (status = "default", body = ErrorBody))
)]
pub(super) async fn restart(
    State(context): State<ApiServer>,
    Name(name): Name,
    Json(how): Json<StopRequest>,
) -> Result<Json<SandboxDetails>, ApiError> {
    let details = work::long(&context, move |context| {
        let (signal, grace_ms) = parse(&how)?;
        let entry = registry::find(&context.home, &name)?;
        convert::kept(&entry)?;
        stop_with(&context.home, &entry, signal, grace_ms)?;
        start_one(&context.launcher, &entry)?;
        events::note(&context.home, &convert::kept(&entry)?.into(), "restart", &[]);
        after(&context.home, &entry)
    });
    details.await.map(Json)
}

/// Sends a signal to a sandbox's command. SIGKILL ends the machine as well.
#[utoipa::path(
    post, path = "/v1/sandboxes/{name}/kill", tag = "sandboxes", params(("name" = String, Path)),
    request_body = KillRequest,
    responses((status = 204), (status = "default", body = ErrorBody))
)]
pub(super) async fn kill(
    State(context): State<ApiServer>,
    Name(name): Name,
    Json(how): Json<KillRequest>,
) -> Result<StatusCode, ApiError> {
    let killed = work::long(&context, move |context| {
        let text = how.signal.map_or_else(|| "KILL".to_owned(), |signal| signal.text());
        let signal = Signal::parse(&text).map_err(|error| ApiError::value("signal", error))?;
        let record = registry::running(&context.home, &name)?;
        let client = ControlClient::connect(&context.home, &record)?;
        match signal.number() {
            9 => drop(client.stop(Some(9), None)?),
            signal => client.kill(signal)?,
        }
        Ok(())
    });
    killed.await.map(|()| StatusCode::NO_CONTENT)
}

/// Stops the virtual machine of a sandbox where it is.
#[utoipa::path(
    post, path = "/v1/sandboxes/{name}/pause", tag = "sandboxes", params(("name" = String, Path)),
    responses((status = 204), (status = "default", body = ErrorBody))
)]
pub(super) async fn pause(
    State(context): State<ApiServer>,
    Name(name): Name,
) -> Result<StatusCode, ApiError> {
    ask(&context, name, ControlClient::pause).await
}

/// Lets the virtual machine of a sandbox go on.
#[utoipa::path(
    post, path = "/v1/sandboxes/{name}/unpause", tag = "sandboxes", params(("name" = String, Path)),
    responses((status = 204), (status = "default", body = ErrorBody))
)]
pub(super) async fn unpause(
    State(context): State<ApiServer>,
    Name(name): Name,
) -> Result<StatusCode, ApiError> {
    ask(&context, name, ControlClient::unpause).await
}

async fn ask(
    context: &ApiServer,
    name: String,
    what: fn(&ControlClient) -> Result<(), Error>,
) -> Result<StatusCode, ApiError> {
    let asked = work::short(context, move |context| {
        let record = registry::running(&context.home, &name)?;
        Ok(what(&ControlClient::connect(&context.home, &record)?)?)
    });
    asked.await.map(|()| StatusCode::NO_CONTENT)
}

/// Waits until a sandbox has ended. One that does not run answers at once.
#[utoipa::path(
    post, path = "/v1/sandboxes/{name}/wait", tag = "sandboxes", params(("name" = String, Path)),
    responses((status = 200, body = ExitReport), (status = "default", body = ErrorBody))
)]
pub(super) async fn wait(
    State(context): State<ApiServer>,
    Name(name): Name,
) -> Result<Json<ExitReport>, ApiError> {
    let asked = work::short(&context, move |context| {
        let entry = registry::find(&context.home, &name)?;
        match entry.running.as_ref().map(|record| ControlClient::connect(&context.home, record)) {
            Some(Ok(client)) => Ok((entry, Some(client))),
            None | Some(Err(Error::NotRunning(_))) => Ok((entry, None)),
            Some(Err(error)) => Err(error.into()),
        }
    });
    let (entry, client) = asked.await?;
    let Some(client) = client else {
        return Ok(Json(ExitReport { exit_code: entry.state.exit_code.unwrap_or(0) }));
    };
    let _hang_up = HangUp(client.handle()?);
    let waited = work::long(&context, move |context| match client.wait() {
        Ok(Some(code)) => Ok(code),
        // It ended meanwhile, or its supervisor was killed: then the state is put right and read.
        Ok(None) | Err(Error::NotRunning(_)) => {
            let entry = registry::find(&context.home, &entry.id).ok();
            Ok(entry.and_then(|entry| entry.state.exit_code).unwrap_or(KILLED))
        }
        Err(error) => Err(error.into()),
    });
    tokio::select! {
        waited = waited => waited.map(|exit_code| Json(ExitReport { exit_code })),
        () = context.ended() => Err(ApiError::new(ErrorCode::TooBusy, "the server ends")),
    }
}

/// Stops a running sandbox and waits for its end; without `signal` and `grace_ms` as the sandbox
/// says.
pub(super) fn stop_with(
    home: &Home,
    entry: &SandboxEntry,
    signal: Option<u8>,
    grace_ms: Option<u64>,
) -> Result<(), Error> {
    let Some(record) = &entry.running else { return Ok(()) };
    match ControlClient::connect(home, record).and_then(|client| client.stop(signal, grace_ms)) {
        // It ended meanwhile.
        Ok(_) | Err(Error::NotRunning(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn start_one(launcher: &Launcher, entry: &SandboxEntry) -> Result<(), ApiError> {
    Ok(start_in_background(launcher, convert::kept(entry)?)?)
}

/// The sandbox after what was done to it. One that went with its command is shown as it was.
fn after(home: &Home, entry: &SandboxEntry) -> Result<SandboxDetails, ApiError> {
    match registry::find(home, &entry.id) {
        Ok(entry) => Ok(convert::details(&entry)),
        Err(Error::NoSandbox(_)) => {
            let mut ended = entry.clone();
            ended.running = None;
            ended.state.status = monocore_orchestrator::SandboxStatus::Exited;
            Ok(convert::details(&ended))
        }
        Err(error) => Err(error.into()),
    }
}

fn parse(how: &StopRequest) -> Result<(Option<u8>, Option<u64>), ApiError> {
    let signal = how.signal.as_deref().map(Signal::parse).transpose();
    let signal = signal.map_err(|error| ApiError::value("signal", error))?;
    let grace = how.timeout.as_ref().map(|text| parse_duration(&text.text())).transpose();
    let grace = grace.map_err(|error| ApiError::value("timeout", error))?;
    let grace_ms = grace.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
    Ok((signal.map(Signal::number), grace_ms))
}
