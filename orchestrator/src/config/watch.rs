//! Files of this host that `up --watch` follows for a service.

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use schemars::JsonSchema;
use serde::Serialize;

use super::{ConfigError, Service};

/// A file or directory of this host, and what happens when something in it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(default)]
pub struct WatchRule {
    /// File or directory on this host, absolute or relative to the project's directory.
    pub path: String,
    /// What a change leads to.
    pub action: WatchAction,
    /// Absolute path in the guest that the files are copied to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Files below `path` that do not count, in the patterns of a `.gitignore`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Only these files below `path` count, in the same patterns; all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Everything is copied once when the watch begins.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub initial_sync: bool,
}

/// What a change of a watched file leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub enum WatchAction {
    /// The file is copied into the running sandbox, or removed there.
    #[default]
    #[serde(rename = "sync")]
    Sync,
    /// The same; then the sandbox is restarted.
    #[serde(rename = "sync+restart")]
    SyncRestart,
    /// The sandbox is restarted.
    #[serde(rename = "restart")]
    Restart,
}

impl WatchAction {
    /// Whether files are copied.
    #[must_use]
    pub fn syncs(self) -> bool {
        self != Self::Restart
    }

    /// Whether the sandbox is restarted.
    #[must_use]
    pub fn restarts(self) -> bool {
        self != Self::Sync
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "sync" => Ok(Self::Sync),
            "sync+restart" => Ok(Self::SyncRestart),
            "restart" => Ok(Self::Restart),
            _ => Err("an action is sync, sync+restart or restart".into()),
        }
    }
}

/// A matcher of patterns of paths relative to a watched directory.
///
/// # Errors
/// A pattern is not possible.
pub(crate) fn patterns(lines: &[String]) -> Result<Gitignore, ignore::Error> {
    let mut builder = GitignoreBuilder::new("");
    for line in lines {
        builder.add_line(None, line)?;
    }
    builder.build()
}

/// Checks the rules of `service`.
pub(super) fn check(service: &Service, errors: &mut Vec<ConfigError>) {
    for (index, rule) in service.watch.iter().enumerate() {
        let key = |field: &str| format!("service.{}.watch[{index}].{field}", service.name);
        if rule.path.is_empty() {
            errors.push(ConfigError::new(key("path"), "`path` is missing"));
        }
        match &rule.target {
            None if rule.action.syncs() => {
                let problem = "`target` is missing: where the files are copied to in the guest";
                errors.push(ConfigError::new(key("target"), problem));
            }
            Some(target) if !target.starts_with('/') || target.split('/').any(|part| part == "..") => {
                errors.push(ConfigError::new(key("target"), "the target is an absolute path").text(target));
            }
            _ => {}
        }
        for (field, lines) in [("ignore", &rule.ignore), ("include", &rule.include)] {
            for line in lines {
                if let Err(error) = patterns(std::slice::from_ref(line)) {
                    errors.push(ConfigError::new(key(field), format!("not a pattern: {error}")).text(line));
                }
            }
        }
    }
}
