//! The keys of one table: each is asked for once, the rest is unknown.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use super::Reading;
use crate::config::suggest::closest;
use crate::config::tree::{Entry, Node, Scalar, Table, Value};
use crate::spec::parse_duration;

/// Words of other tools, and the key that is meant.
const SYNONYMS: [(&str, &str); 16] = [
    ("image", "base"),
    ("environment", "envs"),
    ("memory", "ram"),
    ("mem", "ram"),
    ("mem_limit", "ram"),
    ("cpu", "cpus"),
    ("vcpus", "cpus"),
    ("working_dir", "workdir"),
    ("cwd", "workdir"),
    ("networks", "group"),
    ("network_mode", "network"),
    ("cmd", "command"),
    ("exec", "command"),
    ("health", "healthcheck"),
    ("scale", "replicas"),
    ("dependencies", "depends_on"),
];

pub(super) struct Fields<'a> {
    reading: &'a mut Reading,
    table: &'a Table,
    key: String,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(reading: &'a mut Reading, table: &'a Table, key: &str) -> Self {
        Self { reading, table, key: key.to_owned(), known: Vec::new() }
    }

    /// Keys that somebody else reads.
    pub(super) fn known(&mut self, keys: &[&'static str]) {
        self.known.extend(keys);
    }

    fn path(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }

    /// A key's value, unless it is absent or null; its place is noted.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'a Node> {
        self.known.push(name);
        let entry = self.table.entry(name)?;
        let path = self.path(name);
        self.reading.note(path, &entry.node.at);
        Some(&entry.node).filter(|node| !node.is_null())
    }

    fn expected(&mut self, name: &str, node: &Node, what: &str) {
        let error = node.expected(self.path(name), what);
        self.reading.errors.push(error);
    }

    pub(super) fn wrong(&mut self, name: &str, node: &Node, problem: &str) {
        let error = node.error(self.path(name), problem);
        self.reading.errors.push(error);
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        let node = self.take(name)?;
        match node.as_text() {
            Some(text) => Some(text.to_owned()),
            None => {
                self.expected(name, node, "a text");
                None
            }
        }
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Option<bool> {
        let node = self.take(name)?;
        match node.as_text() {
            Some("true" | "True" | "TRUE" | "yes" | "on") => Some(true),
            Some("false" | "False" | "FALSE" | "no" | "off") => Some(false),
            _ => {
                self.expected(name, node, "true or false");
                None
            }
        }
    }

    pub(super) fn number<T: FromStr>(&mut self, name: &'static str) -> Option<T> {
        let node = self.take(name)?;
        let number = node.as_text().and_then(|text| text.parse().ok());
        if number.is_none() {
            match &node.value {
                Value::Scalar(Scalar::Int, _) => self.wrong(name, node, "the number is out of range"),
                _ => self.expected(name, node, "a number"),
            }
        }
        number
    }

    /// What a parser of [`crate::spec`] makes of a text or number.
    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        what: &str,
        parse: impl FnOnce(&Node, &str) -> Result<T, String>,
    ) -> Option<T> {
        let node = self.take(name)?;
        let Some(text) = node.as_text() else {
            self.expected(name, node, what);
            return None;
        };
        parse(node, text).map_err(|problem| self.wrong(name, node, &problem)).ok()
    }

    pub(super) fn duration(&mut self, name: &'static str) -> Option<Duration> {
        self.parsed(name, "a duration", |_, text| {
            parse_duration(text).map_err(|error| error.problem().to_owned())
        })
    }

    pub(super) fn texts(&mut self, name: &'static str) -> Vec<String> {
        let mut texts = Vec::new();
        for (index, node) in self.list(name).into_iter().enumerate() {
            let path = format!("{}[{index}]", self.path(name));
            match node.as_text() {
                Some(text) => texts.push(text.to_owned()),
                None => {
                    let error = node.expected(path, "a text");
                    self.reading.errors.push(error);
                }
            }
        }
        texts
    }

    /// The elements of a list; one value alone is a list of it.
    pub(super) fn list(&mut self, name: &'static str) -> Vec<&'a Node> {
        let Some(node) = self.take(name) else { return Vec::new() };
        let list: Vec<&Node> = match &node.value {
            Value::List(list) => list.iter().collect(),
            Value::Scalar(..) => vec![node],
            Value::Table(_) => {
                self.expected(name, node, "a list");
                return Vec::new();
            }
        };
        for (index, node) in list.iter().enumerate() {
            let path = format!("{}[{index}]", self.path(name));
            self.reading.note(path, &node.at);
        }
        list
    }

    /// A table of texts.
    pub(super) fn map(&mut self, name: &'static str) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        for entry in self.entries(name) {
            if let Some(text) = entry.node.as_text() {
                map.insert(entry.key.clone(), text.to_owned());
            } else if entry.node.is_null() {
                map.insert(entry.key.clone(), String::new());
            } else {
                let error = entry.node.expected(format!("{}.{}", self.path(name), entry.key), "a text");
                self.reading.errors.push(error);
            }
        }
        map
    }

    /// The entries of a table; the place of each is noted.
    pub(super) fn entries(&mut self, name: &'static str) -> Vec<&'a Entry> {
        let Some(node) = self.take(name) else { return Vec::new() };
        let Some(table) = node.as_table() else {
            self.expected(name, node, "a table");
            return Vec::new();
        };
        let entries: Vec<&Entry> = table.iter().collect();
        for entry in &entries {
            let path = format!("{}.{}", self.path(name), entry.key);
            self.reading.note(path, &entry.at);
        }
        entries
    }

    /// The keys of a table that is somewhere below this one.
    pub(super) fn below(&mut self, name: &str, table: &'a Table) -> Fields<'_> {
        let key = self.path(name);
        Fields::new(self.reading, table, &key)
    }

    /// A table's keys.
    pub(super) fn nested(&mut self, name: &'static str) -> Option<Fields<'_>> {
        let node = self.take(name)?;
        match node.as_table() {
            Some(table) => {
                let key = self.path(name);
                Some(Fields::new(self.reading, table, &key))
            }
            None => {
                self.expected(name, node, "a table");
                None
            }
        }
    }

    /// Keys that nobody asked for are unknown; those that begin with `x-` are the user's own.
    pub(super) fn finish(self) {
        let unknown = self
            .table
            .iter()
            .filter(|entry| !entry.key.starts_with("x-") && !self.known.contains(&entry.key.as_str()));
        for entry in unknown {
            let synonym = SYNONYMS
                .iter()
                .find(|(other, key)| *other == entry.key && self.known.contains(key))
                .map(|(_, key)| *key);
            let error = entry.at.error(self.path(&entry.key), "unknown key").text(&entry.key);
            let meant = synonym.or_else(|| closest(&entry.key, self.known.iter().copied()));
            self.reading.errors.push(match meant {
                Some(key) => error.suggest(format!("did you mean `{key}`?")),
                None => error,
            });
        }
    }
}
