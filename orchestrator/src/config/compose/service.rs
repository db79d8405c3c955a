//! A Compose service in the keys of `monocore.toml`.

use super::words::{HARMLESS, IGNORED, REFUSED};
use super::{DEFAULT_NETWORK, Translation};
use crate::config::canonical;
use crate::config::tree::{Entry, Node, Place, Scalar, Table, Value};

/// Keys that mean the same under another name.
const RENAMED: [(&str, &str); 24] = [
    ("image", "base"),
    ("cpus", "cpus"),
    ("mem_limit", "ram"),
    ("pids_limit", "pids_limit"),
    ("working_dir", "workdir"),
    ("user", "user"),
    ("extends", "extends"),
    ("restart", "restart"),
    ("scale", "replicas"),
    ("hostname", "hostname"),
    ("container_name", "container_name"),
    ("read_only", "read_only"),
    ("stop_signal", "stop_signal"),
    ("stop_grace_period", "stop_grace_period"),
    ("shm_size", "shm_size"),
    ("init", "init"),
    ("tty", "tty"),
    ("stdin_open", "stdin_open"),
    ("pull_policy", "pull_policy"),
    ("platform", "platform"),
    ("healthcheck", "healthcheck"),
    ("storage_opt", "storage_opt"),
    ("domainname", "domainname"),
    ("network_mode", "network_mode"),
];
/// Lists that mean the same; one value alone is a list of it.
const LISTS: [&str; 5] = ["profiles", "dns", "dns_search", "links", "tmpfs"];
/// Keys that are translated one by one.
const TRANSLATED: [&str; 15] = [
    "command",
    "entrypoint",
    "environment",
    "env_file",
    "labels",
    "depends_on",
    "ports",
    "volumes",
    "networks",
    "secrets",
    "configs",
    "ulimits",
    "extra_hosts",
    "deploy",
    "develop",
];

impl Translation {
    pub(super) fn service(&mut self, name: &str, at: &Place, table: Table) -> Option<Table> {
        let prefix = format!("service.{name}");
        let mut service = super::marked(at);
        for Entry { key, at, node } in table {
            self.key(&prefix, &mut service, &key, at, node);
        }
        Some(service)
    }

    fn key(&mut self, prefix: &str, service: &mut Table, key: &str, at: Place, node: Node) {
        let path = format!("{prefix}.{key}");
        match key {
            _ if node.is_null() && !matches!(key, "build") && self.is_known(key) => {
                if node.joins != crate::config::tree::Joins::Merged {
                    let name = RENAMED.iter().find(|(other, _)| *other == key).map_or(key, |(_, name)| name);
                    service.set(target_key(name), at, node);
                }
            }
            "command" => service.set("args", at, self.words(&path, node)),
            "entrypoint" => service.set("entrypoint", at, self.words(&path, node)),
            "environment" => {
                let list = canonical::assignments(&path, &node, &mut self.errors);
                service.set("envs", at, Node { joins: node.joins, ..Node::list(&node.at, list) });
            }
            "env_file" => service.set("env_file", at, env_files(node)),
            "labels" => service.set("labels", at, canonical::labels(&path, node, &mut self.errors)),
            "depends_on" => service.set("depends_on", at, self.depends_on(&path, node)),
            "ports" => service.set("ports", at, self.ports(&path, node)),
            "volumes" => self.volumes(&path, service, at, node),
            "networks" => self.networks(&path, service, at, node),
            "secrets" => self.secrets(&path, service, at, node, false),
            "configs" => self.secrets(&path, service, at, node, true),
            "ulimits" => service.set("ulimits", at, self.ulimits(&path, node)),
            "extra_hosts" => service.set("extra_hosts", at, self.extra_hosts(&path, node)),
            "deploy" => self.deploy(&path, service, node),
            "develop" => self.develop(&path, service, node),
            "network_mode" => self.network_mode(&path, service, at, &node),
            "domainname" => self.warn(&at, &path, "write it into `hostname`"),
            "storage_opt" => match node.as_table().and_then(|table| table.get("size")) {
                Some(size) => service.set("root_disk", at, size.clone()),
                None => self.refuse(&at, &path, "only `size` is known"),
            },
            key if LISTS.contains(&key) => service.set(key, at, canonical::list(node)),
            key if HARMLESS.contains(&key) => {}
            key => {
                let of = |list: &[(&'static str, &'static str)]| {
                    list.iter().find(|(other, _)| *other == key).map(|(_, word)| *word)
                };
                if let Some(name) = of(&RENAMED) {
                    service.set(name, at, quantity(key, node));
                } else if let Some(why) = of(&IGNORED) {
                    self.ignore(&at, &path, &node, why);
                } else if let Some(why) = of(&REFUSED) {
                    if key == "build" && service.get("base").is_none() {
                        // One problem is enough.
                        service.set("base", at.clone(), Node::text(&at, "-"));
                    }
                    self.refuse(&at, &path, why);
                } else {
                    let known: Vec<&str> =
                        RENAMED.iter().map(|(key, _)| *key).chain(LISTS).chain(TRANSLATED).collect();
                    self.unknown(&at, prefix, key, &known);
                }
            }
        }
    }

    fn is_known(&self, key: &str) -> bool {
        RENAMED.iter().any(|(other, _)| *other == key)
            || LISTS.contains(&key)
            || TRANSLATED.contains(&key)
            || HARMLESS.contains(&key)
            || IGNORED.iter().any(|(other, _)| *other == key)
    }

    /// A key without effect; namespaces of the host or of another service would have one.
    fn ignore(&mut self, at: &Place, path: &str, node: &Node, why: &str) {
        let shared = ["host", "service:", "container:"];
        let text = node.as_text().unwrap_or_default();
        if shared.iter().any(|word| text.starts_with(word)) && !path.ends_with("cgroup") {
            self.refuse(at, path, "a guest shares no namespace with others");
        } else {
            self.warn(at, path, why);
        }
    }

    /// A command: a list, or a text that is split as a shell does.
    fn words(&mut self, key: &str, node: Node) -> Node {
        let Some(text) = node.as_text() else { return node };
        match shlex::split(text) {
            Some(words) => {
                let words = words.into_iter().map(|word| Node::text(&node.at, word)).collect();
                Node { joins: node.joins, ..Node::list(&node.at, words) }
            }
            None => {
                self.errors.push(node.error(key, "a quote is not closed"));
                Node::list(&node.at, Vec::new())
            }
        }
    }

    fn depends_on(&mut self, key: &str, node: Node) -> Node {
        let mut node = canonical::depends_on(key, node, &mut self.errors);
        let Value::Table(all) = &mut node.value else { return node };
        for dependency in all.iter_mut() {
            let key = format!("{key}.{}", dependency.key);
            let Value::Table(table) = &mut dependency.node.value else { continue };
            // monocore restarts what depends on a service with it.
            table.remove("restart");
            let Some(condition) = table.get_mut("condition") else { continue };
            let word = match condition.as_text() {
                Some("service_started") => "started",
                Some("service_healthy") => "healthy",
                Some("service_completed_successfully") => "completed",
                _ => {
                    self.errors.push(condition.error(
                        key,
                        "a condition is service_started, service_healthy or service_completed_successfully",
                    ));
                    "started"
                }
            };
            *condition = Node::text(&condition.at, word);
        }
        node
    }

    fn networks(&mut self, key: &str, service: &mut Table, at: Place, node: Node) {
        const KEYS: [&str; 9] = [
            "aliases",
            "priority",
            "gw_priority",
            "ipv4_address",
            "ipv6_address",
            "interface_name",
            "link_local_ips",
            "mac_address",
            "driver_opts",
        ];
        let Value::Table(table) = &node.value else {
            service.set("group", at, canonical::list(node));
            return;
        };
        let mut groups = Vec::new();
        let mut aliases = Vec::new();
        for network in table.iter() {
            groups.push(Node::text(&network.at, &network.key));
            for option in network.node.as_table().into_iter().flat_map(Table::iter) {
                let path = format!("{key}.{}.{}", network.key, option.key);
                match (option.key.as_str(), &option.node.value) {
                    ("aliases", Value::List(list)) => aliases.extend(list.iter().cloned()),
                    ("priority" | "gw_priority" | "interface_name" | "driver_opts", _) => {}
                    ("ipv4_address" | "ipv6_address" | "link_local_ips" | "mac_address", _) => {
                        self.warn(&option.at, &path, "monocore chooses the addresses of a group");
                    }
                    (other, _) => self.unknown(&option.at, &format!("{key}.{}", network.key), other, &KEYS),
                }
            }
        }
        service.set("group", at.clone(), Node { joins: node.joins, ..Node::list(&node.at, groups) });
        if !aliases.is_empty() {
            service.set("aliases", at, Node::list(&node.at, aliases));
        }
    }

    fn network_mode(&mut self, key: &str, service: &mut Table, at: Place, node: &Node) {
        match node.as_text() {
            Some(mode @ ("none" | "nat" | "tsi")) => {
                let mut network = Table::default();
                network.set("mode", node.at.clone(), Node::text(&node.at, mode));
                service.set("network", at.clone(), Node::table(&at, network));
                if mode != "none" {
                    service.set("group", at.clone(), Node::list(&at, vec![Node::text(&at, DEFAULT_NETWORK)]));
                }
            }
            Some("bridge" | "default") => {
                service.set("group", at.clone(), Node::list(&at, vec![Node::text(&at, DEFAULT_NETWORK)]));
            }
            Some("host") => {
                let error = node.error(key, "not supported: a guest has a network of its own");
                self.errors.push(error.suggest("publish its ports under `ports`"));
            }
            _ => {
                self.errors.push(node.error(key, "not supported: a network mode is none, bridge, nat or tsi"))
            }
        }
    }

    /// `nofile: 1024` and `nofile: {soft: …, hard: …}` as `nofile=1024:4096`.
    fn ulimits(&mut self, key: &str, node: Node) -> Node {
        let Value::Table(table) = &node.value else {
            self.errors.push(node.expected(key, "a table"));
            return Node::list(&node.at, Vec::new());
        };
        let mut limits = Vec::new();
        for limit in table.iter() {
            let part =
                |name: &str| limit.node.as_table().and_then(|table| table.get(name)).and_then(Node::as_text);
            let text = match (limit.node.as_text(), part("soft"), part("hard")) {
                (Some(both), ..) => format!("{}={both}", limit.key),
                (None, Some(soft), Some(hard)) => format!("{}={soft}:{hard}", limit.key),
                _ => {
                    self.errors.push(
                        limit.node.expected(format!("{key}.{}", limit.key), "a number, or soft and hard"),
                    );
                    continue;
                }
            };
            limits.push(Node::text(&limit.at, text));
        }
        Node { joins: node.joins, ..Node::list(&node.at, limits) }
    }

    /// A list, or a table of names with one address or several.
    fn extra_hosts(&mut self, key: &str, node: Node) -> Node {
        let Value::Table(table) = &node.value else { return canonical::list(node) };
        let mut hosts = Vec::new();
        for host in table.iter() {
            let addresses = canonical::list(host.node.clone());
            let Value::List(addresses) = addresses.value else { continue };
            for address in addresses {
                match address.as_text() {
                    Some(text) => hosts.push(Node::text(&address.at, format!("{}={text}", host.key))),
                    None => self.errors.push(address.expected(format!("{key}.{}", host.key), "an address")),
                }
            }
        }
        Node { joins: node.joins, ..Node::list(&node.at, hosts) }
    }

    /// `deploy`: what a single host can do of it.
    fn deploy(&mut self, key: &str, service: &mut Table, node: Node) {
        const KEYS: [&str; 9] = [
            "mode",
            "endpoint_mode",
            "replicas",
            "labels",
            "rollback_config",
            "update_config",
            "resources",
            "restart_policy",
            "placement",
        ];
        let Value::Table(table) = node.value else {
            self.errors.push(node.expected(key, "a table"));
            return;
        };
        for Entry { key: field, at, node } in table {
            let path = format!("{key}.{field}");
            match field.as_str() {
                "replicas" => service.set("replicas", at, node),
                "resources" => self.resources(&path, service, &node),
                "restart_policy" => self.restart_policy(&path, service, &at, &node),
                "mode" if matches!(node.as_text(), Some("replicated")) => {}
                "mode" => self.errors.push(node.error(path, "not supported: a mode is replicated")),
                "labels" | "endpoint_mode" => {}
                "update_config" | "rollback_config" | "placement" => {
                    self.warn(&at, &path, "the project runs on one host");
                }
                _ => self.unknown(&at, key, &field, &KEYS),
            }
        }
    }

    fn resources(&mut self, key: &str, service: &mut Table, node: &Node) {
        for section in node.as_table().into_iter().flat_map(Table::iter) {
            let path = format!("{key}.{}", section.key);
            for limit in section.node.as_table().into_iter().flat_map(Table::iter) {
                let (at, value) = (limit.at.clone(), limit.node.clone());
                match (section.key.as_str(), limit.key.as_str()) {
                    ("limits", "cpus") => service.set("cpus", at, value),
                    ("limits", "memory") => service.set("ram", at, quantity("mem_limit", value)),
                    ("limits", "pids") => service.set("pids_limit", at, quantity("pids_limit", value)),
                    ("reservations", "cpus" | "memory") => {}
                    ("reservations", "devices" | "generic_resources") => {
                        self.refuse(
                            &at,
                            &format!("{path}.{}", limit.key),
                            "devices of the host are not passed on",
                        );
                    }
                    (_, other) => self.unknown(&at, &path, other, &["cpus", "memory", "pids"]),
                }
            }
            if !matches!(section.key.as_str(), "limits" | "reservations") {
                self.unknown(&section.at, key, &section.key, &["limits", "reservations"]);
            }
        }
    }

    fn restart_policy(&mut self, key: &str, service: &mut Table, at: &Place, node: &Node) {
        let text = |name: &str| node.as_table().and_then(|table| table.get(name)).and_then(Node::as_text);
        let policy = match (text("condition").unwrap_or("any"), text("max_attempts")) {
            ("none", _) => "no".to_owned(),
            ("on-failure", Some(times)) => format!("on-failure:{times}"),
            ("on-failure", None) => "on-failure".to_owned(),
            ("any", _) => "always".to_owned(),
            // Not Compose's word, and in use.
            (word @ ("always" | "unless-stopped"), _) => word.to_owned(),
            _ => {
                self.errors.push(at.error(key, "a condition is none, on-failure or any"));
                return;
            }
        };
        service.set("restart", at.clone(), Node::text(&node.at, policy));
        for part in node.as_table().into_iter().flat_map(Table::iter) {
            match part.key.as_str() {
                "condition" | "max_attempts" => {}
                "delay" | "window" => {
                    self.warn(&part.at, &format!("{key}.{}", part.key), "the delay is monocore's")
                }
                other => {
                    self.unknown(&part.at, key, other, &["condition", "max_attempts", "delay", "window"])
                }
            }
        }
    }
}

/// The key in `monocore.toml` of a Compose key.
fn target_key(key: &str) -> &str {
    match key {
        "command" => "args",
        "environment" => "envs",
        "networks" => "group",
        other => other,
    }
}

/// Compose's memory without a unit is bytes, never MiB; -1 is no limit on processes.
fn quantity(key: &str, node: Node) -> Node {
    match (key, node.as_text()) {
        ("mem_limit", Some(bytes)) if bytes.bytes().all(|b| b.is_ascii_digit()) && !bytes.is_empty() => {
            Node::text(&node.at, format!("{bytes}b"))
        }
        ("mem_limit", Some(text)) => Node::new(node.at.clone(), Value::Scalar(Scalar::Text, text.to_owned())),
        ("pids_limit", Some("-1")) => Node::new(node.at.clone(), Value::Scalar(Scalar::Int, "0".to_owned())),
        _ => node,
    }
}

/// A path, or several, or tables with a path.
fn env_files(node: Node) -> Node {
    let mut node = canonical::list(node);
    let Value::List(list) = &mut node.value else { return node };
    for file in list {
        let Value::Table(table) = &mut file.value else { continue };
        if let Some(Entry { at, node, .. }) = table.remove("format") {
            table.set("raw", at, Node::text(&node.at, (node.as_text() == Some("raw")).to_string()));
        }
    }
    node
}
