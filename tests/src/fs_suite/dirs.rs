//! Directories: listing, positions, link counts, removal.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::fs::{FileType, OFlags, RawDir, SeekFrom, rmdir, seek, unlink};
use rustix::io::Errno;

use super::Checks;

pub(super) fn run(checks: &mut Checks) {
    listing(checks);
    many(checks);
    counts(checks);
    removal(checks);
}

/// An entry as `getdents64` gives it.
struct Entry {
    name: String,
    ino: u64,
    kind: FileType,
    behind: u64,
}

/// Reads entries from where the directory stands, `limit` at most.
fn read(dir: impl AsFd, limit: usize) -> Vec<Entry> {
    let mut space = vec![MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(dir, &mut space);
    let mut list = Vec::new();
    while let Some(Ok(entry)) = entries.next() {
        list.push(Entry {
            name: entry.file_name().to_string_lossy().into_owned(),
            ino: entry.ino(),
            kind: entry.file_type(),
            behind: entry.next_entry_cookie(),
        });
        if list.len() == limit {
            break;
        }
    }
    list
}

fn listing(checks: &mut Checks) {
    checks.directory("list");
    checks.file("list/file", b"");
    checks.directory("list/dir");
    let linked = rustix::fs::symlink("file", checks.at("list/link"));
    checks.works("symlink", linked);
    let opened = checks.open("list", OFlags::RDONLY | OFlags::DIRECTORY, 0);
    let Some(dir) = checks.works("open a directory", opened) else { return };
    let entries = read(&dir, usize::MAX);
    checks.equal("entries with the dots", entries.len(), 5);
    for (name, kind) in [
        ("file", FileType::RegularFile),
        ("dir", FileType::Directory),
        ("link", FileType::Symlink),
        (".", FileType::Directory),
    ] {
        let entry = entries.iter().find(|entry| entry.name == name);
        checks.equal(&format!("type of {name}"), entry.map(|entry| entry.kind), Some(kind));
        let ino = checks.stat(&format!("list/{name}")).map(|stat| stat.st_ino).ok();
        checks.equal(&format!("number of {name}"), entry.map(|entry| entry.ino), ino);
    }
    checks.equal("at the end", read(&dir, usize::MAX).len(), 0);
    checks.equal("rewind", seek(&dir, SeekFrom::Start(0)), Ok(0));
    checks.equal("again", read(&dir, usize::MAX).len(), 5);
    checks.file("list/new", b"");
    checks.equal("rewind", seek(&dir, SeekFrom::Start(0)), Ok(0));
    checks.equal("one more", read(&dir, usize::MAX).len(), 6);
}

fn many(checks: &mut Checks) {
    checks.directory("many");
    let expected: BTreeSet<String> = (0..600).map(|n| format!("{n}-{}", "x".repeat(n % 90))).collect();
    let made = expected.iter().try_for_each(|name| std::fs::write(checks.at(&format!("many/{name}")), name));
    checks.works("600 files", made);
    let opened = checks.open("many", OFlags::RDONLY | OFlags::DIRECTORY, 0);
    let Some(dir) = checks.works("open", opened) else { return };
    let all = read(&dir, usize::MAX);
    let names: BTreeSet<String> =
        all.iter().map(|e| e.name.clone()).filter(|n| !n.starts_with('.')).collect();
    checks.equal("each once", all.len(), 602);
    checks.holds("all of them", names == expected);
    // Any entry's position leads to what came behind it.
    for start in [0, 1, 100, 333, 600] {
        let Some(entry) = all.get(start) else { continue };
        let found = seek(&dir, SeekFrom::Start(entry.behind));
        checks.works(&format!("seek behind entry {start}"), found);
        let rest = read(&dir, usize::MAX);
        checks.holds(
            "the same rest",
            rest.iter().map(|e| &e.name).eq(all[start + 1..].iter().map(|e| &e.name)),
        );
    }
    // What is removed while it is being read does no harm to the rest.
    checks.equal("rewind", seek(&dir, SeekFrom::Start(0)), Ok(0));
    let mut seen = BTreeSet::new();
    loop {
        let batch = read_batch(&dir);
        if batch.is_empty() {
            break;
        }
        for name in batch.into_iter().filter(|name| !name.starts_with('.')) {
            let removed = unlink(checks.at(&format!("many/{name}")));
            if removed.is_err() || !seen.insert(name) {
                checks.holds("an entry listed twice or not there", false);
            }
        }
    }
    checks.equal("removed while listing", seen.len(), 600);
    let removed = rmdir(checks.at("many"));
    checks.works("now it is empty", removed);
}

/// One system call's worth of names.
fn read_batch(dir: impl AsFd) -> Vec<String> {
    let mut space = vec![MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(dir, &mut space);
    let mut names = Vec::new();
    while let Some(Ok(entry)) = entries.next() {
        names.push(entry.file_name().to_string_lossy().into_owned());
        if entries.is_buffer_empty() {
            break;
        }
    }
    names
}

fn counts(checks: &mut Checks) {
    checks.directory("count");
    let before = checks.stat("count").map(|stat| stat.st_nlink);
    // Some file systems do not count; then it is always 1.
    let counted = before != Ok(1);
    checks.directory("count/a");
    checks.directory("count/b");
    checks.file("count/f", b"");
    if counted {
        checks.links("count", 4);
        checks.links("count/a", 2);
    }
    let removed = rmdir(checks.at("count/a"));
    checks.works("rmdir", removed);
    if counted {
        checks.links("count", 3);
    }
    let moved = rustix::fs::rename(checks.at("count/b"), checks.at("b"));
    checks.works("move a directory out", moved);
    if counted {
        checks.links("count", 2);
    }
}

fn removal(checks: &mut Checks) {
    checks.directory("full");
    checks.file("full/f", b"");
    let removed = rmdir(checks.at("full"));
    checks.fails("rmdir of what is not empty", removed, Errno::NOTEMPTY);
    let removed = unlink(checks.at("full"));
    checks.fails("unlink of a directory", removed, Errno::ISDIR);
    let removed = rmdir(checks.at("full/f"));
    checks.fails("rmdir of a file", removed, Errno::NOTDIR);
    let removed = rmdir(checks.at("none"));
    checks.fails("rmdir of nothing", removed, Errno::NOENT);
    let removed = unlink(checks.at("none"));
    checks.fails("unlink of nothing", removed, Errno::NOENT);
    let removed = rmdir(checks.at("full/."));
    checks.fails("rmdir of `.`", removed, Errno::INVAL);
    let removed = rmdir(checks.at("full/.."));
    checks.fails("rmdir of `..`", removed, Errno::NOTEMPTY);
    checks.content("full/f", b"");
}
