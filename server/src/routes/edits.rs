//! What is changed of a sandbox that exists, and what its files and processes are.

use axum::Extension;
use axum::extract::State;
use monocore_api::{
    Change, ChangeKind, ChangeList, ErrorBody, ErrorCode, ProcessInfo, ProcessList, SandboxDetails,
    UpdateSandbox,
};
use monocore_orchestrator::session::Signals;
use monocore_orchestrator::spec::{self, RestartPolicy};
use monocore_orchestrator::{Error, registry, tool_output};
use monocore_protocol::{PROCESS_FIELDS, Tool};

use super::Name;
use crate::access::Access;
use crate::api_server::ApiServer;
use crate::body::Json;
use crate::convert;
use crate::error::ApiError;
use crate::guard;
use crate::work;

/// Milliseconds of a clock tick.
const TICK_MS: u64 = 10;

/// Changes a sandbox's name, memory, processors or restart policy. Memory and processors of a
/// sandbox that runs change at once if its machine has as much, else at the next start.
#[utoipa::path(
    patch, path = "/v1/sandboxes/{name}", tag = "sandboxes", params(("name" = String, Path)),
    request_body = UpdateSandbox,
    responses((status = 200, body = SandboxDetails), (status = "default", body = ErrorBody))
)]
pub(super) async fn update(
    State(context): State<ApiServer>,
    Name(name): Name,
    Json(wanted): Json<UpdateSandbox>,
) -> Result<Json<SandboxDetails>, ApiError> {
    let memory = convert::text("memory", wanted.memory.as_ref(), spec::parse_ram_mib)?;
    let cpus = convert::text("cpus", wanted.cpus.as_ref(), spec::parse_cpus)?;
    let restart = convert::one("restart", wanted.restart.as_deref(), spec::parse_restart)?;
    let new_name = convert::one("name", wanted.name.as_deref(), spec::parse_name)?;
    let updated = work::short(&context, move |context| {
        let entry = registry::find(&context.home, &name)?;
        let kept = convert::kept(&entry)?;
        if kept.record().auto_remove && restart.is_some_and(|policy| policy != RestartPolicy::No) {
            return Err(ApiError::value("restart", "the sandbox is removed when its command ends"));
        }
        if memory.is_some() || cpus.is_some() || restart.is_some() {
            monocore_orchestrator::update(&context.home, &entry, kept, |spec| {
                spec.machine.ram_mib = memory.unwrap_or(spec.machine.ram_mib);
                spec.machine.vcpus = cpus.unwrap_or(spec.machine.vcpus);
                spec.restart = restart.unwrap_or(spec.restart);
            })?;
        }
        if let Some(new_name) = new_name.filter(|new_name| *new_name != entry.name) {
            registry::rename(&context.home, kept, &new_name)?;
        }
        Ok(convert::details(&registry::find(&context.home, &entry.id)?))
    });
    updated.await.map(Json)
}

/// Lists the processes of a running sandbox. The image needs no program for that.
#[utoipa::path(
    get, path = "/v1/sandboxes/{name}/processes", tag = "sandboxes", params(("name" = String, Path)),
    responses((status = 200, body = ProcessList), (status = "default", body = ErrorBody))
)]
pub(super) async fn processes(
    State(context): State<ApiServer>,
    Name(name): Name,
) -> Result<Json<ProcessList>, ApiError> {
    let told = tool(&context, name, Tool::Processes, true).await?;
    Ok(Json(ProcessList { processes: read_processes(&told) }))
}

/// Lists what a sandbox changed in its image's files, whether it runs or not. Needs the scope run.
#[utoipa::path(
    get, path = "/v1/sandboxes/{name}/changes", tag = "sandboxes", params(("name" = String, Path)),
    responses((status = 200, body = ChangeList), (status = "default", body = ErrorBody))
)]
pub(super) async fn changes(
    State(context): State<ApiServer>,
    Extension(Access(scope)): Extension<Access>,
    Name(name): Name,
) -> Result<Json<ChangeList>, ApiError> {
    // A sandbox that does not run is started for this.
    guard::require(scope, crate::access::Scope::Run)?;
    let told = tool(&context, name, Tool::Changes, false).await?;
    Ok(Json(ChangeList { changes: read_changes(&told) }))
}

/// What the agent's own tool writes in a sandbox.
pub(super) async fn tool(
    context: &ApiServer,
    name: String,
    tool: Tool,
    must_run: bool,
) -> Result<Vec<u8>, ApiError> {
    let told = work::long(context, move |context| {
        let entry = registry::find(&context.home, &name)?;
        if must_run && entry.running.is_none() {
            return Err(Error::NotRunning(entry.name).into());
        }
        Ok(tool_output(&context.launcher, &entry, tool, &Signals::none()?)?)
    });
    told.await.map_err(|error: ApiError| match error.code {
        ErrorCode::Internal => ApiError::new(ErrorCode::CopyFailed, error.message),
        _ => error,
    })
}

/// What is not UTF-8 is replaced.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads what the guest says; what makes no sense is zero or passed over.
fn read_processes(told: &[u8]) -> Vec<ProcessInfo> {
    let fields: Vec<&[u8]> = told.split(|byte| *byte == 0).collect();
    let process = |values: &[&[u8]]| {
        let field = |name: &str| {
            let at = PROCESS_FIELDS.iter().position(|known| *known == name);
            at.map(|at| text(values[at])).unwrap_or_default()
        };
        let number = |name: &str| field(name).parse::<u64>().unwrap_or(0);
        ProcessInfo {
            pid: number("pid"),
            parent_pid: number("ppid"),
            user: field("user"),
            group: field("group"),
            state: field("state"),
            terminal: Some(field("tty")).filter(|name| !name.is_empty() && name != "?"),
            cpu_ms: number("ticks").saturating_mul(TICK_MS),
            age_ms: number("now").saturating_sub(number("start")).saturating_mul(TICK_MS),
            resident_bytes: number("resident_bytes"),
            virtual_bytes: number("virtual_bytes"),
            name: field("name"),
            command: field("command"),
        }
    };
    fields.chunks_exact(PROCESS_FIELDS.len()).map(process).collect()
}

/// Reads what the guest says; what makes no sense is passed over.
fn read_changes(told: &[u8]) -> Vec<Change> {
    let change = |record: &[u8]| {
        let kind = match record.get(..2)? {
            b"A " => ChangeKind::Added,
            b"C " => ChangeKind::Changed,
            b"D " => ChangeKind::Deleted,
            _ => return None,
        };
        Some(Change { kind, path: text(record.get(2..)?) })
    };
    told.split(|byte| *byte == 0).filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_and_nonsense_is_passed_over() {
        let told = read_changes(b"A /new\0C /a b\0X /x\0D\0D /gone\0\xff");
        let told: Vec<_> = told.iter().map(|change| (change.kind, change.path.as_str())).collect();
        assert_eq!(
            told,
            [(ChangeKind::Added, "/new"), (ChangeKind::Changed, "/a b"), (ChangeKind::Deleted, "/gone")]
        );
    }

    #[test]
    fn processes_are_read_and_nonsense_is_passed_over() {
        let fields = "7 1 0 0 root root S pts/0 250 1000 4096 8192 2000 100000 sleep sleep"
            .split(' ')
            .collect::<Vec<_>>();
        let told = format!("{}\0half", fields.join("\0"));
        let found = read_processes(told.as_bytes());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].pid, found[0].cpu_ms, found[0].age_ms), (7, 2500, 10_000));
        assert_eq!((found[0].resident_bytes, found[0].terminal.as_deref()), (8192, Some("pts/0")));
        assert!(read_processes(b"\0\0\xff").is_empty());
    }
}
