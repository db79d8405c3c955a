//! Groups: services that reach each other and share volumes and environments.

use schemars::JsonSchema;
use serde::Serialize;

use super::GroupBuilder;

/// A group of services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(default)]
#[non_exhaustive]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Published ports of its members are reached from this host only. When false, a port that names no address is
    /// published on every address.
    pub local_only: bool,
    /// Members reach each other and nothing else, unless a service sets `network.reach`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
    /// The group exists already, made by `network create` or another project's members, and is not this project's own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
    /// The name of an external group, where it is another one here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_name: Option<String>,
    /// Directories of the host that members may mount.
    #[serde(rename = "volume", skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<GroupVolume>,
    /// Sets of environment variables that members may use.
    #[serde(rename = "env", skip_serializing_if = "Vec::is_empty")]
    pub envs: Vec<GroupEnv>,
}

/// A directory of the host that a group's members may mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(default)]
pub struct GroupVolume {
    /// The name members use.
    pub name: String,
    /// The directory, absolute or relative to the project's directory.
    pub path: String,
}

/// A set of environment variables that a group's members may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(default)]
pub struct GroupEnv {
    /// The name members use.
    pub name: String,
    /// `NAME=VALUE`, or `NAME` for the caller's value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub envs: Vec<String>,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            name: String::new(),
            local_only: true,
            internal: false,
            external: false,
            group_name: None,
            volumes: Vec::new(),
            envs: Vec::new(),
        }
    }
}

impl Group {
    /// Begins a group.
    #[must_use]
    pub fn builder() -> GroupBuilder {
        GroupBuilder::default()
    }
}
