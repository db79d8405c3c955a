//! `extends`: a service made of another one, of the same file or of a second one.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Loader, merge, rebase};
use crate::config::ConfigError;
use crate::config::suggest::did_you_mean;
use crate::config::tree::{Entry, Node, Table, Value};

impl Loader {
    /// Makes every service of `root` whole.
    pub(super) fn extend_all(&mut self, root: &mut Table, own: &Path, dir: &Path) {
        let Some(Node { value: Value::Table(services), .. }) = root.get("service") else { return };
        let services = services.clone();
        let mut done = BTreeMap::new();
        let mut whole = Table::default();
        for entry in services.iter() {
            let mut open = Vec::new();
            if let Some(table) = self.extended(&services, &entry.key, own, dir, &mut open, &mut done) {
                whole.set(
                    entry.key.clone(),
                    entry.at.clone(),
                    Node { value: Value::Table(table), ..entry.node.clone() },
                );
            }
        }
        if let Some(node) = root.get_mut("service") {
            node.value = Value::Table(whole);
        }
    }

    /// One service with what it extends.
    fn extended(
        &mut self,
        services: &Table,
        name: &str,
        own: &Path,
        dir: &Path,
        open: &mut Vec<String>,
        done: &mut BTreeMap<String, Table>,
    ) -> Option<Table> {
        if let Some(table) = done.get(name) {
            return Some(table.clone());
        }
        let Value::Table(mut table) = services.get(name)?.value.clone() else { return None };
        let Some(extends) = table.remove("extends").filter(|entry| !entry.node.is_null()) else {
            done.insert(name.to_owned(), table.clone());
            return Some(table);
        };
        open.push(name.to_owned());
        let (base_name, base_file) = self.base(name, &extends)?;
        let key = format!("service.{name}.extends");
        let mut base = match base_file {
            Some(path) => self.of_file(&own.join(path), &base_name, dir, &key, &extends)?,
            None if open.contains(&base_name) => {
                let path = open.join(" -> ");
                let problem = format!("the services extend each other: {path} -> {base_name}");
                self.errors.push(extends.node.at.error(key, problem).text(base_name));
                return None;
            }
            None if services.get(&base_name).is_none() => {
                self.errors.push(unknown(&extends, &key, &base_name, services));
                return None;
            }
            None => self.extended(services, &base_name, own, dir, open, done)?,
        };
        merge::merge(&mut base, table);
        done.insert(name.to_owned(), base.clone());
        Some(base)
    }

    /// The service and file that `extends` names.
    fn base(&mut self, name: &str, extends: &Entry) -> Option<(String, Option<String>)> {
        let key = format!("service.{name}.extends");
        if let Some(service) = extends.node.as_text() {
            return Some((service.to_owned(), None));
        }
        let Some(table) = extends.node.as_table() else {
            self.errors.push(extends.node.expected(key, "a service, or a table of `service` and `file`"));
            return None;
        };
        for entry in table.iter().filter(|entry| !matches!(entry.key.as_str(), "service" | "file")) {
            self.errors.push(entry.at.error(format!("{key}.{}", entry.key), "unknown key").text(&entry.key));
        }
        let text = |key: &str| table.get(key).and_then(Node::as_text).map(str::to_owned);
        let Some(service) = text("service") else {
            self.errors.push(extends.node.at.error(key, "`service` is missing"));
            return None;
        };
        Some((service, text("file")))
    }

    /// A service of another file, with paths as seen from `dir`.
    fn of_file(&mut self, path: &Path, name: &str, dir: &Path, key: &str, extends: &Entry) -> Option<Table> {
        let root = self.enter(path, &extends.node.at)?;
        let own = std::path::absolute(path).ok()?.parent()?.to_path_buf();
        let mut found = None;
        if let Some(Node { value: Value::Table(services), .. }) = root.get("service") {
            if services.get(name).is_some() {
                found = self.extended(services, name, &own, &own, &mut Vec::new(), &mut BTreeMap::new());
            } else {
                self.errors.push(unknown(extends, key, name, services));
            }
        }
        self.open.pop();
        let mut found = found?;
        rebase::service(&mut found, &own, dir);
        Some(found)
    }
}

fn unknown(extends: &Entry, key: &str, name: &str, services: &Table) -> ConfigError {
    let error = extends.node.at.error(key, "no service has this name").text(name);
    match did_you_mean(name, services.iter().map(|entry| entry.key.as_str())) {
        Some(suggestion) => error.suggest(suggestion),
        None => error,
    }
}
