//! Published ports of a Compose service.

use super::Translation;
use crate::config::canonical;
use crate::config::tree::{Node, Place, Scalar, Table, Value};

/// The keys of a port's long form.
const KEYS: [&str; 7] = ["target", "published", "host_ip", "protocol", "mode", "name", "app_protocol"];

impl Translation {
    /// Every port in the short form of `monocore.toml`.
    pub(super) fn ports(&mut self, key: &str, node: Node) -> Node {
        let node = canonical::list(node);
        let Value::List(list) = node.value else { return node };
        let mut ports = Vec::new();
        for (index, port) in list.into_iter().enumerate() {
            let key = format!("{key}[{index}]");
            match &port.value {
                Value::Table(table) => {
                    ports
                        .extend(self.long_port(&key, &port.at, table).map(|text| Node::text(&port.at, text)));
                }
                Value::Scalar(kind, text) if *kind != Scalar::Null => {
                    ports.push(Node::text(&port.at, short_port(text)));
                }
                _ => self.errors.push(port.expected(key, "a port")),
            }
        }
        Node { joins: node.joins, ..Node::list(&node.at, ports) }
    }

    fn long_port(&mut self, key: &str, at: &Place, table: &Table) -> Option<String> {
        for entry in table.iter().filter(|entry| !KEYS.contains(&entry.key.as_str())) {
            self.unknown(&entry.at, key, &entry.key, &KEYS);
        }
        let text = |name: &str| table.get(name).and_then(Node::as_text).unwrap_or("");
        let target = text("target");
        if target.is_empty() {
            self.errors.push(at.error(key, "`target` is missing"));
            return None;
        }
        let address = match text("host_ip") {
            v6 if v6.contains(':') && !v6.starts_with('[') => format!("[{v6}]:"),
            "" => String::new(),
            v4 => format!("{v4}:"),
        };
        let protocol = match text("protocol") {
            "" | "tcp" => "",
            "udp" => "/udp",
            other => {
                let problem = table.get("protocol").map_or(at, |node| &node.at);
                self.errors.push(problem.error(key, "a protocol is tcp or udp").text(other));
                return None;
            }
        };
        Some(format!("{address}{}:{target}{protocol}", text("published")))
    }
}

/// Compose's port alone is the container's, published wherever a port is free.
fn short_port(text: &str) -> String {
    if text.contains(':') { text.to_owned() } else { format!(":{text}") }
}
