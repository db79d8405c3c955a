//! How a later file joins an earlier one, as Compose does it: tables by key, lists by what their elements are about,
//! commands and other values whole.

use super::tree::{Entry, Joins, Node, Table, Value};

/// Lists that a later file replaces.
const REPLACED: [&str; 4] = ["args", "entrypoint", "test", "command"];

/// `later` over `earlier`.
pub(super) fn merge(earlier: &mut Table, later: Table) {
    merge_at(earlier, later, 0);
}

fn merge_at(earlier: &mut Table, later: Table, depth: usize) {
    if is_service(&later) {
        drop_places(earlier, &later);
    }
    for Entry { key, at, node } in later {
        if node.joins == Joins::Removes {
            earlier.remove(&key);
            continue;
        }
        match earlier.get_mut(&key) {
            Some(old) if node.joins == Joins::Merged && !REPLACED.contains(&key.as_str()) => {
                join(&key, old, node, depth);
            }
            _ => earlier.set(key, at, node),
        }
    }
}

fn join(key: &str, old: &mut Node, new: Node, depth: usize) {
    match (&mut old.value, new.value) {
        (Value::Table(old), Value::Table(new)) => merge_at(old, new, depth + 1),
        (Value::List(old), Value::List(new)) => join_lists(key, old, new),
        (_, value) => *old = Node { value, ..new },
    }
}

/// Elements about the same thing are replaced in place, the others follow.
fn join_lists(key: &str, old: &mut Vec<Node>, new: Vec<Node>) {
    for node in new {
        let subject = subject(key, &node);
        match old.iter_mut().find(|old| subject.is_some() && self::subject(key, old) == subject) {
            Some(old) => *old = node,
            None => old.push(node),
        }
    }
}

/// What an element of a list is about.
fn subject(key: &str, node: &Node) -> Option<String> {
    let named = |table: &Table, key: &str| table.get(key).and_then(Node::as_text).map(str::to_owned);
    match (&node.value, key) {
        (Value::Table(table), "group_volumes") => named(table, "path"),
        (Value::Table(table), "env_file") => named(table, "path"),
        (Value::Table(table), "watch") => named(table, "path"),
        (Value::Table(table), "secrets") => named(table, "target").or_else(|| named(table, "source")),
        (Value::Table(table), _) => named(table, "name"),
        (Value::Scalar(_, text), "envs") => Some(text.split('=').next().unwrap_or(text).to_owned()),
        (Value::Scalar(_, text), "ulimits") => Some(text.split('=').next().unwrap_or(text).to_owned()),
        (Value::Scalar(_, text), "extra_hosts") => Some(text.to_owned()),
        (Value::Scalar(_, text), _) => Some(text.to_owned()),
        (Value::List(_), _) => None,
    }
}

fn is_service(table: &Table) -> bool {
    MOUNTS.iter().any(|key| table.get(key).is_some())
}

/// Keys of a service that mount something.
const MOUNTS: [&str; 3] = ["volumes", "mounts", "tmpfs"];

/// Removes what is mounted where the later file mounts something, by whichever key.
fn drop_places(earlier: &mut Table, later: &Table) {
    let list = |table: &Table, key: &str| match table.get(key).map(|node| &node.value) {
        Some(Value::List(list)) => list.iter().filter_map(|node| target(key, node)).collect(),
        _ => Vec::new(),
    };
    let taken: Vec<String> = MOUNTS.iter().flat_map(|key| list(later, key)).collect();
    for key in MOUNTS {
        if let Some(Node { value: Value::List(list), .. }) = earlier.get_mut(key) {
            list.retain(|node| target(key, node).is_none_or(|target| !taken.contains(&target)));
        }
    }
}

/// Where an element of [`MOUNTS`] is mounted.
fn target(key: &str, node: &Node) -> Option<String> {
    let text = node.as_text()?;
    let target = match key {
        "mounts" => text.split(',').find_map(|field| match field.split_once('=')? {
            ("target" | "dst" | "destination", target) => Some(target),
            _ => None,
        })?,
        "tmpfs" => text.split(':').next()?,
        _ => text.split(':').nth(1).unwrap_or(text),
    };
    Some(target.trim_end_matches('/').to_owned())
}

/// Marks of one file that mean nothing once it stands alone.
pub(super) fn settle(node: &mut Node) {
    node.joins = Joins::Merged;
    match &mut node.value {
        Value::Table(table) => {
            let removed: Vec<String> = table
                .iter()
                .filter(|entry| entry.node.joins == Joins::Removes)
                .map(|entry| entry.key.clone())
                .collect();
            for key in removed {
                table.remove(&key);
            }
            table.iter_mut().for_each(|entry| settle(&mut entry.node));
        }
        Value::List(list) => list.iter_mut().for_each(settle),
        Value::Scalar(..) => {}
    }
}
