//! The kernel's configuration: `tinyconfig`, then our fragments, and nothing of them may get lost.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::arch::Arch;
use super::tree::Tree;
use crate::process::{read_text, run};

/// Writes `.config` into the folder of objects.
///
/// # Errors
/// If an option that a fragment asks for did not survive: `olddefconfig` silently drops what lacks a dependency.
pub(super) fn configure(tree: &Tree, arch: Arch, objects: &Path, fragments: &[PathBuf]) -> Result<()> {
    let path = objects.join(".config");
    run(tree.make(arch, objects).arg("tinyconfig"))?;
    let mut requested = String::new();
    for fragment in fragments {
        requested.push_str(&read_text(fragment)?);
    }
    let tiny = read_text(&path)?;
    fs::write(&path, override_with(&tiny, &requested)).context("cannot write the configuration")?;
    run(tree.make(arch, objects).arg("olddefconfig"))?;
    let lost = lost(&requested, &read_text(&path)?);
    if !lost.is_empty() {
        bail!("these options of guest-kernel/config do not survive:\n  {}", lost.join("\n  "));
    }
    Ok(())
}

/// `base` without the options `requested` names, followed by `requested`.
fn override_with(base: &str, requested: &str) -> String {
    let names: Vec<&str> = options(requested).map(|(name, _)| name).collect();
    let kept = base.lines().filter(|line| option(line).is_none_or(|(name, _)| !names.contains(&name)));
    kept.chain(requested.lines()).flat_map(|line| [line, "\n"]).collect()
}

/// The requested options that `config` has not, each with what it has in their place.
fn lost(requested: &str, config: &str) -> Vec<String> {
    let found: std::collections::HashMap<&str, &str> = options(config).collect();
    options(requested)
        .filter_map(|(name, value)| match (value, found.get(name).copied().unwrap_or("n")) {
            (value, found) if value == found => None,
            (value, found) => Some(format!("{name}={value} became {found}")),
        })
        .collect()
}

fn options(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(option)
}

/// `CONFIG_X=value`, or `# CONFIG_X is not set`, whose value is `n`.
fn option(line: &str) -> Option<(&str, &str)> {
    if let Some(name) = line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set")) {
        return name.starts_with("CONFIG_").then_some((name, "n"));
    }
    line.starts_with("CONFIG_").then(|| line.split_once('='))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_option_is_noticed() {
        let requested = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x\"\n# a remark\n";
        assert_eq!(lost(requested, "CONFIG_A=y\nCONFIG_C=\"x\"\n"), Vec::<String>::new());
        assert_eq!(
            lost(requested, "# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=\"x\"\n"),
            ["CONFIG_A=y became n", "CONFIG_B=n became y"]
        );
    }

    #[test]
    fn a_fragment_overrides() {
        assert_eq!(override_with("CONFIG_A=n\nCONFIG_B=y\n", "CONFIG_A=y\n"), "CONFIG_B=y\nCONFIG_A=y\n");
    }
}
