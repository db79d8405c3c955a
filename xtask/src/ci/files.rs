//! The files of the project: what git tracks.

use std::fs;

use anyhow::{Context, Result};

use crate::process::{command, output};
use crate::project;

/// A text file.
pub(super) struct SourceFile {
    /// Relative to the root of the checkout, with `/` between folders.
    pub(super) path: String,
    /// Its content.
    pub(super) text: String,
}

/// Every text file git tracks, and every new one it does not ignore.
pub(super) fn tracked() -> Result<Vec<SourceFile>> {
    let root = project::root();
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = output(command("git", list).current_dir(&root))?;
    let mut files = Vec::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        let full = root.join(path);
        if !full.is_file() {
            continue;
        }
        let bytes = fs::read(&full).with_context(|| format!("cannot read {path}"))?;
        // What is no UTF-8 is no text.
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(SourceFile { path: path.to_owned(), text });
        }
    }
    Ok(files)
}
