//! Projects: `/up`, `/down`, `/status` and `/remove`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Sandbox;

/// A project's configuration, with the keys of `monocore.toml`: `name`, `service`, `group`,
/// `volume`, `secret`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object, example = json!({
    "service": [{"name": "web", "base": "nginx:alpine", "group": "main", "port": "8080:80"}],
    "group": [{"name": "main"}]
}))]
pub struct ProjectConfig(pub serde_json::Map<String, serde_json::Value>);

/// Which services are stopped and removed. Exactly one of `group` and `services`, or none for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"group": "main"}))]
pub struct DownRequest {
    /// The members of this group.
    pub group: Option<String>,
    /// These services.
    pub services: Vec<String>,
    /// The project; the server's default project when absent.
    pub project: Option<String>,
    /// The project's named volumes are removed as well.
    pub volumes: bool,
}

/// Which services are removed. Exactly one of `group` and `services`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"services": ["web"]}))]
pub struct RemoveRequest {
    /// The members of this group.
    pub group: Option<String>,
    /// These services.
    pub services: Vec<String>,
    /// The project; the server's default project when absent.
    pub project: Option<String>,
}

/// Which project's status is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ProjectQuery {
    /// The project; all projects when absent.
    pub project: Option<String>,
}

/// A step of a sandbox of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectStep {
    /// The service.
    pub service: String,
    /// The sandbox.
    pub sandbox: String,
    /// `kept`, `creating`, `created`, `starting`, `started`, `healthy`, `completed`, `stopping`,
    /// `stopped`, `removed`, `waiting` or `failed`.
    pub step: String,
    /// Why it failed, or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What was done, in the order it happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectSteps {
    /// The project.
    pub project: String,
    /// The steps.
    pub steps: Vec<ProjectStep>,
    /// The project's sandboxes afterwards.
    pub services: Vec<ServiceStatus>,
}

/// A sandbox of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceStatus {
    /// The project.
    pub project: String,
    /// The service.
    pub service: String,
    /// The number of the replica, from 1.
    pub number: u32,
    /// The sandbox.
    pub sandbox: Sandbox,
}

/// The sandboxes of all projects, or of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusReport {
    /// By project, service and number.
    pub services: Vec<ServiceStatus>,
}
