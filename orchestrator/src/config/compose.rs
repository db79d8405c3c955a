//! A Compose file to the canonical tree.
//!
//! A key that has a meaning here is translated. One that changes nothing for a virtual machine is passed over, with a
//! warning if the user could count on it. Every other key is refused by its name and line. Networks become groups.

mod develop;
mod mounts;
mod ports;
mod service;
mod words;

use super::ConfigError;
use super::suggest::did_you_mean;
use super::tree::{Entry, Node, Place, Table, Value};

/// The mark of a group that was a network, and of a service of a Compose file. No file can have such a key: it is removed
/// or read before keys are judged.
pub(super) const MARK: &str = "\0compose";
/// The network of services that name none.
const DEFAULT_NETWORK: &str = "default";

/// What a translation works on.
#[derive(Default)]
struct Translation {
    errors: Vec<ConfigError>,
    warnings: Vec<String>,
}

/// The canonical tree of a file in Compose's keys.
pub(super) fn canonical(root: Node, errors: &mut Vec<ConfigError>, warnings: &mut Vec<String>) -> Table {
    let at = root.at.clone();
    let Value::Table(root) = root.value else {
        errors.push(Node { value: root.value, ..Node::text(&at, "") }.expected("", "a table"));
        return Table::default();
    };
    let mut translation = Translation::default();
    let mut canonical = Table::default();
    for Entry { key, at, node } in root {
        match key.as_str() {
            "name" => canonical.set("name", at, node),
            "include" => canonical.set("include", at, node),
            // Obsolete since Compose v2, which reads it no more.
            "version" => {}
            "services" => translation.each(&mut canonical, "service", &at, node, Translation::service),
            "networks" => translation.each(&mut canonical, "group", &at, node, Translation::network),
            "volumes" => translation.each(&mut canonical, "volume", &at, node, Translation::volume),
            "secrets" => translation.each(&mut canonical, "secret", &at, node, Translation::secret),
            "configs" => translation.each(&mut canonical, "secret", &at, node, Translation::config),
            "models" => translation.refuse(&at, &key, "AI models are not provided"),
            _ if key.starts_with("x-") => {}
            _ => {
                let error = at.error(&key, "unknown key of a Compose file").text(&key);
                let known = ["name", "services", "networks", "volumes", "secrets", "configs", "include"];
                translation.errors.push(match did_you_mean(&key, known) {
                    Some(suggestion) => error.suggest(suggestion),
                    None => error,
                });
            }
        }
    }
    errors.append(&mut translation.errors);
    warnings.append(&mut translation.warnings);
    canonical
}

/// What depends on all files of a project together: services without networks are in the default one, and named volumes
/// are declared.
pub(super) fn settle(canonical: &mut Table, errors: &mut Vec<ConfigError>) {
    let declared = canonical.get("volume").and_then(Node::as_table);
    let volumes: Vec<String> =
        declared.into_iter().flat_map(Table::iter).map(|entry| entry.key.clone()).collect();
    let mut user = None;
    if let Some(Node { value: Value::Table(services), .. }) = canonical.get_mut("service") {
        for Entry { key, at, node } in services.iter_mut() {
            let Value::Table(service) = &mut node.value else { continue };
            if service.remove(MARK).is_none() {
                continue;
            }
            if service.get("group").is_none() && !has_no_network(service) {
                let default = Node::list(at, vec![Node::text(at, DEFAULT_NETWORK)]);
                service.set("group", at.clone(), default);
            }
            undeclared(key, service, &volumes, errors);
            if user.is_none() && in_default_network(service) {
                user = Some(at.clone());
            }
        }
    }
    let Some(at) = user else { return };
    if canonical.get("group").is_none() {
        canonical.set("group", at.clone(), Node::table(&at, Table::default()));
    }
    if let Some(Node { value: Value::Table(groups), .. }) = canonical.get_mut("group")
        && groups.get(DEFAULT_NETWORK).is_none()
    {
        groups.set(DEFAULT_NETWORK, at.clone(), Node::table(&at, marked(&at)));
    }
}

fn has_no_network(service: &Table) -> bool {
    let network = service.get("network").and_then(Node::as_table);
    network.and_then(|network| network.get("mode")).and_then(Node::as_text) == Some("none")
}

fn in_default_network(service: &Table) -> bool {
    match service.get("group").map(|node| &node.value) {
        Some(Value::List(list)) => list.iter().any(|node| node.as_text() == Some(DEFAULT_NETWORK)),
        _ => false,
    }
}

/// Named volumes must be declared, as Compose has it: a path without its `./` is a usual mistake.
fn undeclared(name: &str, service: &Table, volumes: &[String], errors: &mut Vec<ConfigError>) {
    let Some(Value::List(list)) = service.get("volumes").map(|node| &node.value) else { return };
    for (index, node) in list.iter().enumerate() {
        let source = node.as_text().and_then(|text| text.split_once(':')).map_or("", |(source, _)| source);
        let named = !source.is_empty() && !source.contains('/') && !source.starts_with(['.', '~']);
        if named && !volumes.iter().any(|volume| volume == source) {
            let error =
                node.at.error(format!("service.{name}.volumes[{index}]"), "the volume is not declared");
            errors.push(
                error
                    .text(source)
                    .suggest(format!("add `{source}:` under `volumes:`, or write `./{source}`")),
            );
        }
    }
}

fn marked(at: &Place) -> Table {
    let mut table = Table::default();
    table.set(MARK, at.clone(), Node::text(at, "true"));
    table
}

type Each = fn(&mut Translation, &str, &Place, Table) -> Option<Table>;

impl Translation {
    /// Translates the tables of a section and adds them to those of a kind.
    fn each(&mut self, canonical: &mut Table, kind: &str, at: &Place, node: Node, translate: Each) {
        let mut all = match canonical.remove(kind) {
            Some(Entry { node: Node { value: Value::Table(table), .. }, .. }) => table,
            _ => Table::default(),
        };
        match node.value {
            Value::Table(section) => {
                for Entry { key, at, node } in section {
                    let joins = node.joins;
                    let table = match node.value {
                        Value::Table(table) => table,
                        _ if node.is_null() => Table::default(),
                        _ => {
                            self.errors.push(node.expected(format!("{kind}.{key}"), "a table"));
                            continue;
                        }
                    };
                    if let Some(table) = translate(self, &key, &at, table) {
                        let node = Node { joins, ..Node::table(&at, table) };
                        all.set(key, at, node);
                    }
                }
            }
            _ if node.is_null() => {}
            _ => self.errors.push(node.expected(kind, "a table")),
        }
        canonical.set(kind, at.clone(), Node::table(at, all));
    }

    fn refuse(&mut self, at: &Place, key: &str, why: &str) {
        let name = key.rsplit('.').next().unwrap_or(key);
        self.errors.push(at.error(key, format!("not supported: {why}")).text(name));
    }

    fn warn(&mut self, at: &Place, key: &str, why: &str) {
        self.warnings.push(format!("{}:{}:{}: {key}: ignored: {why}", at.file.display(), at.line, at.column));
    }

    fn unknown(&mut self, at: &Place, prefix: &str, key: &str, known: &[&str]) {
        if key.starts_with("x-") {
            return;
        }
        let error = at.error(format!("{prefix}.{key}"), "unknown key").text(key);
        self.errors.push(match did_you_mean(key, known.iter().copied()) {
            Some(suggestion) => error.suggest(suggestion),
            None => error,
        });
    }

    fn network(&mut self, name: &str, at: &Place, table: Table) -> Option<Table> {
        let key = format!("group.{name}");
        let mut group = marked(at);
        for Entry { key: field, at, node } in table {
            let path = format!("{key}.{field}");
            match field.as_str() {
                "internal" => group.set("internal", at, node),
                "name" => group.set("group_name", at, node),
                "labels" | "attachable" | "enable_ipv4" | "enable_ipv6" => {}
                "driver"
                    if node.is_null() || matches!(node.as_text(), Some("bridge" | "overlay" | "default")) => {
                }
                "driver" => self.refuse(&node.at, &path, "a network has no driver here"),
                "driver_opts" | "ipam" => {
                    self.warn(&at, &path, "monocore chooses the addresses of a group");
                }
                "external" if is_false(&node) => {}
                "external" if node.as_table().is_some() => {
                    // The old form names the network.
                    if let Some(name) = node.as_table().and_then(|table| table.get("name")) {
                        group.set("group_name", at.clone(), name.clone());
                    }
                    group.set("external", at.clone(), Node::text(&at, "true"));
                }
                "external" => group.set("external", at, node),
                _ => self.unknown(&at, &key, &field, &["name", "driver", "internal", "labels", "external"]),
            }
        }
        Some(group)
    }

    fn volume(&mut self, name: &str, _: &Place, table: Table) -> Option<Table> {
        let key = format!("volume.{name}");
        let mut volume = Table::default();
        for Entry { key: field, at, node } in table {
            let path = format!("{key}.{field}");
            match field.as_str() {
                "name" => volume.set("volume_name", at, node),
                "external" if node.as_table().is_some() => {
                    // The old form names the volume.
                    if let Some(name) = node.as_table().and_then(|table| table.get("name")) {
                        volume.set("volume_name", at.clone(), name.clone());
                    }
                    volume.set("external", at.clone(), Node::text(&at, "true"));
                }
                "external" => volume.set("external", at, node),
                "labels" => {}
                "driver" if node.is_null() || matches!(node.as_text(), Some("local" | "default")) => {}
                "driver" => self.refuse(&node.at, &path, "a volume is a directory of this host"),
                "driver_opts" if node.as_table().is_none_or(|table| table.iter().next().is_none()) => {}
                "driver_opts" => self.refuse(&at, &path, "a volume is a directory of this host"),
                _ => self.unknown(&at, &key, &field, &["name", "driver", "labels", "external"]),
            }
        }
        Some(volume)
    }

    fn secret(&mut self, name: &str, at: &Place, table: Table) -> Option<Table> {
        self.file(&format!("secret.{name}"), at, table)
    }

    fn config(&mut self, name: &str, at: &Place, table: Table) -> Option<Table> {
        self.file(&format!("secret.{name}"), at, table)
    }

    /// A secret or configuration: a file of this host.
    fn file(&mut self, key: &str, at: &Place, table: Table) -> Option<Table> {
        let mut secret = Table::default();
        for Entry { key: field, at, node } in table {
            let path = format!("{key}.{field}");
            match field.as_str() {
                "file" => secret.set("file", at, node),
                "name" | "labels" => {}
                "external" if is_false(&node) => {}
                "environment" | "content" | "external" | "driver" | "driver_opts" | "template_driver" => {
                    self.errors.push(
                        at.error(path, "not supported: its content comes from a file")
                            .text(&field)
                            .suggest("use `file`"),
                    );
                    // The services that use it are right.
                    secret.set("file", at.clone(), Node::text(&at, "-"));
                }
                _ => self.unknown(&at, key, &field, &["file", "name", "labels"]),
            }
        }
        if secret.get("file").is_none() {
            self.errors.push(at.error(key, "`file` is missing"));
            secret.set("file", at.clone(), Node::text(at, "-"));
        }
        Some(secret)
    }
}

fn is_false(node: &Node) -> bool {
    node.is_null() || matches!(node.as_text(), Some("false" | "False" | "no" | "off"))
}
