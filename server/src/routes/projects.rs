//! Projects: `/up`, `/down`, `/status` and `/remove`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::extract::State;
use monocore_api::{
    DownRequest, ErrorBody, ErrorCode, ProjectConfig, ProjectQuery, ProjectStep, ProjectSteps, RemoveRequest,
    ServiceStatus, StatusReport,
};
use monocore_orchestrator::config::{ConfigErrors, LoadOptions, Project, load_text};
use monocore_orchestrator::{
    DownOptions, LABEL_GROUPS, LABEL_PROJECT, LABEL_SERVICE, Member, ProjectEvent, ProjectRunner,
    SandboxEntry, ServiceStep, UpOptions, instances, registry,
};

use crate::access::{Access, Scope};
use crate::api_server::ApiServer;
use crate::body::{Json, Query};
use crate::convert;
use crate::error::ApiError;
use crate::{guard, work};

/// The project of configurations that name none.
const DEFAULT_PROJECT: &str = "monocore";

/// Makes a project's sandboxes as the configuration describes them and starts them in the order of
/// their needs. What is as described and runs is not touched. Paths of the host must be absolute.
#[utoipa::path(
    post, path = "/up", tag = "projects", request_body = ProjectConfig,
    responses((status = 200, body = ProjectSteps), (status = "default", body = ErrorBody))
)]
pub(super) async fn up(
    State(context): State<ApiServer>,
    Extension(Access(scope)): Extension<Access>,
    Json(config): Json<ProjectConfig>,
) -> Result<Json<ProjectSteps>, ApiError> {
    // A configuration may name files of the host.
    guard::require(scope, Scope::Admin)?;
    let done = work::long(&context, move |context| {
        let project = load(config)?;
        let wanted = instances(&project)?;
        let work = Work::new(context, &project.name);
        let members = work.runner.up(&wanted, &UpOptions::default())?;
        Ok(work.report(&members))
    });
    done.await.map(Json)
}

/// Stops the sandboxes of a group, of some services or of a whole project, in reverse order of
/// their needs, and removes them.
#[utoipa::path(
    post, path = "/down", tag = "projects", request_body = DownRequest,
    responses((status = 200, body = ProjectSteps), (status = "default", body = ErrorBody))
)]
pub(super) async fn down(
    State(context): State<ApiServer>,
    Extension(Access(scope)): Extension<Access>,
    Json(wanted): Json<DownRequest>,
) -> Result<Json<ProjectSteps>, ApiError> {
    guard::require(scope, Scope::Admin)?;
    let chosen = Chosen { project: wanted.project, group: wanted.group, services: wanted.services };
    take_down(&context, chosen, wanted.volumes).await.map(Json)
}

/// Stops and removes the sandboxes of some services or of a group.
#[utoipa::path(
    post, path = "/remove", tag = "projects", request_body = RemoveRequest,
    responses((status = 200, body = ProjectSteps), (status = "default", body = ErrorBody))
)]
pub(super) async fn remove(
    State(context): State<ApiServer>,
    Extension(Access(scope)): Extension<Access>,
    Json(wanted): Json<RemoveRequest>,
) -> Result<Json<ProjectSteps>, ApiError> {
    guard::require(scope, Scope::Admin)?;
    if wanted.group.is_none() && wanted.services.is_empty() {
        return Err(ApiError::value("services", "name services or a group"));
    }
    let chosen = Chosen { project: wanted.project, group: wanted.group, services: wanted.services };
    take_down(&context, chosen, false).await.map(Json)
}

/// Shows the sandboxes of a project, or of all projects.
#[utoipa::path(
    get, path = "/status", tag = "projects", params(ProjectQuery),
    responses((status = 200, body = StatusReport), (status = "default", body = ErrorBody))
)]
pub(super) async fn status(
    State(context): State<ApiServer>,
    Query(query): Query<ProjectQuery>,
) -> Result<Json<StatusReport>, ApiError> {
    let services = work::short(&context, move |context| {
        let entries = registry::list(&context.home)?;
        let names = entries.iter().filter_map(|entry| entry.labels.get(LABEL_PROJECT));
        let names: BTreeSet<_> =
            names.filter(|name| query.project.as_ref().is_none_or(|p| p == *name)).collect();
        let mut services = Vec::new();
        for name in names {
            let runner = ProjectRunner::new(context.launcher.clone(), context.images(), name);
            services.extend(runner.members()?.iter().map(|member| service(name, member)));
        }
        Ok(services)
    });
    services.await.map(|services| Json(StatusReport { services }))
}

/// Which sandboxes are meant.
struct Chosen {
    project: Option<String>,
    group: Option<String>,
    services: Vec<String>,
}

async fn take_down(context: &ApiServer, chosen: Chosen, volumes: bool) -> Result<ProjectSteps, ApiError> {
    let done = work::long(context, move |context| {
        let entries = registry::list(&context.home)?;
        let (project, services) = chosen.resolve(&entries)?;
        let work = Work::new(context, &project);
        work.runner.down(&DownOptions { services, volumes, ..DownOptions::default() })?;
        let members = work.runner.members()?;
        Ok(work.report(&members))
    });
    done.await
}

impl Chosen {
    /// The project and its services; no services for all of them. Without a project's name it is
    /// the only one that has the group or the services.
    fn resolve(self, entries: &[SandboxEntry]) -> Result<(String, Vec<String>), ApiError> {
        if self.group.is_some() && !self.services.is_empty() {
            return Err(ApiError::value("group", "not together with services"));
        }
        let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for entry in entries {
            let label = |key: &str| entry.labels.get(key).map(String::as_str);
            let (Some(project), Some(service)) = (label(LABEL_PROJECT), label(LABEL_SERVICE)) else {
                continue;
            };
            let is_member = match &self.group {
                Some(group) => {
                    label(LABEL_GROUPS).is_some_and(|names| names.split(',').any(|name| name == group))
                }
                None => self.services.iter().any(|name| name == service),
            };
            if is_member && self.project.as_deref().is_none_or(|wanted| wanted == project) {
                found.entry(project).or_default().insert(service.to_owned());
            }
        }
        if self.group.is_none() && self.services.is_empty() {
            return Ok((self.project.unwrap_or_else(|| DEFAULT_PROJECT.to_owned()), Vec::new()));
        }
        let unknown = |what: String| ApiError::new(ErrorCode::NoSuchService, what);
        if found.len() > 1 {
            let names: Vec<_> = found.keys().copied().collect();
            let message = format!("several projects have it: {}; name the project", names.join(", "));
            return Err(ApiError::new(ErrorCode::Ambiguous, message));
        }
        match (found.pop_first(), self.group) {
            (Some((project, services)), Some(_)) => Ok((project.to_owned(), services.into_iter().collect())),
            (Some((project, services)), None) => {
                match self.services.iter().find(|name| !services.contains(*name)) {
                    None => Ok((project.to_owned(), self.services)),
                    Some(service) => Err(unknown(format!("no such service: {service}"))),
                }
            }
            (None, Some(group)) => Err(unknown(format!("no such group: {group}"))),
            (None, None) => Err(unknown(format!("no such service: {}", self.services.join(", ")))),
        }
    }
}

/// Work on a project, and what is told of it.
struct Work {
    runner: ProjectRunner,
    steps: Arc<Mutex<Vec<ProjectStep>>>,
}

impl Work {
    fn new(context: &ApiServer, project: &str) -> Self {
        let steps: Arc<Mutex<Vec<ProjectStep>>> = Arc::default();
        let told = Arc::clone(&steps);
        let observer = move |event: &ProjectEvent| {
            told.lock().unwrap_or_else(PoisonError::into_inner).push(step(event));
        };
        let runner = ProjectRunner::new(context.launcher.clone(), context.images(), project);
        Self { runner: runner.with_observer(Arc::new(observer)), steps }
    }

    fn report(&self, members: &[Member]) -> ProjectSteps {
        let project = self.runner.project();
        ProjectSteps {
            project: project.to_owned(),
            steps: self.steps.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            services: members.iter().map(|member| service(project, member)).collect(),
        }
    }
}

fn step(event: &ProjectEvent) -> ProjectStep {
    let (step, detail) = match &event.step {
        ServiceStep::Kept => ("kept", None),
        ServiceStep::Waiting { needed } => ("waiting", Some(needed)),
        ServiceStep::Creating => ("creating", None),
        ServiceStep::Created => ("created", None),
        ServiceStep::Starting => ("starting", None),
        ServiceStep::Started => ("started", None),
        ServiceStep::Healthy => ("healthy", None),
        ServiceStep::Completed => ("completed", None),
        ServiceStep::Stopping => ("stopping", None),
        ServiceStep::Stopped => ("stopped", None),
        ServiceStep::Removed => ("removed", None),
        ServiceStep::Updated => ("updated", None),
        // The server watches no files.
        ServiceStep::Synced { .. } => ("synced", None),
        ServiceStep::Failed { message } => ("failed", Some(message)),
    };
    ProjectStep {
        service: event.service.clone(),
        sandbox: event.sandbox.clone(),
        step: step.to_owned(),
        detail: detail.cloned(),
    }
}

fn service(project: &str, member: &Member) -> ServiceStatus {
    ServiceStatus {
        project: project.to_owned(),
        service: member.service.clone(),
        number: member.number,
        sandbox: convert::sandbox(&member.entry),
    }
}

/// The project of a configuration. Nothing of the server's environment or directory is in it.
fn load(config: ProjectConfig) -> Result<Project, ApiError> {
    let named = config.0.get("name").and_then(serde_json::Value::as_str).is_some();
    let text = serde_json::to_string(&config).map_err(ApiError::internal)?;
    let options = LoadOptions {
        project_name: (!named).then(|| DEFAULT_PROJECT.to_owned()),
        project_dir: Some(PathBuf::from("/")),
        ..LoadOptions::default()
    };
    load_text(&text, &options).map_err(|errors| ApiError::new(ErrorCode::InvalidConfig, problems(&errors)))
}

/// One problem a line, without the place in a text that nobody wrote.
fn problems(errors: &ConfigErrors) -> String {
    let lines: Vec<_> = errors
        .iter()
        .map(|error| {
            let text = error.text.as_ref().map(|text| format!("{text:?}: ")).unwrap_or_default();
            let advice = error.suggestion.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
            format!("{}: {text}{}{advice}", error.key, error.message)
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(value: serde_json::Value) -> ProjectConfig {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_configuration_as_json_is_one_of_monocore_toml() {
        let project = load(config(serde_json::json!({
            "service": [{
                "name": "web", "base": "alpine", "group": "main", "command": "/bin/sleep", "args": ["9"],
                "ram": 256, "port": "8080:80", "envs": ["A=b"], "depends_on": ["db"]
            }, { "name": "db", "base": "alpine", "group": "main" }],
            "group": [{ "name": "main" }]
        })))
        .unwrap();
        assert_eq!(project.name, DEFAULT_PROJECT);
        let wanted = instances(&project).unwrap();
        assert_eq!(wanted.len(), 2);
        let web = &wanted[0];
        assert_eq!((web.name(), web.spec.machine.ram_mib), ("monocore-web-1", 256));
        assert_eq!(web.spec.labels[LABEL_GROUPS], "main");
    }

    #[test]
    fn mistakes_are_named() {
        let error = load(config(serde_json::json!({
            "service": [{ "name": "web", "bse": "alpine", "group": "x" }]
        })))
        .unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidConfig);
        assert!(error.message.contains("bse") && !error.message.contains("config.yaml"), "{}", error.message);
    }
}
