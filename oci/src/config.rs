//! An image's configuration (OCI image spec 1.1 `config.md`, with Docker's additions).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::read;
use crate::platform::Platform;

/// What an image says about how it is run. Empty where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// User, as `user`, `uid`, `user:group` or `uid:gid`.
    #[serde(deserialize_with = "lenient")]
    pub user: String,
    /// Environment as `NAME=value`.
    #[serde(deserialize_with = "lenient")]
    pub env: Vec<String>,
    /// What is always run, the command being its arguments.
    #[serde(deserialize_with = "lenient")]
    pub entrypoint: Vec<String>,
    /// What is run by default.
    #[serde(deserialize_with = "lenient")]
    pub cmd: Vec<String>,
    /// Directory to run in.
    #[serde(deserialize_with = "lenient")]
    pub working_dir: String,
    /// Signal that ends it, by name or number.
    #[serde(deserialize_with = "lenient")]
    pub stop_signal: String,
    /// Paths that want a volume.
    #[serde(deserialize_with = "keys", serialize_with = "as_keys")]
    pub volumes: Vec<String>,
    /// Ports it listens on, as `80/tcp`.
    #[serde(deserialize_with = "keys", serialize_with = "as_keys")]
    pub exposed_ports: Vec<String>,
    /// How to find out whether it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Labels.
    #[serde(deserialize_with = "lenient")]
    pub labels: BTreeMap<String, String>,
}

/// A health check; durations in nanoseconds, 0 for "as usual".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `NONE`, or `CMD` and arguments, or `CMD-SHELL` and one command line; empty: inherited.
    #[serde(deserialize_with = "lenient")]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(rename = "Interval")]
    pub interval_ns: u64,
    /// Time after which a check has failed.
    #[serde(rename = "Timeout")]
    pub timeout_ns: u64,
    /// Time in which failures do not count.
    #[serde(rename = "StartPeriod")]
    pub start_period_ns: u64,
    /// Time between two checks in the start period.
    #[serde(rename = "StartInterval")]
    pub start_interval_ns: u64,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

/// The whole configuration document, as far as it is used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ConfigDocument {
    #[serde(default)]
    pub(crate) created: Option<String>,
    #[serde(flatten)]
    pub(crate) platform: Platform,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) config: ImageConfig,
    rootfs: RootFs,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "lenient")]
    diff_ids: Vec<Digest>,
}

impl ConfigDocument {
    /// Reads a configuration that belongs to a manifest of `layers` layers.
    pub(crate) fn parse(raw: &[u8], layers: usize) -> Result<Self> {
        let document: Self = read("image configuration", raw)?;
        if document.rootfs.diff_ids.len() != layers {
            let reason = format!("{} DiffIDs for {layers} layers", document.rootfs.diff_ids.len());
            return Err(Error::Document { what: "image configuration", reason });
        }
        Ok(document)
    }

    /// Digests of the layers' uncompressed archives, base first.
    pub(crate) fn diff_ids(&self) -> &[Digest] {
        &self.rootfs.diff_ids
    }
}

/// `null` for nothing, as Go writes it.
fn lenient<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    input: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

/// The keys of an object whose values are empty: Go's way to write a set.
fn keys<'de, D: Deserializer<'de>>(input: D) -> std::result::Result<Vec<String>, D::Error> {
    let set: Option<BTreeMap<String, serde::de::IgnoredAny>> = Option::deserialize(input)?;
    Ok(set.unwrap_or_default().into_keys().collect())
}

fn as_keys<S: serde::Serializer>(keys: &[String], output: S) -> std::result::Result<S::Ok, S::Error> {
    output.collect_map(keys.iter().map(|key| (key, serde_json::Map::new())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_configuration_is_read() {
        let raw = br#"{"architecture":"amd64","os":"linux","created":"2024-01-01T00:00:00Z","config":{
            "User":"app","Env":["A=1"],"Entrypoint":null,"Cmd":["sh"],"WorkingDir":"/w","Volumes":{"/d":{}},
            "ExposedPorts":{"80/tcp":{}},"Labels":null,"StopSignal":"SIGINT","OnBuild":null,
            "Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":30000000000}},
            "rootfs":{"type":"layers","diff_ids":[]},"history":[{}]}"#;
        let document = ConfigDocument::parse(raw, 0).unwrap();
        let config = document.config;
        assert_eq!((config.user.as_str(), config.cmd), ("app", vec!["sh".to_owned()]));
        assert_eq!(
            (config.volumes, config.exposed_ports),
            (vec!["/d".to_owned()], vec!["80/tcp".to_owned()])
        );
        assert_eq!(config.healthcheck.unwrap().interval_ns, 30_000_000_000);
        assert!(config.entrypoint.is_empty() && config.labels.is_empty());
        assert!(ConfigDocument::parse(raw, 1).is_err(), "a layer without a DiffID");
    }

    #[test]
    fn an_absent_configuration_is_empty() {
        let raw = br#"{"architecture":"amd64","os":"linux","config":null,"rootfs":{"diff_ids":null}}"#;
        assert_eq!(ConfigDocument::parse(raw, 0).unwrap().config, ImageConfig::default());
    }
}
