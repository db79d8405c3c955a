//! `include`: other projects' files as a part of this one.

use std::path::Path;

use super::{Loader, merge, rebase, take_list};
use crate::config::ConfigError;
use crate::config::canonical::list;
use crate::config::tree::{Entry, Node, Place, Table, Value};

impl Loader {
    /// The trees of the files that `root` includes, with paths as seen from `dir`.
    pub(super) fn included(&mut self, root: &mut Table, own: &Path, dir: &Path) -> Vec<Table> {
        let mut included = Vec::new();
        for node in take_list(root, "include") {
            let Some(include) = self.include(&node, own) else { continue };
            let first = include.paths.first().map(|(path, _)| path.clone()).unwrap_or_default();
            let base = match include.directory {
                Some(directory) => own.join(directory),
                None => first.parent().map(Path::to_path_buf).unwrap_or_default(),
            };
            let outer = self.environment.clone();
            let env_files = match include.env_files.is_empty() {
                false => include.env_files.iter().map(|file| own.join(file)).collect(),
                true => Some(base.join(".env")).filter(|file| file.is_file()).into_iter().collect::<Vec<_>>(),
            };
            for file in &env_files {
                self.add_variables(file);
            }
            // The including project's variables count more.
            self.environment.extend(outer.clone());
            let mut tree = Table::default();
            for (path, at) in &include.paths {
                if let Some(table) = self.file(path, &base, at) {
                    merge::merge(&mut tree, table);
                }
            }
            self.environment = outer;
            tree.remove("name");
            rebase::rebase(&mut tree, &base, dir);
            included.push(tree);
        }
        included
    }

    /// A path, or a table of `path`, `project_directory` and `env_file`.
    fn include(&mut self, node: &Node, own: &Path) -> Option<Include> {
        let mut include = Include::default();
        let table = match (&node.value, node.as_text()) {
            (_, Some(path)) => {
                include.paths.push((own.join(path), node.at.clone()));
                return Some(include);
            }
            (Value::Table(table), _) => table,
            _ => {
                self.errors.push(node.expected("include", "the path of a file"));
                return None;
            }
        };
        for Entry { key, at, node } in table.clone() {
            let texts: Vec<(String, Place)> = match list(node).value {
                Value::List(list) => list
                    .iter()
                    .filter_map(|node| Some((node.as_text()?.to_owned(), node.at.clone())))
                    .collect(),
                _ => Vec::new(),
            };
            match key.as_str() {
                "path" => include.paths.extend(texts.into_iter().map(|(text, at)| (own.join(text), at))),
                "project_directory" => include.directory = texts.into_iter().next().map(|(text, _)| text),
                "env_file" => include.env_files.extend(texts.into_iter().map(|(text, _)| text)),
                _ => self.errors.push(
                    at.error(format!("include.{key}"), "unknown key")
                        .text(&key)
                        .suggest("there are path, project_directory and env_file"),
                ),
            }
        }
        if include.paths.is_empty() {
            self.errors.push(node.at.error("include", "`path` is missing"));
            return None;
        }
        Some(include)
    }
}

#[derive(Default)]
struct Include {
    paths: Vec<(std::path::PathBuf, Place)>,
    directory: Option<String>,
    env_files: Vec<String>,
}

/// `root` and what it includes; nothing may be in two of them.
pub(super) fn join(root: Table, included: Vec<Table>, errors: &mut Vec<ConfigError>) -> Option<Table> {
    let mut all = Table::default();
    for table in included.into_iter().chain([root]) {
        for Entry { key: kind, at, node } in table {
            let Value::Table(more) = node.value else {
                all.set(kind, at, node);
                continue;
            };
            let Some(Node { value: Value::Table(known), .. }) = all.get_mut(&kind) else {
                all.set(kind, at, Node::table(&node.at, more));
                continue;
            };
            for Entry { key, at, node } in more {
                // The default network of each file is one.
                if known.get(&key).is_some() && !(kind == "group" && key == "default") {
                    let problem = format!("an included file has a {kind} of this name already");
                    errors.push(at.error(format!("{kind}.{key}"), problem).text(&key));
                } else {
                    known.set(key, at, node);
                }
            }
        }
    }
    Some(all)
}
