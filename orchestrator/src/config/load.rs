//! A project from its files.

mod extends;
mod include;
mod rebase;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::compose;
use super::find::{self, Dialect};
use super::interpolate::{Dollars, Interpolation};
use super::project::{LoadOptions, Project};
use super::tree::{Node, Place, Table};
use super::{
    ConfigError, ConfigErrors, Monocore, canonical, dotenv, merge, parse_toml, parse_yaml, read, validate,
};

/// The deepest chain of files that include or extend each other.
const MAX_FILES_DEEP: usize = 16;
/// The name of a text that is not a file, in errors.
const TEXT: &str = "config.yaml";
/// The most files of a project.
const MAX_FILES: usize = 256;

/// Reads a project: its files, those they include, `.env`.
///
/// # Errors
/// Every problem of every file, with file, line and column. Nothing is started or changed by this function.
pub fn load(options: &LoadOptions) -> Result<Project, ConfigErrors> {
    let found = find::files(options)?;
    let Some(first) = found.files.first() else {
        return Err(ConfigError::new("", "no file is named").into());
    };
    let dir = match &options.project_dir {
        Some(dir) => dir.clone(),
        None => first.parent().map(Path::to_path_buf).unwrap_or_default(),
    };
    let dir = std::path::absolute(if dir.as_os_str().is_empty() { Path::new(".") } else { &dir })
        .map_err(|error| ConfigError::new("", format!("the current directory cannot be found: {error}")))?;
    let mut loader = Loader::new(options, &dir);
    loader.read_env_files(options, &dir);
    let mut root = Table::default();
    for file in &found.files {
        if let Some(table) = loader.file(file, &dir, &Place::file(&Arc::from(file.as_path()))) {
            merge::merge(&mut root, table);
        }
    }
    loader.finish(options, root, dir)
}

/// Reads a project from a text with the keys of `monocore.toml`, in YAML or JSON. It has no file: relative paths are as
/// seen from the project's directory of `options`, and there is no `.env`.
///
/// # Errors
/// Every problem of the text, with line and column, and of the files that it includes.
pub fn load_text(text: &str, options: &LoadOptions) -> Result<Project, ConfigErrors> {
    let dir = options.project_dir.clone().unwrap_or_else(|| PathBuf::from("/"));
    let mut loader = Loader::new(options, &dir);
    let place: Arc<Path> = Arc::from(Path::new(TEXT));
    let mut root = Table::default();
    if let Some(mut table) = loader.parse(&place, text) {
        loader.extend_all(&mut table, &dir, &dir);
        let included = loader.included(&mut table, &dir, &dir);
        if let Some(table) = include::join(table, included, &mut loader.errors) {
            root = table;
        }
    }
    loader.finish(options, root, dir)
}

/// What files are read with, and what was found in them.
struct Loader {
    environment: BTreeMap<String, String>,
    /// Files that are being read: the file, then the one it includes, ….
    open: Vec<PathBuf>,
    files: Vec<PathBuf>,
    errors: Vec<ConfigError>,
    warnings: Vec<String>,
    unset: BTreeSet<String>,
}

impl Loader {
    fn new(options: &LoadOptions, dir: &Path) -> Self {
        let mut environment = BTreeMap::new();
        let name = options.project_name.clone().or_else(|| find::name_of(dir));
        environment.extend(name.map(|name| ("COMPOSE_PROJECT_NAME".to_owned(), name)));
        environment.extend(options.environment.clone());
        Self {
            environment,
            open: Vec::new(),
            files: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
            unset: BTreeSet::new(),
        }
    }

    /// Adds variables of `.env`, or of the files that were named instead; the caller's count more.
    fn read_env_files(&mut self, options: &LoadOptions, dir: &Path) {
        let standard = dir.join(".env");
        if !options.env_files.is_empty() {
            for file in &options.env_files {
                self.add_variables(file);
            }
        } else if standard.is_file() {
            self.add_variables(&standard);
        }
        self.environment.extend(options.environment.clone());
    }

    fn add_variables(&mut self, file: &Path) {
        let environment = &self.environment;
        match dotenv::read(file, &|name| environment.get(name).cloned()) {
            Ok(variables) => self.environment.extend(variables),
            Err(problem) => self.errors.push(Place::file(&Arc::from(file)).error("", problem)),
        }
    }

    /// The canonical tree of a file, with what it includes and extends; relative paths are as seen from `dir`.
    fn file(&mut self, file: &Path, dir: &Path, from: &Place) -> Option<Table> {
        let mut root = self.enter(file, from)?;
        let own = std::path::absolute(file).ok()?.parent()?.to_path_buf();
        self.extend_all(&mut root, &own, dir);
        let included = self.included(&mut root, &own, dir);
        self.open.pop();
        include::join(root, included, &mut self.errors)
    }

    /// Reads a file and remembers that it is open. Nothing when it cannot be read.
    fn enter(&mut self, file: &Path, from: &Place) -> Option<Table> {
        let place: Arc<Path> = Arc::from(file);
        let identity = file.canonicalize().unwrap_or_else(|_| file.to_path_buf());
        let problem = if self.open.contains(&identity) {
            Some("the files include each other".to_owned())
        } else if self.open.len() >= MAX_FILES_DEEP {
            Some(format!("files include files, more than {MAX_FILES_DEEP} deep"))
        } else if self.files.len() >= MAX_FILES {
            Some(format!("more than {MAX_FILES} files"))
        } else {
            None
        };
        if let Some(problem) = problem {
            self.errors.push(from.error("include", problem).text(file.display().to_string()));
            return None;
        }
        let text = match dotenv::read_bounded(file) {
            Ok(text) => text,
            Err(error) => {
                let problem = format!("{} cannot be read: {error}", file.display());
                self.errors.push(from.error("", problem));
                return None;
            }
        };
        let root = self.parse(&place, &text)?;
        self.open.push(identity);
        self.files.push(std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf()));
        Some(root)
    }

    /// Text to canonical tree.
    fn parse(&mut self, file: &Arc<Path>, text: &str) -> Option<Table> {
        let is_toml = file.extension().is_some_and(|extension| extension == "toml");
        let parsed = if is_toml { parse_toml::parse(file, text) } else { parse_yaml::parse(file, text) };
        let mut tree = match parsed {
            Ok(tree) => tree,
            Err(mut errors) => {
                self.errors.append(&mut errors);
                return None;
            }
        };
        let dialect = find::dialect(file, &tree);
        let environment = &self.environment;
        let mut interpolation = Interpolation {
            lookup: &|name| environment.get(name).cloned(),
            dollars: if dialect == Dialect::Compose { Dollars::Compose } else { Dollars::Braces },
            unset: BTreeSet::new(),
        };
        interpolation.tree(&mut tree, &mut self.errors);
        self.unset.append(&mut interpolation.unset);
        Some(match dialect {
            Dialect::Compose => compose::canonical(tree, &mut self.errors, &mut self.warnings),
            Dialect::Monocore => canonical::canonical(tree, &mut self.errors),
        })
    }

    /// The model, validated and reduced to what is active.
    fn finish(
        mut self,
        options: &LoadOptions,
        mut root: Table,
        dir: PathBuf,
    ) -> Result<Project, ConfigErrors> {
        root.iter_mut().for_each(|entry| merge::settle(&mut entry.node));
        compose::settle(&mut root, &mut self.errors);
        let mut reading = read::read(&root);
        reading.settle_networks();
        let problems = reading.config.problems();
        self.errors.append(&mut reading.errors);
        self.errors.extend(problems.into_iter().map(|error| reading.locate(error)));
        if self.errors.is_empty() && reading.config.services.is_empty() {
            self.errors.push(ConfigError::new("service", "the project has no services").at(&self.whole()));
        }
        let name = self.project_name(options, &reading.config, &dir);
        if self.errors.is_empty() {
            let mut errors = std::mem::take(&mut self.errors);
            let inactive = activate(&mut reading.config, &options.profiles);
            errors.extend(inactive.into_iter().map(|error| reading.locate(error)));
            self.errors = errors;
        }
        self.warnings
            .extend(self.unset.iter().map(|name| format!("variable {name} is not set: it counts as empty")));
        let project = Project {
            name,
            dir,
            files: self.files,
            environment: self.environment,
            config: reading.config.clone(),
            warnings: self.warnings,
        };
        if self.errors.is_empty() {
            // Environment files are read when sandboxes are described; what is wrong with them shows now.
            for service in &project.config.services {
                let problems = service.sandbox_spec(&project).err();
                let problems = problems.iter().flat_map(ConfigErrors::iter);
                self.errors.extend(problems.map(|error| reading.locate(error.clone())));
            }
        }
        in_order(&mut self.errors);
        ConfigErrors::check(self.errors)?;
        Ok(project)
    }

    fn whole(&self) -> Place {
        let file = self.files.first().cloned().unwrap_or_default();
        Place::file(&Arc::from(file))
    }

    fn project_name(&mut self, options: &LoadOptions, config: &Monocore, dir: &Path) -> String {
        let given = options.project_name.clone().or_else(|| config.name.clone());
        let name = given.or_else(|| find::name_of(dir)).unwrap_or_else(|| "project".to_owned());
        if options.project_name.is_some()
            && let Err(error) = validate::check_project_name(&name)
        {
            self.errors.push(ConfigError::new("name", error.problem()).text(&name));
        }
        name
    }
}

/// Keeps the services of active profiles; one that needs an inactive service is a problem.
fn activate(config: &mut Monocore, profiles: &[String]) -> Vec<ConfigError> {
    let everything = profiles.iter().any(|profile| profile == "*");
    let all = std::mem::take(&mut config.services);
    let (active, inactive): (Vec<_>, Vec<_>) = all.into_iter().partition(|service| {
        everything
            || service.profiles.is_empty()
            // As Compose has it, the empty profile is active.
            || service.profiles.iter().any(String::is_empty)
            || service.profiles.iter().any(|profile| profiles.contains(profile))
    });
    let mut errors = Vec::new();
    for service in &active {
        for (name, _) in service.depends_on.iter().filter(|(_, dependency)| dependency.required) {
            if let Some(other) = inactive.iter().find(|other| other.name == *name) {
                let key = format!("service.{}.depends_on.{name}", service.name);
                let error = ConfigError::new(key, "the service is in no active profile").text(name);
                errors.push(error.suggest(format!("activate profile {}", other.profiles[0])));
            }
        }
    }
    config.services = active;
    errors
}

/// By file and line, each once.
fn in_order(errors: &mut Vec<ConfigError>) {
    errors.sort_by(|a, b| (&a.file, a.line, a.column, &a.key).cmp(&(&b.file, b.line, b.column, &b.key)));
    errors.dedup();
}

/// The list at a key, taken out of a table.
fn take_list(table: &mut Table, key: &str) -> Vec<Node> {
    use super::tree::{Entry, Value};
    match table.remove(key) {
        Some(Entry { node, .. }) if node.is_null() => Vec::new(),
        Some(Entry { node, .. }) => match canonical::list(node).value {
            Value::List(list) => list,
            _ => Vec::new(),
        },
        None => Vec::new(),
    }
}
