//! What a power cut takes away: of a command that was killed at a step, everything it wrote and did not sync.
//!
//! A file system with an ordered journal keeps names in the order of their changes, so a cut leaves the names of some step.
//! Every step is tried; at each of them a new file that was not synced is empty, and an old one as short as before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::kept::Kept;

/// The lengths of all files.
pub(crate) fn lengths(kept: &Kept) -> BTreeMap<PathBuf, u64> {
    let files = kept.tree().into_iter();
    files.filter_map(|path| Some((path.clone(), std::fs::symlink_metadata(path).ok()?.len()))).collect()
}

/// Takes away what a command that began with files of these lengths did not sync, by strace's account of it.
pub(crate) fn cut(before: &BTreeMap<PathBuf, u64>, trace: &str) {
    for (path, is_appended) in unsynced(trace) {
        let old = before.get(&path).filter(|_| is_appended).copied().unwrap_or(0);
        if let Ok(file) = std::fs::OpenOptions::new().write(true).open(&path) {
            file.set_len(old.min(file.metadata().unwrap().len())).unwrap();
        }
    }
}

/// The files that were written and not synced, and whether they were only appended to.
fn unsynced(trace: &str) -> Vec<(PathBuf, bool)> {
    let mut dirty = BTreeSet::new();
    let mut appended = BTreeSet::new();
    for line in trace.lines() {
        // `1234  openat(AT_FDCWD</>, "/a", O_WRONLY|O_CREAT, 0600) = 3</a>`
        let Some((call, arguments)) = line.split_once('(') else { continue };
        let call = call.split_whitespace().last().unwrap_or_default();
        let (arguments, result) = arguments.rsplit_once(" = ").unwrap_or((arguments, ""));
        match call {
            "openat" if arguments.contains("O_APPEND") => appended.extend(opened(result)),
            "openat" if arguments.contains("O_TRUNC") => dirty.extend(opened(result)),
            "write" | "pwrite64" | "ftruncate" | "fallocate" => dirty.extend(opened(arguments)),
            "copy_file_range" => dirty.extend(arguments.split(", ").nth(2).and_then(opened)),
            // The call in which the process ended has no result.
            "fsync" | "fdatasync" if result.starts_with('0') => {
                let synced = opened(arguments);
                dirty.retain(|path| Some(path) != synced.as_ref());
            }
            "rename" | "renameat" | "renameat2" if result.starts_with('0') => {
                let mut names = arguments.split('"').skip(1).step_by(2).map(PathBuf::from);
                let (Some(from), Some(to)) = (names.next(), names.next()) else { continue };
                dirty = dirty.into_iter().map(|path| moved(path, &from, &to)).collect();
            }
            _ => {}
        }
    }
    dirty.into_iter().map(|path| (path.clone(), appended.contains(&path))).collect()
}

/// The path of the first descriptor in a text like `3</a>, …`.
fn opened(text: &str) -> Option<PathBuf> {
    let (number, rest) = text.split_once('<')?;
    number.trim().parse::<u32>().ok()?;
    Some(PathBuf::from(rest.split_once('>')?.0))
}

/// Where a file lies after `from` has become `to`.
fn moved(path: PathBuf, from: &Path, to: &Path) -> PathBuf {
    match path.strip_prefix(from) {
        Ok(rest) if rest.as_os_str().is_empty() => to.to_owned(),
        Ok(rest) => to.join(rest),
        Err(_) => path,
    }
}

#[test]
fn the_account_of_a_command_tells_what_is_lost() {
    let trace = r#"
7 openat(AT_FDCWD</>, "/h/.new", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0600) = 5</h/.new>
7 write(5</h/.new>, "{}", 2) = 2
7 openat(AT_FDCWD</>, "/h/log", O_WRONLY|O_CREAT|O_APPEND|O_CLOEXEC, 0600) = 6</h/log>
7 write(6</h/log>, "a", 1) = 1
7 openat(AT_FDCWD</>, "/h/gone/x", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0600) = 7</h/gone/x>
7 rename("/h/gone", "/h/.gone") = 0
"#;
    let lost = |trace: &str| {
        let lost = unsynced(trace).into_iter();
        lost.map(|(path, _)| path.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(lost(trace), ["/h/.gone/x", "/h/.new", "/h/log"]);
    let renamed = format!("{trace}7 rename(\"/h/.new\", \"/h/state\") = 0\n");
    assert_eq!(lost(&renamed), ["/h/.gone/x", "/h/log", "/h/state"]);
    let synced = format!("{trace}7 fsync(5</h/.new>) = 0\n7 fsync(6</h/log>) = ?\n");
    assert_eq!(lost(&synced), ["/h/.gone/x", "/h/log"]);
    assert_eq!(unsynced(&synced)[1], ("/h/log".into(), true));
}
