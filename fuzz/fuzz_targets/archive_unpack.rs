//! Archives from a guest, unpacked into a folder of this machine that already has links to elsewhere in it: whatever they
//! say, nothing outside of the folder is made, changed or removed.
//!
//! The first byte says how they are unpacked, and whether the rest is an archive or choices of entries for one.

#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use monocore_archive::{Placement, UnpackOptions, unpack};
use monocore_fuzz::archive::{Given, archive};

/// A folder in memory.
fn folder() -> PathBuf {
    PathBuf::from(format!("/dev/shm/monocore-fuzz-{}", std::process::id()))
}

/// A target, and outside of it a file and a folder that links in the target lead to.
fn prepare(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    let (outside, target) = (folder.join("outside"), folder.join("target"));
    fs::create_dir_all(&outside).expect("a folder");
    fs::create_dir_all(target.join("c")).expect("a folder");
    fs::write(outside.join("a"), "kept").expect("a file");
    symlink("../outside", target.join("a")).expect("a link");
    symlink(&outside, target.join("b")).expect("a link");
    symlink("../../outside/a", target.join("c/a")).expect("a link");
    symlink("..", target.join("c/b")).expect("a link");
}

/// Everything outside of the target, by its path: kind and rights, owner, links, content.
fn outside(folder: &Path) -> BTreeMap<PathBuf, (u32, u32, u64, Vec<u8>)> {
    let mut seen = BTreeMap::new();
    for place in [folder.to_owned(), folder.join("outside")] {
        for entry in fs::read_dir(place).expect("a folder") {
            let entry = entry.expect("an entry");
            let found = entry.metadata().expect("what an entry is");
            let content = if found.is_file() { fs::read(entry.path()).expect("a file") } else { Vec::new() };
            if entry.file_name() == "target" {
                seen.insert(entry.path(), (found.mode() & 0o170_000, 0, 0, content));
            } else {
                seen.insert(entry.path(), (found.mode(), found.uid(), found.nlink(), content));
            }
        }
    }
    seen
}

fuzz_target!(|data: &[u8]| {
    let [choice, rest @ ..] = data else { return };
    let mut given = Given::default();
    let raw = match choice & 1 {
        0 => rest.to_vec(),
        _ => match archive(&mut Unstructured::new(rest), &mut given) {
            Ok(raw) => raw,
            Err(_) => return,
        },
    };
    let folder = folder();
    prepare(&folder);
    let before = outside(&folder);
    let placement = match choice & 2 {
        0 => Placement::Into,
        _ => Placement::Copy { name: b"a", contents: choice & 4 != 0 },
    };
    let options = UnpackOptions { placement, owners: choice & 8 != 0, is_own: false };
    // What is refused may have been made in part.
    let _ = unpack(&raw[..], &folder.join("target"), options, &mut |_| ());
    assert_eq!(outside(&folder), before);
});
