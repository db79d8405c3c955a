//! What Compose does when files change (`develop.watch`).

use super::Translation;
use crate::config::tree::{Entry, Node, Table, Value};

/// The keys of a rule.
const KEYS: [&str; 7] = ["path", "action", "target", "ignore", "include", "initial_sync", "exec"];

impl Translation {
    /// `develop.watch` as the list `watch`. A rule that builds an image is passed over.
    pub(super) fn develop(&mut self, key: &str, service: &mut Table, node: Node) {
        let Value::Table(table) = node.value else {
            self.errors.push(node.expected(key, "a table"));
            return;
        };
        for Entry { key: field, at, node } in table {
            if field != "watch" {
                self.unknown(&at, key, &field, &["watch"]);
                continue;
            }
            let key = format!("{key}.watch");
            let joins = node.joins;
            let rules = match node.value {
                Value::List(rules) => rules,
                _ if node.is_null() => Vec::new(),
                _ => {
                    self.errors.push(node.expected(key, "a list"));
                    continue;
                }
            };
            let rules: Vec<Node> = rules
                .into_iter()
                .enumerate()
                .filter(|(index, rule)| self.is_possible(&format!("{key}[{index}]"), rule))
                .map(|(_, rule)| rule)
                .collect();
            service.set("watch", at.clone(), Node { joins, ..Node::list(&at, rules) });
        }
    }

    /// Whether a rule can be carried out; else a warning says why not.
    fn is_possible(&mut self, key: &str, rule: &Node) -> bool {
        let Some(table) = rule.as_table() else {
            self.errors.push(rule.expected(key, "a table"));
            return false;
        };
        for entry in table.iter().filter(|entry| !KEYS.contains(&entry.key.as_str())) {
            self.unknown(&entry.at, key, &entry.key, &KEYS);
        }
        let action = table.get("action").and_then(Node::as_text);
        match action {
            Some("rebuild") => self.warn(&rule.at, key, "images are not built"),
            Some("sync+exec") => self.warn(&rule.at, key, "nothing is executed after a copy"),
            _ => return true,
        }
        false
    }
}
