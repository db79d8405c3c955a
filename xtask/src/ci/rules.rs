//! Rules about single files: where `unsafe` may stand, how long a file may be, which words do not belong.

use anyhow::Result;

use super::files::SourceFile;
use super::lexer::code_only;

/// Lines of a Rust file, its tests included.
const MAX_LINES: usize = 800;

/// Characters of a line of prose in a page; tables and examples may be wider.
const MAX_COLUMNS: usize = 100;

/// Code that is not finished.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!"];

/// Marks of work left over, in code or prose.
const LEFT_OVER: &[&str] = &[concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];

/// Endings of type names that say nothing about the type.
const EMPTY_NAMES: &[&str] = &["Manager", "Helper", "Utils", "Context"];

/// Folders whose crates are part of the machine: they choose by file what differs between systems.
const MACHINE: &[&str] = &["vmm/", "kvm/", "hvf/", "devices/"];

/// What breaks a rule, one sentence each.
pub(super) fn check(files: &[SourceFile]) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for file in files {
        if file.path.ends_with(".rs") {
            broken.extend(rust_file(file));
        }
        if file.path.ends_with(".md") {
            broken.extend(page(file));
        }
        if file.path.ends_with("Cargo.toml") && file.path != "Cargo.toml" && !file.path.starts_with("fuzz/") {
            broken.extend(manifest(file));
        }
    }
    Ok(broken)
}

fn rust_file(file: &SourceFile) -> Vec<String> {
    let path = &file.path;
    let mut broken = Vec::new();
    let lines = file.text.lines().count();
    if lines > MAX_LINES {
        broken.push(format!("{path} has {lines} lines; {MAX_LINES} is the end"));
    }
    if !file.text.starts_with("//!") && !path.ends_with("tests.rs") {
        broken.push(format!("{path} does not begin with //! and its purpose"));
    }
    let code = code_only(&file.text);
    let raw: Vec<&str> = file.text.lines().collect();
    let mut in_sys = false;
    for (index, line) in code.lines().enumerate() {
        in_sys = line.ends_with("mod sys {") || (in_sys && line != "}");
        let mut report = |what: &str| broken.push(format!("{path}:{}: {what}", index + 1));
        if has_word(line, "unsafe") && !in_sys && !may_be_unsafe(path) {
            report("unsafe outside kvm, hvf, hypervisor::memory and modules called sys");
        }
        for word in UNFINISHED {
            if line.contains(word) {
                report(&format!("{word} is not finished"));
            }
        }
        for mark in LEFT_OVER {
            if has_word(raw[index], mark) {
                report(&format!("{mark} does not stay in the code"));
            }
        }
        if let Some(name) =
            defined_type(line).filter(|name| EMPTY_NAMES.iter().any(|end| name.ends_with(end)))
        {
            report(&format!("{name}: the name says nothing; name what it is"));
        }
        if line.trim_start().starts_with("mod utils") || line.trim_start().starts_with("pub mod utils") {
            report("utils is no idea");
        }
    }
    if MACHINE.iter().any(|folder| path.starts_with(folder)) {
        broken.extend(machine_file(path, &code));
    }
    broken
}

/// Prose that a terminal shows without breaking it.
fn page(file: &SourceFile) -> Vec<String> {
    let mut broken = Vec::new();
    let mut is_example = false;
    for (index, line) in file.text.lines().enumerate() {
        is_example ^= line.trim_start().starts_with("```");
        let columns = line.chars().count();
        if !is_example && !line.starts_with('|') && columns > MAX_COLUMNS {
            broken.push(format!("{}:{}: {columns} columns; {MAX_COLUMNS} is the end", file.path, index + 1));
        }
    }
    broken
}

/// In the machine's crates `cfg` of a system chooses files; a device names no backend, a backend no device.
fn machine_file(path: &str, code: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let lines: Vec<&str> = code.lines().collect();
    let names: &[&str] = match path {
        path if path.starts_with("devices/") => &["Kvm", "kvm_ioctls", "kvm_bindings", "Gsi", "monocore_kvm"],
        path if path.starts_with("kvm/") || path.starts_with("hvf/") => &["monocore_virtio", "virtio_queue"],
        _ => &[],
    };
    for (index, line) in lines.iter().enumerate() {
        for name in names.iter().filter(|name| has_word(line, name)) {
            broken.push(format!("{path}:{}: {name} must not be named here", index + 1));
        }
        // An item of its own may differ; what is indented is a line inside a shared one.
        let chooses = line.contains("cfg(target_") || line.contains("cfg(not(target_");
        if chooses && line.starts_with(' ') && !followed_by_module(&lines[index..]) {
            broken.push(format!("{path}:{}: cfg(target_…) chooses files and items, not lines", index + 1));
        }
    }
    broken
}

/// Whether the item an attribute belongs to is a module or a `use`.
fn followed_by_module(lines: &[&str]) -> bool {
    let item =
        lines.iter().map(|line| line.trim_start()).find(|line| !line.is_empty() && !line.starts_with("#["));
    item.is_some_and(|line| {
        let line = line.strip_prefix("pub").unwrap_or(line).trim_start();
        let line = line.strip_prefix("(crate)").or(line.strip_prefix("(super)")).unwrap_or(line).trim_start();
        line.starts_with("mod ") || line.starts_with("use ")
    })
}

/// Versions stand in the workspace's own manifest, once.
fn manifest(file: &SourceFile) -> Vec<String> {
    let mut broken = Vec::new();
    let mut dependencies = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.starts_with('[') {
            dependencies = line.trim_end().trim_end_matches(']').ends_with("dependencies");
        } else if dependencies
            && line.contains('=')
            && !line.contains("workspace = true")
            && !line.starts_with('#')
        {
            broken.push(format!("{}:{}: a version belongs into the root Cargo.toml", file.path, index + 1));
        }
    }
    broken
}

fn may_be_unsafe(path: &str) -> bool {
    path.starts_with("kvm/")
        || path.starts_with("hvf/")
        || path.starts_with("vmm/hypervisor/src/memory")
        // The trait declares what only those may call; nothing is done here.
        || path == "vmm/hypervisor/src/traits.rs"
        || path.ends_with("/sys.rs")
        || path.contains("/sys/")
}

/// The name of the type a line defines.
fn defined_type(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line
        .strip_prefix("pub")
        .map_or(line, |rest| rest.trim_start_matches(|c: char| c != ' ').trim_start());
    let rest =
        ["struct ", "enum ", "trait ", "union "].iter().find_map(|keyword| line.strip_prefix(keyword))?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(inside) && !line[at + word.len()..].starts_with(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<String> {
        check(&[SourceFile { path: path.into(), text: text.into() }]).unwrap()
    }

    #[test]
    fn unsafe_has_its_places() {
        let text = "//! x\nunsafe { f() }\n";
        assert_eq!(broken("oci/src/lib.rs", text).len(), 1);
        assert_eq!(broken("oci/src/sys.rs", text).len() + broken("kvm/src/vcpu.rs", text).len(), 0);
        assert_eq!(broken("oci/src/lib.rs", "//! x\n// unsafe\n#![deny(unsafe_code)]\n").len(), 0);
    }

    #[test]
    fn a_module_called_sys_may_stand_in_a_file() {
        let text = "//! x\nmod sys {\n    unsafe fn f() {}\n}\nunsafe fn g() {}\n";
        assert_eq!(
            broken("oci/src/lib.rs", text),
            ["oci/src/lib.rs:5: unsafe outside kvm, hvf, hypervisor::memory and modules called sys"]
        );
    }

    #[test]
    fn length_purpose_and_names_count() {
        let long = format!("//! x\n{}", "\n".repeat(MAX_LINES));
        assert_eq!(broken("cli/src/a.rs", &long).len(), 1);
        assert_eq!(broken("cli/src/a.rs", "fn main() {}\n").len(), 1);
        assert_eq!(broken("cli/src/a.rs", "//! x\npub(crate) struct VmManager;\n").len(), 1);
        assert_eq!(broken("cli/src/a.rs", "//! x\nuse anyhow::Context;\nstruct Vm;\n").len(), 0);
    }

    #[test]
    fn prose_has_an_end() {
        let long = "word ".repeat(30);
        assert_eq!(broken("docs/a.md", &format!("{long}\n")).len(), 1);
        assert_eq!(broken("docs/a.md", &format!("```\n{long}\n```\n| {long} |\n")).len(), 0);
    }

    #[test]
    fn a_system_is_chosen_by_file() {
        let module = "//! x\n#[cfg(target_os = \"linux\")]\n#[path = \"linux.rs\"]\npub(crate) mod sys;\n";
        assert_eq!(broken("vmm/src/a.rs", module).len(), 0);
        assert_eq!(
            broken("vmm/src/a.rs", "//! x\nstruct A {\n    #[cfg(target_os = \"linux\")]\n    fd: u8,\n}\n")
                .len(),
            1
        );
        assert_eq!(broken("devices/blk/src/a.rs", "//! x\nuse monocore_kvm::Kvm;\n").len(), 2);
    }

    #[test]
    fn versions_stand_in_one_place() {
        let text = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = \"1\"\n";
        assert_eq!(broken("x/Cargo.toml", text).len(), 1);
    }
}
