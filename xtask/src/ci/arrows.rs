//! Who may depend on whom, read from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process::output;
use crate::project;

/// For each crate of the workspace, the crates of the workspace it may use outside its tests.
///
/// Arrows point down only. A crate missing here is an error: a new crate takes its place deliberately.
const DOWN: &[(&str, &[&str])] = &[
    ("monocore-channel", &[]),
    ("monocore-spec", &[]),
    ("monocore-protocol", &[]),
    ("monocore-guest", &[]),
    ("monocore-archive", &[]),
    ("monocore-erofs", &["monocore-archive"]),
    ("monocore-hypervisor", &[]),
    ("monocore-init", &["monocore-archive", "monocore-protocol"]),
    ("monocore-kvm", &["monocore-hypervisor"]),
    ("monocore-hvf", &["monocore-hypervisor"]),
    ("monocore-virtio", &["monocore-hypervisor"]),
    ("monocore-legacy", &["monocore-hypervisor"]),
    ("monocore-balloon", DEVICE),
    ("monocore-blk", DEVICE),
    ("monocore-console", DEVICE),
    ("monocore-fs", DEVICE),
    ("monocore-net", DEVICE),
    ("monocore-proxy", &["monocore-net", "monocore-spec", "monocore-virtio", "monocore-vsock"]),
    ("monocore-rng", DEVICE),
    ("monocore-vsock", DEVICE),
    ("monocore-vhost-user", DEVICE),
    (
        "monocore-vmm",
        &[
            "monocore-balloon",
            "monocore-blk",
            "monocore-channel",
            "monocore-console",
            "monocore-fs",
            "monocore-hvf",
            "monocore-hypervisor",
            "monocore-kvm",
            "monocore-legacy",
            "monocore-net",
            "monocore-proxy",
            "monocore-rng",
            "monocore-spec",
            "monocore-virtio",
            "monocore-vsock",
        ],
    ),
    ("monocore-oci", &["monocore-erofs"]),
    (
        "monocore-orchestrator",
        &[
            "monocore-archive",
            "monocore-channel",
            "monocore-guest",
            "monocore-oci",
            "monocore-protocol",
            "monocore-spec",
        ],
    ),
    ("monocore", &["monocore-orchestrator", "monocore-protocol", "monocore-spec", "monocore-vmm"]),
    ("monocore-api", &[]),
    (
        "monocore-server",
        &["monocore-api", "monocore-oci", "monocore-orchestrator", "monocore-protocol", "monocore-spec"],
    ),
    (
        "monocore-mcp",
        &["monocore-archive", "monocore-oci", "monocore-orchestrator", "monocore-protocol", "monocore-spec"],
    ),
    (
        "monocore-cli",
        &[
            "monocore-api",
            "monocore-blk",
            "monocore-fs",
            "monocore-guest",
            "monocore-hypervisor",
            "monocore-kvm",
            "monocore-mcp",
            "monocore-net",
            "monocore-oci",
            "monocore-orchestrator",
            "monocore-protocol",
            "monocore-proxy",
            "monocore-server",
            "monocore-spec",
            "monocore-vhost-user",
            "monocore-virtio",
            "monocore-vmm",
            "monocore-vsock",
        ],
    ),
];

const DEVICE: &[&str] = &["monocore-hypervisor", "monocore-virtio"];

/// Crates that stand outside: they drive or test the others.
const OUTSIDE: &[&str] = &["xtask", "monocore-tests", "monocore-test-images", "monocore-benches"];

/// Crates from elsewhere, and the only ones of ours that may name them.
const RESERVED: &[(&str, &[&str])] = &[
    ("clap", &["monocore-cli", "xtask", "monocore-tests", "monocore-benches"]),
    ("anyhow", &["monocore-cli", "monocore-init", "xtask", "monocore-tests", "monocore-benches"]),
    ("kvm-ioctls", &["monocore-kvm"]),
    ("kvm-bindings", &["monocore-kvm"]),
    ("applevisor", &["monocore-hvf"]),
];

/// What must not be reachable from a crate by any path: no async runtime in the VMM process, and nothing of a command line
/// in the library that other programs embed.
const UNREACHABLE: &[(&str, &[&str])] = &[
    ("monocore-vmm", &["tokio"]),
    ("monocore-init", &["tokio"]),
    ("monocore", &["clap", "comfy-table", "crossterm", "indicatif", "anyhow", "tracing-subscriber"]),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
    workspace_members: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

/// Names of crates, each with the names of those it uses outside its tests.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// What breaks a rule, one sentence each.
pub(super) fn check() -> Result<Vec<String>> {
    let text = output(project::cargo().args(["metadata", "--format-version=1"]))?;
    let metadata: Metadata =
        serde_json::from_str(&text).context("cargo metadata says something unexpected")?;
    let names: BTreeMap<&str, &str> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
    let name = |id: &str| names.get(id).copied().unwrap_or_default().to_owned();
    let members: BTreeSet<String> = metadata.workspace_members.iter().map(|id| name(id)).collect();
    let mut graph = Graph::new();
    for node in &metadata.resolve.nodes {
        let used = node.deps.iter().filter(|edge| edge.dep_kinds.iter().any(|kind| kind.kind.is_none()));
        // Two versions of one crate share a name: their edges are joined.
        graph.entry(name(&node.id)).or_default().extend(used.map(|edge| name(&edge.pkg)));
    }
    Ok(judge(&members, &graph))
}

fn judge(members: &BTreeSet<String>, graph: &Graph) -> Vec<String> {
    let none = BTreeSet::new();
    let mut broken = Vec::new();
    for member in members {
        let used = graph.get(member).unwrap_or(&none);
        if !OUTSIDE.contains(&member.as_str()) {
            match DOWN.iter().find(|(name, _)| name == member) {
                None => broken.push(format!("{member} has no place in xtask/src/ci/arrows.rs yet")),
                Some((_, allowed)) => broken.extend(
                    used.intersection(members)
                        .filter(|name| !allowed.contains(&name.as_str()))
                        .map(|name| format!("{member} must not depend on {name}")),
                ),
            }
        }
        for (crate_name, owners) in RESERVED {
            if used.contains(*crate_name) && !owners.contains(&member.as_str()) {
                broken.push(format!(
                    "{member} must not depend on {crate_name}; only {} may",
                    owners.join(", ")
                ));
            }
        }
    }
    for (from, never) in UNREACHABLE {
        let reached = reachable(from, graph);
        broken.extend(
            never
                .iter()
                .filter(|name| reached.contains(**name))
                .map(|name| format!("{from} must not reach {name}")),
        );
    }
    broken
}

fn reachable<'a>(from: &'a str, graph: &'a Graph) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        if seen.insert(name) {
            open.extend(graph.get(name).into_iter().flatten().map(String::as_str));
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(edges: &[(&str, &[&str])]) -> Vec<String> {
        let members =
            edges.iter().map(|(name, _)| (*name).to_owned()).filter(|name| name != "tokio").collect();
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        judge(&members, &edges.iter().map(|(name, used)| ((*name).to_owned(), owned(used))).collect())
    }

    #[test]
    fn an_arrow_upwards_is_seen() {
        assert_eq!(
            judged(&[("monocore-kvm", &["monocore-hypervisor"]), ("monocore-hypervisor", &[])]),
            [""; 0]
        );
        assert_eq!(
            judged(&[("monocore-blk", &["monocore-kvm"]), ("monocore-kvm", &[])]),
            ["monocore-blk must not depend on monocore-kvm"]
        );
    }

    #[test]
    fn a_runtime_behind_another_crate_is_seen() {
        let found =
            judged(&[("monocore-vmm", &["monocore-vsock"]), ("monocore-vsock", &["tokio"]), ("tokio", &[])]);
        assert_eq!(found, ["monocore-vmm must not reach tokio"]);
    }

    #[test]
    fn a_reserved_crate_and_a_stranger_are_seen() {
        assert_eq!(judged(&[("monocore-oci", &["clap"])]).len(), 1);
        assert_eq!(judged(&[("monocore-new", &[])]).len(), 1);
    }
}
