//! Relative paths of a file in another directory, as seen from the project's.

use std::path::{Component, Path, PathBuf};

use crate::config::tree::{Node, Scalar, Table, Value};

/// Every relative path of a canonical tree becomes absolute if the two directories differ.
pub(super) fn rebase(root: &mut Table, from: &Path, to: &Path) {
    if same(from, to) {
        return;
    }
    let mut each = |kind: &str, change: &dyn Fn(&mut Table)| {
        if let Some(Node { value: Value::Table(all), .. }) = root.get_mut(kind) {
            for entry in all.iter_mut() {
                if let Value::Table(table) = &mut entry.node.value {
                    change(table);
                }
            }
        }
    };
    each("service", &|table| service(table, from, to));
    each("secret", &|table| path_at(table, "file", from));
    each("group", &|table| {
        if let Some(Node { value: Value::Table(volumes), .. }) = table.get_mut("volume") {
            for volume in volumes.iter_mut() {
                if let Value::Table(volume) = &mut volume.node.value {
                    path_at(volume, "path", from);
                }
            }
        }
    });
}

/// The paths of one service.
pub(super) fn service(table: &mut Table, from: &Path, to: &Path) {
    if same(from, to) {
        return;
    }
    texts(table, "volumes", |text| match text.split_once(':') {
        Some((source, rest)) if source.contains('/') || source.starts_with('.') => {
            format!("{}:{rest}", absolute(from, source))
        }
        _ => text.to_owned(),
    });
    texts(table, "mounts", |text| {
        if !text.split(',').any(|field| field == "type=bind") {
            return text.to_owned();
        }
        let fields = text.split(',').map(|field| match field.split_once('=') {
            Some((key @ ("source" | "src"), path)) => format!("{key}={}", absolute(from, path)),
            _ => field.to_owned(),
        });
        fields.collect::<Vec<_>>().join(",")
    });
    texts(table, "env_file", |text| absolute(from, text));
    paths_in(table, "env_file", from);
    paths_in(table, "watch", from);
}

/// The path of each of a list of tables.
fn paths_in(table: &mut Table, key: &str, from: &Path) {
    if let Some(Node { value: Value::List(list), .. }) = table.get_mut(key) {
        for node in list {
            if let Value::Table(table) = &mut node.value {
                path_at(table, "path", from);
            }
        }
    }
}

fn texts(table: &mut Table, key: &str, change: impl Fn(&str) -> String) {
    if let Some(Node { value: Value::List(list), .. }) = table.get_mut(key) {
        for node in list {
            if let Value::Scalar(Scalar::Text, text) = &mut node.value {
                *text = change(text);
            }
        }
    }
}

fn path_at(table: &mut Table, key: &str, from: &Path) {
    if let Some(Node { value: Value::Scalar(Scalar::Text, text), .. }) = table.get_mut(key) {
        *text = absolute(from, text);
    }
}

fn absolute(from: &Path, path: &str) -> String {
    if path.starts_with('/') || path.starts_with('~') {
        return path.to_owned();
    }
    let joined: PathBuf = from.join(path).components().filter(|part| *part != Component::CurDir).collect();
    joined.to_string_lossy().into_owned()
}

fn same(a: &Path, b: &Path) -> bool {
    let plain = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    plain(a) == plain(b)
}
