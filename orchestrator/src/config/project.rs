//! A project: a configuration, its name and its directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ConfigError, ConfigErrors, Monocore};
use crate::Error;

/// A configuration in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Project {
    /// The project's name: given, of the file, or of the directory.
    pub name: String,
    /// The absolute directory to which relative paths of the configuration refer.
    pub dir: PathBuf,
    /// The files it was read from; none where a program built it.
    pub files: Vec<PathBuf>,
    /// Variables of the caller and of `.env`, for `envs` that only name one.
    pub environment: BTreeMap<String, String>,
    /// The active services and all groups.
    pub config: Monocore,
    /// What is odd and no error.
    pub warnings: Vec<String>,
}

/// What is read, and how.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The files, merged in this order; when empty, `monocore.toml`, `monocore.yaml`, `compose.yaml` or
    /// `docker-compose.yaml` in the directory or the nearest parent that has one.
    pub files: Vec<PathBuf>,
    /// The project's name, over that of the files.
    pub project_name: Option<String>,
    /// The directory of relative paths; that of the first file when there is none.
    pub project_dir: Option<PathBuf>,
    /// Files of variables for `${…}`, instead of `.env` in the project's directory.
    pub env_files: Vec<PathBuf>,
    /// Active profiles; `*` activates all.
    pub profiles: Vec<String>,
    /// The caller's variables; they count more than those of files.
    pub environment: BTreeMap<String, String>,
}

impl LoadOptions {
    /// Whether there is a project file to read: one is named, or the directory or a parent has one.
    #[must_use]
    pub fn has_files(&self) -> bool {
        super::find::files(self).is_ok()
    }
}

impl Project {
    /// A project whose configuration a program built.
    ///
    /// # Errors
    /// A name that is not possible.
    pub fn new(
        name: impl Into<String>,
        dir: impl Into<PathBuf>,
        config: Monocore,
    ) -> Result<Self, ConfigErrors> {
        let name = name.into();
        if let Err(error) = super::validate::check_project_name(&name) {
            return Err(ConfigError::new("name", error.problem()).text(name).into());
        }
        Ok(Self {
            name,
            dir: std::path::absolute(dir.into()).unwrap_or_else(|_| PathBuf::from("/")),
            files: Vec::new(),
            environment: BTreeMap::new(),
            config,
            warnings: Vec::new(),
        })
    }
    /// `path` of this host, absolute or as seen from the project's directory, `~/` from the home directory.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        let home = self.environment.get("HOME").map(String::as_str);
        super::texts::absolute(&self.dir, Path::new(path), home)
    }

    /// Sets how many sandboxes `service` has.
    ///
    /// # Errors
    /// There is no such service, or so many of it are not possible.
    pub fn scale(&mut self, service: &str, replicas: u16) -> Result<(), Error> {
        let Some(found) = self.config.services.iter_mut().find(|other| other.name == service) else {
            return Err(Error::NoService { project: self.name.clone(), service: service.to_owned() });
        };
        found.replicas = replicas;
        Ok(self.config.validate()?)
    }
}
