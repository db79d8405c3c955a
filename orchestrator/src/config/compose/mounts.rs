//! Volumes, memory file systems, secrets and configurations of a Compose service.

use super::Translation;
use crate::config::canonical;
use crate::config::tree::{Entry, Node, Place, Scalar, Table, Value};

const VOLUME_KEYS: [&str; 9] =
    ["type", "source", "target", "read_only", "consistency", "bind", "volume", "tmpfs", "image"];

/// A service's mounts, by the key of `monocore.toml` that they belong to.
#[derive(Default)]
struct Mounts {
    volumes: Vec<Node>,
    mounts: Vec<Node>,
    tmpfs: Vec<Node>,
}

impl Mounts {
    /// A path alone is a volume without a name.
    fn short(&mut self, at: &Place, text: &str) {
        match text.split_once(':') {
            None => self.mounts.push(Node::text(at, format!("type=volume,target={text}"))),
            Some(_) => self.volumes.push(Node::text(at, text)),
        }
    }
}

impl Translation {
    /// Sets `volumes`, `mounts` and `tmpfs` of the service.
    pub(super) fn volumes(&mut self, key: &str, service: &mut Table, at: Place, node: Node) {
        let Value::List(list) = node.value else {
            self.errors.push(node.expected(key, "a list"));
            return;
        };
        let mut mounts = Mounts::default();
        for (index, volume) in list.into_iter().enumerate() {
            let key = format!("{key}[{index}]");
            match &volume.value {
                Value::Table(table) => self.long_volume(&key, &volume.at, table, &mut mounts),
                Value::Scalar(kind, text) if *kind != Scalar::Null => {
                    mounts.short(&volume.at, text);
                }
                _ => self.errors.push(volume.expected(key, "a volume")),
            }
        }
        for (name, list) in [("volumes", mounts.volumes), ("mounts", mounts.mounts), ("tmpfs", mounts.tmpfs)]
        {
            match service.get_mut(name) {
                _ if list.is_empty() => {}
                Some(Node { value: Value::List(earlier), .. }) => earlier.extend(list),
                _ => {
                    let node = Node { joins: node.joins, ..Node::list(&node.at, list) };
                    service.set(name, at.clone(), node);
                }
            }
        }
    }

    fn long_volume(&mut self, key: &str, at: &Place, table: &Table, mounts: &mut Mounts) {
        for entry in table.iter().filter(|entry| !VOLUME_KEYS.contains(&entry.key.as_str())) {
            self.unknown(&entry.at, key, &entry.key, &VOLUME_KEYS);
        }
        let text =
            |table: &Table, name: &str| table.get(name).and_then(Node::as_text).unwrap_or("").to_owned();
        let option = |section: &str, name: &str| {
            let section = table.get(section).and_then(Node::as_table)?;
            section.get(name).and_then(Node::as_text).map(str::to_owned)
        };
        let (source, target) = (text(table, "source"), text(table, "target"));
        let read_only = text(table, "read_only") == "true";
        if target.is_empty() {
            self.errors.push(at.error(key, "`target` is missing"));
            return;
        }
        let kind = text(table, "type");
        if kind == "bind" && source.is_empty() {
            self.errors.push(at.error(key, "`source` is missing"));
            return;
        }
        if option("volume", "subpath").is_some() {
            self.refuse(at, &format!("{key}.volume.subpath"), "a volume is mounted whole");
        }
        let suffix = if read_only { ":ro" } else { "" };
        let create = option("bind", "create_host_path").as_deref() != Some("false");
        match kind.as_str() {
            "volume" if source.is_empty() => {
                mounts.mounts.push(Node::text(at, format!("type=volume,target={target}")));
            }
            "volume" => {
                mounts.volumes.push(Node::text(at, format!("{source}:{target}{suffix}")));
            }
            "bind" if create && !source.contains(':') => {
                let source = if source.contains('/') { source } else { format!("./{source}") };
                mounts.volumes.push(Node::text(at, format!("{source}:{target}{suffix}")));
            }
            "bind" => {
                let suffix = if read_only { ",readonly" } else { "" };
                mounts
                    .mounts
                    .push(Node::text(at, format!("type=bind,source={source},target={target}{suffix}")));
            }
            "tmpfs" => {
                let size = option("tmpfs", "size").map(|size| format!("size={size}"));
                let mode = option("tmpfs", "mode").map(|mode| format!("mode={mode}"));
                let options: Vec<String> =
                    [size, mode, read_only.then(|| "ro".to_owned())].into_iter().flatten().collect();
                let options =
                    if options.is_empty() { String::new() } else { format!(":{}", options.join(",")) };
                mounts.tmpfs.push(Node::text(at, format!("{target}{options}")));
            }
            "" => self.errors.push(at.error(key, "`type` is missing")),
            _ => {
                let at = table.get("type").map_or(at, |node| &node.at);
                self.errors.push(
                    at.error(format!("{key}.type"), "not supported: a volume is a bind, volume or tmpfs")
                        .text(kind),
                );
            }
        }
    }

    /// Secrets of a service, or configurations, whose files are below `/`.
    pub(super) fn secrets(&mut self, key: &str, service: &mut Table, at: Place, node: Node, configs: bool) {
        let node = canonical::list(node);
        let Value::List(list) = node.value else { return };
        let mut mounts = match service.remove("secrets") {
            Some(Entry { node: Node { value: Value::List(list), .. }, .. }) => list,
            _ => Vec::new(),
        };
        for (index, secret) in list.into_iter().enumerate() {
            let key = format!("{key}[{index}]");
            let mut mount = Table::default();
            let name = match (&secret.value, secret.as_text()) {
                (_, Some(name)) => Some(Node::text(&secret.at, name)),
                (Value::Table(table), _) => {
                    const KEYS: [&str; 5] = ["source", "target", "uid", "gid", "mode"];
                    for entry in table.iter() {
                        match entry.key.as_str() {
                            "source" => {}
                            "target" => mount.set("target", entry.at.clone(), entry.node.clone()),
                            "uid" | "gid" | "mode" => {
                                self.warn(
                                    &entry.at,
                                    &format!("{key}.{}", entry.key),
                                    "the file keeps its owner and mode",
                                );
                            }
                            other => self.unknown(&entry.at, &key, other, &KEYS),
                        }
                    }
                    table.get("source").cloned()
                }
                _ => None,
            };
            let Some(name) = name else {
                self.errors.push(secret.expected(key, "the name of a secret"));
                continue;
            };
            if configs && mount.get("target").is_none() {
                let target = format!("/{}", name.as_text().unwrap_or_default());
                mount.set("target", name.at.clone(), Node::text(&name.at, target));
            }
            mount.set("source", name.at.clone(), name);
            mounts.push(Node::table(&secret.at, mount));
        }
        service.set("secrets", at, Node::list(&node.at, mounts));
    }
}
