//! A sandbox's life: start, stop, remove.

use monocore_orchestrator::{ControlClient, Error, SandboxEntry, registry, start_in_background};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Kind, McpTool};
use crate::context::Context;
use crate::error::ToolError;
use crate::work::Call;

const SIGKILL: u8 = 9;

pub(super) fn tools() -> Vec<McpTool> {
    vec![
        McpTool::new(
            "start_sandbox",
            "Start a sandbox",
            Kind::Changes,
            "Starts a sandbox that was stopped, with its files as they were. One that runs already is left as it is.",
            start,
        ),
        McpTool::new(
            "stop_sandbox",
            "Stop a sandbox",
            Kind::Changes,
            "Stops a sandbox: its command gets its stop signal, and is killed after the grace period. Its files are kept; \
             start_sandbox starts it again.",
            stop,
        ),
        McpTool::new(
            "remove_sandbox",
            "Remove a sandbox",
            Kind::Destroys,
            "Removes a sandbox with all its files and logs. One that runs is removed only with `force`, which kills it. Copy \
             what is still needed first, with read_file or download.",
            remove,
        ),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Start {
    /// Name, ID, or unique ID prefix
    #[schemars(length(min = 1, max = 128))]
    sandbox: String,
}

async fn start(call: Call, wanted: Start) -> Result<String, ToolError> {
    let work = move |context: &Context, _: &_| {
        let entry = context.find(&wanted.sandbox)?;
        let name = &entry.name;
        if entry.running.is_some() {
            return Ok(format!("sandbox {name} is running already"));
        }
        let kept = entry.kept.as_ref().ok_or_else(|| Error::NoSandbox(name.clone()))?;
        match start_in_background(&context.host.launcher, kept) {
            Ok(()) => Ok(format!("sandbox {name} runs")),
            Err(Error::AlreadyRunning(_)) => Ok(format!("sandbox {name} is running already")),
            Err(error) => Err(error.into()),
        }
    };
    call.blocking(None, work).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Stop {
    /// Name, ID, or unique ID prefix
    #[schemars(length(min = 1, max = 128))]
    sandbox: String,
    /// Grace period before SIGKILL, instead of the sandbox's
    #[schemars(range(min = 0, max = 300))]
    grace_seconds: Option<u64>,
}

async fn stop(call: Call, wanted: Stop) -> Result<String, ToolError> {
    let work = move |context: &Context, _: &_| {
        let entry = context.find(&wanted.sandbox)?;
        if entry.running.is_none() {
            return Ok(format!("sandbox {} is not running", entry.name));
        }
        let code = stop_entry(context, &entry, None, wanted.grace_seconds.map(|seconds| seconds * 1000))?;
        let code = code.map_or(String::new(), |code| format!("; its command ended with exit code {code}"));
        Ok(format!("sandbox {} is stopped{code}", entry.name))
    };
    call.blocking(None, work).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Remove {
    /// Name, ID, or unique ID prefix
    #[schemars(length(min = 1, max = 128))]
    sandbox: String,
    /// Kill the sandbox if it runs
    #[serde(default)]
    force: bool,
}

async fn remove(call: Call, wanted: Remove) -> Result<String, ToolError> {
    let work = move |context: &Context, _: &_| {
        let entry = context.find(&wanted.sandbox)?;
        if entry.running.is_some() && !wanted.force {
            return Err(Error::StillRunning(entry.name).into());
        }
        end(context, &entry.id, true)?;
        match entry.kept.as_ref().map(|kept| registry::remove(context.home(), kept)) {
            // It was to go with its command, and has.
            Some(Err(Error::File { source, .. })) if source.kind() == std::io::ErrorKind::NotFound => {}
            other => other.transpose().map(drop)?,
        }
        Ok(format!("sandbox {} is removed", entry.name))
    };
    call.blocking(None, work).await
}

/// Ends a sandbox if it runs, by SIGKILL or as it says itself.
pub(super) fn end(context: &Context, id: &str, kill: bool) -> Result<(), ToolError> {
    match registry::find(context.home(), id) {
        Ok(entry) => stop_entry(context, &entry, kill.then_some(SIGKILL), None).map(drop),
        Err(Error::NoSandbox(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn stop_entry(
    context: &Context,
    entry: &SandboxEntry,
    signal: Option<u8>,
    grace_ms: Option<u64>,
) -> Result<Option<u8>, ToolError> {
    let Some(record) = &entry.running else { return Ok(None) };
    match ControlClient::connect(context.home(), record).and_then(|client| client.stop(signal, grace_ms)) {
        // It ended meanwhile.
        Err(Error::NotRunning(_)) => Ok(None),
        other => Ok(other?),
    }
}
