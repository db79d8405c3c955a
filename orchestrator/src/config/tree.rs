//! Values with their places: what every syntax is parsed into.

use std::path::Path;
use std::sync::Arc;

use super::ConfigError;

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: Arc<Path>,
    /// From 1; 0 means the whole file.
    pub(super) line: usize,
    /// In characters, from 1.
    pub(super) column: usize,
}

/// A value, where it is, and how it joins with the same key of an earlier file.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
    pub(super) joins: Joins,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// As written, without quotes.
    Scalar(Scalar, String),
    List(Vec<Node>),
    Table(Table),
}

/// What a scalar is by its syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Null,
    Bool,
    Int,
    Float,
    Text,
}

/// Compose's `!override` and `!reset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Joins {
    #[default]
    Merged,
    Replaces,
    Removes,
}

/// A key's value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Place,
    pub(super) node: Node,
}

/// Keys in the order of the file, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(Vec<Entry>);

impl Place {
    pub(super) fn file(file: &Arc<Path>) -> Self {
        Self { file: file.clone(), line: 0, column: 0 }
    }

    /// A problem here.
    pub(super) fn error(&self, key: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError::new(key, message).at(self)
    }
}

impl Node {
    pub(super) fn new(at: Place, value: Value) -> Self {
        Self { at, value, joins: Joins::default() }
    }

    pub(super) fn text(at: &Place, text: impl Into<String>) -> Self {
        Self::new(at.clone(), Value::Scalar(Scalar::Text, text.into()))
    }

    pub(super) fn list(at: &Place, list: Vec<Node>) -> Self {
        Self::new(at.clone(), Value::List(list))
    }

    pub(super) fn table(at: &Place, table: Table) -> Self {
        Self::new(at.clone(), Value::Table(table))
    }

    /// The text of a scalar that is there.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(Scalar::Null, _) | Value::List(_) | Value::Table(_) => None,
            Value::Scalar(_, text) => Some(text),
        }
    }

    pub(super) fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Scalar(Scalar::Null, _))
    }

    /// What it is, for a message.
    pub(super) fn noun(&self) -> &'static str {
        match &self.value {
            Value::Scalar(Scalar::Null, _) => "nothing",
            Value::Scalar(Scalar::Bool, _) => "true or false",
            Value::Scalar(Scalar::Int | Scalar::Float, _) => "a number",
            Value::Scalar(Scalar::Text, _) => "a text",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// A problem with this value, which is quoted when it is a scalar.
    pub(super) fn error(&self, key: impl Into<String>, message: impl Into<String>) -> ConfigError {
        let error = self.at.error(key, message);
        match self.as_text() {
            Some(text) => error.text(text),
            None => error,
        }
    }

    /// A problem of type.
    pub(super) fn expected(&self, key: impl Into<String>, what: &str) -> ConfigError {
        self.error(key, format!("expected {what}, found {}", self.noun()))
    }
}

impl Table {
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.0.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Entry> {
        let index = self.0.iter().position(|entry| entry.key == key)?;
        Some(self.0.remove(index))
    }

    /// Sets a key, in its old place if it has one.
    pub(super) fn set(&mut self, key: impl Into<String>, at: Place, node: Node) {
        let key = key.into();
        match self.0.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => *entry = Entry { key, at, node },
            None => self.0.push(Entry { key, at, node }),
        }
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Entry> {
        self.0.iter_mut()
    }
}

impl IntoIterator for Table {
    type Item = Entry;
    type IntoIter = std::vec::IntoIter<Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
