//! The project model of `monocore.toml`: services, the groups they share, and what each needs.
//!
//! Three syntaxes lead to one [`Monocore`]: TOML, YAML, and an existing `compose.yaml`. A program builds the same model
//! with [`Monocore::builder`]. Either way it is validated as a whole, so that a [`Monocore`] that was loaded or built
//! has no unknown group, no dependency cycle and no text that a parser of [`crate::spec`] rejects.
//! The decisions are in `docs/design/projects.md`.
//!

mod builder;
mod canonical;
mod compose;
mod dotenv;
mod error;
mod find;
mod group;
mod healthcheck;
mod interpolate;
mod load;
mod merge;
mod order;
mod parse_toml;
mod parse_yaml;
mod project;
mod read;
mod sandbox;
mod schema;
mod serial;
mod service;
mod suggest;
mod text;
mod texts;
mod tree;
mod validate;
mod watch;

use schemars::JsonSchema;
use serde::Serialize;

pub use crate::spec::HealthTest;
pub use builder::{GroupBuilder, MonocoreBuilder, ServiceBuilder};
pub use error::{ConfigError, ConfigErrors};
pub use group::{Group, GroupEnv, GroupVolume};
pub use healthcheck::Healthcheck;
pub use load::{load, load_text};
pub use order::MAX_CHAIN;
pub use project::{LoadOptions, Project};
pub use schema::json_schema;
pub use service::{
    Condition, DEFAULT_RAM_MIB, DependsOn, EnvFile, GroupVolumeMount, NetworkConfig, SecretMount, Service,
};
pub(crate) use watch::patterns as watch_patterns;
pub use watch::{WatchAction, WatchRule};

/// The services of a project and what they share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(default)]
#[non_exhaustive]
pub struct Monocore {
    /// The project's name; the directory's when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The services, in the order of the file.
    #[serde(rename = "service", skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// The groups that services share.
    #[serde(rename = "group", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// Named volumes that need more than their name.
    #[serde(rename = "volume", skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<NamedVolume>,
    /// Secrets that services mount.
    #[serde(rename = "secret", skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
}

/// A named volume of the project. A service that names an undeclared volume gets one as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(default)]
pub struct NamedVolume {
    /// The name services use.
    pub name: String,
    /// The volume's name on the host, instead of `<project>_<name>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_name: Option<String>,
    /// The volume exists already and is never removed with the project.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
}

/// A secret: a file of the host, mounted read-only at `/run/secrets/<name>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(default)]
pub struct Secret {
    /// The name services use.
    pub name: String,
    /// The file on the host, absolute or relative to the project's directory.
    pub file: String,
}

impl Monocore {
    /// Begins a project.
    #[must_use]
    pub fn builder() -> MonocoreBuilder {
        MonocoreBuilder::default()
    }

    /// The service of that name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// The group of that name.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The members of a group, in the order of the file.
    pub fn members<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Service> {
        self.services.iter().filter(move |service| service.groups.iter().any(|name| name == group))
    }

    /// The name on the host of the volume that services call `name`: `<project>_<name>`, as Compose names it, unless
    /// the volume is external or has a name of its own.
    #[must_use]
    pub fn volume_name(&self, project: &str, name: &str) -> String {
        match self.volumes.iter().find(|volume| volume.name == name) {
            Some(NamedVolume { volume_name: Some(own), .. }) => own.clone(),
            Some(NamedVolume { external: true, .. }) => name.to_owned(),
            _ => format!("{project}_{name}"),
        }
    }
}

#[cfg(test)]
mod tests;
