//! The canonical tree of a file: services, groups, volumes and secrets by name, each key in one shape. Files of any
//! syntax are merged in this form.

use super::ConfigError;
use super::suggest::did_you_mean;
use super::tree::{Entry, Node, Place, Scalar, Table, Value};

/// The keys of a file.
const ROOT: [&str; 7] = ["name", "service", "group", "volume", "secret", "include", "network"];
/// Keys of a service that are lists; one value alone is a list of it.
const LISTS: [&str; 20] = [
    "group",
    "args",
    "ports",
    "volumes",
    "mounts",
    "tmpfs",
    "env_file",
    "group_envs",
    "group_volumes",
    "profiles",
    "secrets",
    "extra_hosts",
    "dns",
    "dns_search",
    "aliases",
    "links",
    "ulimits",
    "entrypoint",
    "envs",
    "watch",
];
/// Other spellings of keys.
const PLURALS: [(&str, &str); 10] = [
    ("port", "ports"),
    ("groups", "group"),
    ("volume", "volumes"),
    ("env", "envs"),
    ("env_files", "env_file"),
    ("profile", "profiles"),
    ("label", "labels"),
    ("script", "scripts"),
    ("alias", "aliases"),
    ("secret", "secrets"),
];

/// The canonical tree of a file in monocore's own keys.
pub(super) fn canonical(root: Node, errors: &mut Vec<ConfigError>) -> Table {
    let at = root.at.clone();
    let Value::Table(root) = root.value else {
        errors.push(Node { value: root.value, ..Node::text(&at, "") }.expected("", "a table"));
        return Table::default();
    };
    let mut canonical = Table::default();
    for Entry { key, at, node } in root {
        match key.as_str() {
            "name" => canonical.set("name", at, node),
            "include" | "import" | "imports" => canonical.set("include", at, node),
            "service" | "services" => collect(&mut canonical, "service", &at, node, errors, service),
            "group" | "groups" => collect(&mut canonical, "group", &at, node, errors, group),
            "volume" | "volumes" => collect(&mut canonical, "volume", &at, node, errors, as_it_is),
            "secret" | "secrets" => collect(&mut canonical, "secret", &at, node, errors, as_it_is),
            _ if key.starts_with("x-") => {}
            _ => {
                let error = at.error(&key, "unknown key").text(&key);
                errors.push(match did_you_mean(&key, ROOT) {
                    Some(suggestion) => error.suggest(suggestion),
                    None => error.suggest("there are name, service, group, volume, secret and include"),
                });
            }
        }
    }
    canonical
}

type Canonical = fn(&str, Table, &mut Vec<ConfigError>) -> Table;

fn as_it_is(_: &str, table: Table, _: &mut Vec<ConfigError>) -> Table {
    table
}

/// Adds a list of tables with names, or a table of tables, as a table by name.
fn collect(
    canonical: &mut Table,
    kind: &str,
    at: &Place,
    node: Node,
    errors: &mut Vec<ConfigError>,
    each: Canonical,
) {
    let mut all = match canonical.remove(kind) {
        Some(Entry { node: Node { value: Value::Table(table), .. }, .. }) => table,
        _ => Table::default(),
    };
    for (name, at, table) in named(kind, node, errors) {
        if all.get(&name).is_some() {
            errors
                .push(at.error(format!("{kind}.{name}"), format!("two {kind}s have this name")).text(&name));
            continue;
        }
        let table_at = at.clone();
        let table = each(&format!("{kind}.{name}"), table, errors);
        all.set(name, at, Node::table(&table_at, table));
    }
    canonical.set(kind, at.clone(), Node::table(at, all));
}

/// The tables of a collection, each with its name and where that is.
fn named(kind: &str, node: Node, errors: &mut Vec<ConfigError>) -> Vec<(String, Place, Table)> {
    let mut all = Vec::new();
    match node.value {
        Value::List(list) => {
            for (index, node) in list.into_iter().enumerate() {
                let key = format!("{kind}[{index}]");
                let Value::Table(mut table) = node.value else {
                    errors.push(node.expected(key, "a table"));
                    continue;
                };
                match table.remove("name") {
                    None => errors.push(
                        node.at.error(key, "`name` is missing").suggest(format!("every {kind} has a name")),
                    ),
                    Some(name) => match name.node.as_text().filter(|name| !name.is_empty()) {
                        Some(text) => all.push((text.to_owned(), name.node.at.clone(), table)),
                        None if name.node.as_text() == Some("") => {
                            errors.push(name.node.error(format!("{key}.name"), "the name is empty"));
                        }
                        None => errors.push(name.node.expected(format!("{key}.name"), "a name")),
                    },
                }
            }
        }
        Value::Table(table) => {
            for Entry { key, at, node } in table {
                match node.value {
                    Value::Table(table) => all.push((key, at, table)),
                    Value::Scalar(Scalar::Null, _) => all.push((key, at, Table::default())),
                    _ => errors.push(node.expected(format!("{kind}.{key}"), "a table")),
                }
            }
        }
        Value::Scalar(Scalar::Null, _) => {}
        Value::Scalar(..) => errors.push(node.expected(kind, "a list of tables")),
    }
    all
}

/// A service with one shape for each key.
fn service(prefix: &str, table: Table, errors: &mut Vec<ConfigError>) -> Table {
    let mut canonical = Table::default();
    for Entry { key, at, node } in table {
        let plural = PLURALS.iter().find(|(other, _)| *other == key).map(|(_, key)| *key);
        let name = plural.unwrap_or(&key);
        let full = format!("{prefix}.{name}");
        let node = match name {
            _ if node.is_null() => node,
            "envs" => with_value(&node, |node| assignments(&full, node, errors)),
            "labels" => labels(&full, node, errors),
            "depends_on" => depends_on(&full, node, errors),
            "network" if node.as_text().is_some() => {
                let mut network = Table::default();
                network.set("mode", node.at.clone(), node.clone());
                Node::table(&node.at, network)
            }
            name if LISTS.contains(&name) => list(node),
            _ => node,
        };
        match (canonical.get_mut(name), node) {
            // `port` and `ports` together are one list.
            (Some(Node { value: Value::List(earlier), .. }), Node { value: Value::List(more), .. }) => {
                earlier.extend(more);
            }
            (_, node) => canonical.set(name, at, node),
        }
    }
    canonical
}

fn group(prefix: &str, table: Table, errors: &mut Vec<ConfigError>) -> Table {
    let mut canonical = Table::default();
    for Entry { key, at, node } in table {
        match key.as_str() {
            "volume" | "volumes" => nest(&mut canonical, prefix, "volume", &at, node, errors, as_it_is),
            "env" | "envs" => {
                nest(&mut canonical, prefix, "env", &at, node, errors, |prefix, mut table, errors| {
                    if let Some(node) = table.get_mut("envs").filter(|node| !node.is_null()) {
                        *node = with_value(node, |node| assignments(&format!("{prefix}.envs"), node, errors));
                    }
                    table
                })
            }
            _ => canonical.set(key, at, node),
        }
    }
    canonical
}

/// [`collect`] within a group.
fn nest(
    canonical: &mut Table,
    prefix: &str,
    kind: &str,
    at: &Place,
    node: Node,
    errors: &mut Vec<ConfigError>,
    each: Canonical,
) {
    let before = errors.len();
    collect(canonical, kind, at, node, errors, each);
    for error in &mut errors[before..] {
        if error.key.starts_with(kind) {
            error.key = format!("{prefix}.{}", error.key);
        }
    }
}

fn with_value(node: &Node, make: impl FnOnce(&Node) -> Vec<Node>) -> Node {
    Node { joins: node.joins, ..Node::list(&node.at, make(node)) }
}

/// One value as a list of it.
pub(super) fn list(node: Node) -> Node {
    match node.value {
        Value::List(_) => node,
        _ => Node { joins: node.joins, ..Node::list(&node.at.clone(), vec![node]) },
    }
}

/// `NAME=VALUE` texts of a list, or of a table.
pub(super) fn assignments(key: &str, node: &Node, errors: &mut Vec<ConfigError>) -> Vec<Node> {
    match &node.value {
        Value::List(list) => list.clone(),
        Value::Table(table) => table
            .iter()
            .filter_map(|entry| match (entry.node.is_null(), entry.node.as_text()) {
                (true, _) => Some(Node::text(&entry.at, &entry.key)),
                (false, Some(value)) => Some(Node::text(&entry.at, format!("{}={value}", entry.key))),
                (false, None) => {
                    errors.push(entry.node.expected(format!("{key}.{}", entry.key), "a text"));
                    None
                }
            })
            .collect(),
        Value::Scalar(..) => vec![node.clone()],
    }
}

/// A table of texts; a list of `NAME=VALUE` becomes one.
pub(super) fn labels(key: &str, node: Node, errors: &mut Vec<ConfigError>) -> Node {
    match node.value {
        Value::List(list) => {
            let mut table = Table::default();
            for (index, node) in list.into_iter().enumerate() {
                match node.as_text().map(|text| text.split_once('=').unwrap_or((text, ""))) {
                    Some((name, value)) => table.set(name, node.at.clone(), Node::text(&node.at, value)),
                    None => errors.push(node.expected(format!("{key}[{index}]"), "a text")),
                }
            }
            Node { joins: node.joins, ..Node::table(&node.at, table) }
        }
        _ => node,
    }
}

/// A table of tables; a list of names, or a name alone, becomes one.
pub(super) fn depends_on(key: &str, node: Node, errors: &mut Vec<ConfigError>) -> Node {
    let joins = node.joins;
    let at = node.at.clone();
    let mut table = Table::default();
    match node.value {
        Value::Table(entries) => {
            for Entry { key, at, node } in entries {
                let node = match &node.value {
                    Value::Scalar(Scalar::Null, _) => Node::table(&at, Table::default()),
                    Value::Scalar(..) => {
                        let mut dependency = Table::default();
                        dependency.set("condition", node.at.clone(), node.clone());
                        Node::table(&at, dependency)
                    }
                    _ => node,
                };
                table.set(key, at, node);
            }
        }
        Value::List(list) => {
            for (index, node) in list.into_iter().enumerate() {
                match node.as_text() {
                    Some(name) => table.set(name, node.at.clone(), Node::table(&node.at, Table::default())),
                    None => errors.push(node.expected(format!("{key}[{index}]"), "the name of a service")),
                }
            }
        }
        Value::Scalar(_, name) => table.set(name, at.clone(), Node::table(&at, Table::default())),
    }
    Node { joins, ..Node::table(&at, table) }
}
