//! Which files a project has, and in whose keys they are written.

use std::path::{Path, PathBuf};

use super::tree::{Node, Table};
use super::{ConfigError, ConfigErrors, LoadOptions};

/// Names of project files, the first that is there counts.
const NAMES: [&str; 7] = [
    "monocore.toml",
    "monocore.yaml",
    "monocore.yml",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];

/// Whose keys a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Monocore,
    Compose,
}

pub(super) struct Found {
    pub(super) files: Vec<PathBuf>,
}

/// The files that are named, else those of the nearest directory that has one.
pub(super) fn files(options: &LoadOptions) -> Result<Found, ConfigErrors> {
    if !options.files.is_empty() {
        return Ok(Found { files: options.files.clone() });
    }
    let start = options.project_dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let start = std::path::absolute(&start)
        .map_err(|error| ConfigError::new("", format!("the current directory cannot be found: {error}")))?;
    for dir in start.ancestors() {
        if let Some(file) = NAMES.iter().map(|name| dir.join(name)).find(|file| file.is_file()) {
            return Ok(Found { files: with_override(file) });
        }
    }
    let error = ConfigError::new("", format!("no project in {} or above", start.display()));
    Err(error.suggest("make one with `monocore init`, or name a file with -f").into())
}

/// A Compose file and the override file beside it, which Compose reads unasked.
fn with_override(file: PathBuf) -> Vec<PathBuf> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = ["compose", "docker-compose"]
        .into_iter()
        .find(|stem| name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.')));
    let beside = stem.and_then(|stem| {
        let names =
            ["yaml", "yml"].map(|extension| file.with_file_name(format!("{stem}.override.{extension}")));
        names.into_iter().find(|other| other.is_file())
    });
    std::iter::once(file).chain(beside).collect()
}

/// By its name; a file of another name by what is in it.
pub(super) fn dialect(file: &Path, root: &Node) -> Dialect {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if file.extension().is_some_and(|extension| extension == "toml") || name.starts_with("monocore.") {
        return Dialect::Monocore;
    }
    let has = |key: &str| root.as_table().is_some_and(|table: &Table| table.get(key).is_some());
    if name.contains("compose") || has("services") || !has("service") {
        Dialect::Compose
    } else {
        Dialect::Monocore
    }
}

/// A project's name after its directory, as Compose makes it: lower case, other characters dropped.
pub(super) fn name_of(dir: &Path) -> Option<String> {
    let name = dir.file_name()?.to_string_lossy().to_lowercase();
    let kept =
        name.chars().filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
    let name: String = kept.collect();
    let name = name.trim_start_matches(['-', '_']).chars().take(63).collect::<String>();
    (!name.is_empty()).then_some(name)
}
