//! TOML to a tree.

use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::tree::{Node, Place, Scalar, Table, Value};

/// The tree of a file; every syntax error is a problem.
pub(super) fn parse(file: &Arc<Path>, text: &str) -> Result<Node, Vec<ConfigError>> {
    let lines = Lines::new(file, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Node::table(
            &Place { file: file.clone(), line: 1, column: 1 },
            lines.table(root.get_ref()),
        ));
    }
    let located = errors.iter().map(|error| {
        let span = error.span().unwrap_or(0..0);
        let written = text.get(span.clone()).filter(|text| !text.trim().is_empty() && text.len() < 80);
        let located = lines.place(span.start).error("", error.message());
        match written {
            Some(written) => located.text(written),
            None => located,
        }
    });
    Err(located.collect())
}

/// Where each line of a text begins.
struct Lines<'a> {
    file: &'a Arc<Path>,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(file: &'a Arc<Path>, text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file, text, starts }
    }

    /// The place of a byte.
    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line.saturating_sub(1)];
        let column = self.text.get(start..offset).map_or(0, |text| text.chars().count());
        Place { file: self.file.clone(), line, column: column + 1 }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let mut entries: Vec<_> = table.iter().collect();
        // A sub-table's span is its header's: the order of the file.
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut tree = Table::default();
        for (key, value) in entries {
            tree.set(key.get_ref().as_ref(), self.place(key.span().start), self.node(value));
        }
        tree
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        let scalar = |kind, text: &str| Value::Scalar(kind, text.to_owned());
        let tree = match value.get_ref() {
            DeValue::String(text) => scalar(Scalar::Text, text),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => scalar(Scalar::Int, &number.to_string()),
                Err(_) => scalar(Scalar::Int, number.as_str()),
            },
            DeValue::Float(number) => scalar(Scalar::Float, number.as_str()),
            DeValue::Boolean(true) => scalar(Scalar::Bool, "true"),
            DeValue::Boolean(false) => scalar(Scalar::Bool, "false"),
            DeValue::Datetime(time) => scalar(Scalar::Text, &time.to_string()),
            DeValue::Array(list) => Value::List(list.iter().map(|value| self.node(value)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node::new(self.place(value.span().start), tree)
    }
}
