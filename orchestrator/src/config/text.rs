//! A configuration as text and back, without files around it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::find::{Dialect, dialect};
use super::interpolate::{Dollars, Interpolation};
use super::tree::{Node, Place, Scalar, Table, Value};
use super::{ConfigErrors, Monocore, canonical, compose, merge, parse_toml, parse_yaml, read};

impl Monocore {
    /// The configuration as `monocore.toml`. [`Self::parse`] of the text gives the same configuration.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let Ok(mut value) = toml::Value::try_from(self) else { return String::new() };
        escape(&mut value);
        toml::to_string_pretty(&value).unwrap_or_default()
    }

    /// Reads one text: TOML if `file` ends so, else YAML or JSON, in the keys of monocore or of Compose. Variables come
    /// from `environment`; other files are not read, so `include` and `extends` have no effect.
    ///
    /// # Errors
    /// Every problem of the text; `file` is the name they have it by.
    pub fn parse(
        file: &Path,
        text: &str,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigErrors> {
        let place: Arc<Path> = Arc::from(file);
        let is_toml = file.extension().is_some_and(|extension| extension == "toml");
        let parsed = if is_toml { parse_toml::parse(&place, text) } else { parse_yaml::parse(&place, text) };
        let mut tree = match parsed {
            Ok(tree) => tree,
            Err(errors) => return Err(ConfigErrors::check(errors).err().unwrap_or_default()),
        };
        let dialect = dialect(file, &tree);
        let mut errors = Vec::new();
        let mut interpolation = Interpolation {
            lookup: &|name| environment.get(name).cloned(),
            dollars: if dialect == Dialect::Compose { Dollars::Compose } else { Dollars::Braces },
            unset: BTreeSet::new(),
        };
        interpolation.tree(&mut tree, &mut errors);
        let (config, more) = model(tree, dialect);
        errors.extend(more);
        ConfigErrors::check(errors)?;
        Ok(config)
    }
}

/// The model of one tree, and its problems.
fn model(tree: Node, dialect: Dialect) -> (Monocore, Vec<super::ConfigError>) {
    let mut errors = Vec::new();
    let mut root = match dialect {
        Dialect::Compose => compose::canonical(tree, &mut errors, &mut Vec::new()),
        Dialect::Monocore => canonical::canonical(tree, &mut errors),
    };
    root.iter_mut().for_each(|entry| merge::settle(&mut entry.node));
    if let Some(Node { value: Value::Table(services), .. }) = root.get_mut("service") {
        for service in services.iter_mut() {
            if let Value::Table(service) = &mut service.node.value {
                service.remove("extends");
            }
        }
    }
    compose::settle(&mut root, &mut errors);
    let mut reading = read::read(&root);
    reading.settle_networks();
    errors.append(&mut reading.errors);
    errors.extend(reading.config.problems().into_iter().map(|error| reading.locate(error)));
    (reading.config, errors)
}

/// What would be read as a variable is written so that it is not.
fn escape(value: &mut toml::Value) {
    match value {
        toml::Value::String(text) => *text = text.replace("${", "$${"),
        toml::Value::Array(list) => list.iter_mut().for_each(escape),
        toml::Value::Table(table) => table.iter_mut().for_each(|(_, value)| escape(value)),
        _ => {}
    }
}

/// The keys of `monocore.toml`, in any format of serde. Variables are not replaced.
impl<'de> Deserialize<'de> for Monocore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tree = deserializer.deserialize_any(TreeVisitor)?;
        let (config, errors) = model(tree, Dialect::Monocore);
        match ConfigErrors::check(errors) {
            Ok(()) => Ok(config),
            Err(errors) => Err(D::Error::custom(errors)),
        }
    }
}

/// A place in no file.
fn nowhere() -> Place {
    Place::file(&Arc::from(Path::new("")))
}

struct TreeVisitor;

/// A tree in a list or table.
struct Tree(Node);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor).map(Tree)
    }
}

fn scalar(kind: Scalar, text: impl ToString) -> Node {
    Node::new(nowhere(), Value::Scalar(kind, text.to_string()))
}

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(scalar(Scalar::Bool, value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(scalar(Scalar::Int, value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(scalar(Scalar::Int, value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(scalar(Scalar::Float, value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(scalar(Scalar::Text, value))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(scalar(Scalar::Null, ""))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(scalar(Scalar::Null, ""))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(Tree(node)) = access.next_element()? {
            list.push(node);
        }
        Ok(Node::list(&nowhere(), list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut table = Table::default();
        while let Some((key, Tree(node))) = access.next_entry::<String, Tree>()? {
            if table.get(&key).is_some() {
                return Err(A::Error::custom(format!("key {key} stands twice")));
            }
            table.set(key, nowhere(), node);
        }
        Ok(Node::table(&nowhere(), table))
    }
}
