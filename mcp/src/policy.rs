//! What an agent may ask for: the policy file.
//!
//! Absent keys have safe values: public images, no path of the host, public addresses only.

mod check;
mod images;
mod paths;

use std::path::Path;
use std::time::Duration;

use monocore_spec::Reach;
use serde::{Deserialize, Deserializer, de};

use crate::Error;

pub(crate) use images::Globs;
use images::ImageGlobs;
pub use paths::AllowedPath;
pub(crate) use paths::HostPlace;

/// The largest policy file, bytes.
const MAX_FILE: u64 = 1 << 20;

/// A policy file with all keys and their defaults.
pub const POLICY_FILE: &str = include_str!("policy/policy.toml");

/// What an agent may ask for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    pub(crate) images: ImagesPolicy,
    pub(crate) network: NetworkPolicy,
    pub(crate) sandboxes: SandboxesPolicy,
    pub(crate) time: TimePolicy,
    pub(crate) output: OutputPolicy,
    pub(crate) volumes: VolumesPolicy,
    pub(crate) tools: ToolsPolicy,
    /// Paths of the host that tools may read, and write where they say so.
    #[serde(rename = "path")]
    pub(crate) paths: Vec<AllowedPath>,
}

/// Which images.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ImagesPolicy {
    /// Patterns of full names: `docker.io/library/*`, `ghcr.io/acme/**`.
    pub(crate) allow: ImageGlobs,
    /// Images that the store has may be used whatever their name is.
    pub(crate) stored: bool,
    /// Images that the store lacks are fetched.
    pub(crate) pull: bool,
}

impl Default for ImagesPolicy {
    fn default() -> Self {
        Self { allow: ImageGlobs::public(), stored: true, pull: true }
    }
}

/// How sandboxes reach others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NetworkPolicy {
    /// The most that a sandbox may reach: none, group, public or any.
    #[serde(deserialize_with = "reach")]
    pub(crate) reach: Reach,
    /// What a sandbox reaches that says nothing.
    #[serde(deserialize_with = "some_reach")]
    pub(crate) default: Option<Reach>,
    /// Sandboxes may reach services of this machine.
    pub(crate) host: bool,
    /// Addresses at which ports may be published.
    pub(crate) publish: Publish,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self { reach: Reach::Public, default: None, host: false, publish: Publish::None }
    }
}

/// Addresses at which ports may be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Publish {
    /// No port is published.
    None,
    /// Loopback.
    Loopback,
    /// Every address of this machine.
    Any,
}

/// How many and how large sandboxes are, and which ones tools see.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SandboxesPolicy {
    /// Tools see the sandboxes made by MCP clients, or all.
    pub(crate) visible: Visible,
    /// Sandboxes of MCP clients at a time, running or not; throw-away ones count while they run.
    #[serde(deserialize_with = "count")]
    pub(crate) max: usize,
    /// Memory of one sandbox, MiB.
    #[serde(deserialize_with = "count")]
    pub(crate) max_memory_mib: u32,
    /// Memory of a sandbox that says nothing, MiB.
    #[serde(deserialize_with = "count")]
    pub(crate) default_memory_mib: u32,
    /// CPUs of one sandbox.
    #[serde(deserialize_with = "count")]
    pub(crate) max_cpus: u8,
    /// Disk of one sandbox, GiB.
    #[serde(deserialize_with = "count")]
    pub(crate) max_disk_gib: u64,
}

impl Default for SandboxesPolicy {
    fn default() -> Self {
        Self {
            visible: Visible::Own,
            max: 8,
            max_memory_mib: 4096,
            default_memory_mib: 512,
            max_cpus: 4,
            max_disk_gib: 8,
        }
    }
}

/// Which sandboxes tools see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Visible {
    /// Those that MCP clients made.
    Own,
    /// All of this user.
    All,
}

/// How long things may take, seconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TimePolicy {
    /// One call at most.
    #[serde(deserialize_with = "count")]
    pub(crate) max_call_seconds: u64,
    /// A command or program that says nothing.
    #[serde(deserialize_with = "count")]
    pub(crate) default_call_seconds: u64,
    /// A sandbox is stopped that long after its start.
    #[serde(deserialize_with = "count")]
    pub(crate) max_sandbox_seconds: u64,
    /// A sandbox is stopped when nobody has used it for that long; 0 for never.
    pub(crate) idle_seconds: u64,
}

impl Default for TimePolicy {
    fn default() -> Self {
        Self {
            max_call_seconds: 600,
            default_call_seconds: 120,
            max_sandbox_seconds: 24 * 3600,
            idle_seconds: 3600,
        }
    }
}

impl TimePolicy {
    pub(crate) fn max_call(&self) -> Duration {
        Duration::from_secs(self.max_call_seconds)
    }
}

/// How much of an output a result has.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OutputPolicy {
    /// The most that a call may ask for, bytes.
    #[serde(deserialize_with = "count")]
    pub(crate) max_bytes: usize,
    /// Where it says nothing, bytes.
    #[serde(deserialize_with = "count")]
    pub(crate) default_bytes: usize,
}

impl Default for OutputPolicy {
    fn default() -> Self {
        Self { max_bytes: 512 << 10, default_bytes: 32 << 10 }
    }
}

/// Which named volumes may be mounted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct VolumesPolicy {
    pub(crate) allow: Globs,
}

impl Default for VolumesPolicy {
    fn default() -> Self {
        Self { allow: Globs::new(&["mcp-*"]) }
    }
}

/// Which tools there are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ToolsPolicy {
    /// Tools that clients do not get.
    #[serde(deserialize_with = "tool_names")]
    pub(crate) deny: Vec<String>,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// The file cannot be read, or has a mistake; the error says at which line and column.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_FILE), &mut text).map_err(failed)?;
        let policy = Self::parse(&text, path)?;
        policy.paths.iter().try_for_each(AllowedPath::check)?;
        Ok(policy)
    }

    /// Reads a policy's text; `path` is for errors.
    fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let policy: Self = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let before = text.get(..start).unwrap_or_default();
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            Error::Policy {
                path: path.to_owned(),
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
                problem: error.message().replace('\n', "; "),
            }
        })?;
        policy.check_pairs().map_err(|problem| Error::Policy {
            path: path.to_owned(),
            line: 1,
            column: 1,
            problem,
        })?;
        Ok(policy)
    }

    /// Values that must fit each other.
    fn check_pairs(&self) -> Result<(), String> {
        let pairs = [
            ("sandboxes.default_memory_mib", u64::from(self.sandboxes.default_memory_mib)),
            ("sandboxes.max_memory_mib", u64::from(self.sandboxes.max_memory_mib)),
            ("time.default_call_seconds", self.time.default_call_seconds),
            ("time.max_call_seconds", self.time.max_call_seconds),
            ("output.default_bytes", self.output.default_bytes as u64),
            ("output.max_bytes", self.output.max_bytes as u64),
        ];
        for pair in pairs.chunks(2) {
            if let [(small, less), (large, most)] = pair
                && less > most
            {
                return Err(format!("{small} is {less}, which is more than {large} ({most})"));
            }
        }
        match self.network.default {
            Some(default) if check::rank(default) > check::rank(self.network.reach) => {
                Err("network.default reaches more than network.reach".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Adds a path of the host that tools may use.
    ///
    /// # Errors
    /// The path is not an existing directory.
    pub fn allow_path(&mut self, path: AllowedPath) -> Result<(), Error> {
        path.check()?;
        self.paths.push(path);
        Ok(())
    }
}

fn reach<'de, D: Deserializer<'de>>(from: D) -> Result<Reach, D::Error> {
    let text = String::deserialize(from)?;
    monocore_orchestrator::spec::parse_reach(&text).map_err(de::Error::custom)
}

fn some_reach<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Reach>, D::Error> {
    reach(from).map(Some)
}

/// A number above 0.
fn count<'de, D: Deserializer<'de>, T: Deserialize<'de> + PartialEq + Default>(
    from: D,
) -> Result<T, D::Error> {
    let value = T::deserialize(from)?;
    if value == T::default() {
        return Err(de::Error::custom("give a number above 0"));
    }
    Ok(value)
}

fn tool_names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    let known = crate::tool_names();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(names),
        Some(name) => Err(de::Error::custom(format!("no such tool: {name}; there are {}", known.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Policy, String> {
        Policy::parse(text, Path::new("p.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_policy_is_safe() {
        let policy = parse("").unwrap();
        assert!(policy.paths.is_empty() && !policy.network.host);
        assert_eq!(policy.network.reach, Reach::Public);
        assert_eq!(policy.network.publish, Publish::None);
        assert_eq!(policy.sandboxes.visible, Visible::Own);
    }

    #[test]
    fn the_printed_policy_has_the_defaults() {
        let mut printed = parse(POLICY_FILE).unwrap();
        assert_eq!(printed.network.default.take(), Some(Reach::Public));
        assert_eq!(format!("{printed:?}"), format!("{:?}", Policy::default()));
        assert!(parse(&POLICY_FILE.replace("# [[path]]\n# root", "[[path]]\nroot")).is_ok());
    }

    #[test]
    fn mistakes_are_located() {
        let cases = [
            ("[images]\nallow = [\"a\", \"[\"]\n", "p.toml:2:9: "),
            ("[network]\nreach = \"world\"\n", "p.toml:2:9: "),
            ("[network]\n\nbogus = 1\n", "p.toml:3:1: unknown field `bogus`"),
            ("[sandboxes]\nmax_cpus = 0\n", "p.toml:2:12: give a number above 0"),
            ("[sandboxes]\nmax_cpus = 1000\n", "p.toml:2:12: "),
            ("[time]\nmax_call_seconds = \"x\"\n", "p.toml:2:20: "),
            ("[tools]\ndeny = [\"exec\", \"nope\"]\n", "p.toml:2:8: no such tool: nope"),
            ("[[path]]\nroot = \"relative\"\n", "p.toml:2:8: "),
            ("[[path]]\nwrite = true\n", "p.toml:1:1: missing field `root`"),
            ("= 1", "p.toml:1:1: "),
            ("[output]\ndefault_bytes = 600000\n", "p.toml:1:1: output.default_bytes is 600000"),
            ("[network]\nreach = \"none\"\ndefault = \"any\"\n", "p.toml:1:1: network.default"),
        ];
        for (text, expected) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}: {error:?} is not {expected:?}");
        }
    }
}
