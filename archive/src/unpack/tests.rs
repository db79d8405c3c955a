use std::io::Cursor;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use tar::{Builder, EntryType, Header};

use super::*;
use crate::{PackOptions, pack};

fn options(placement: Placement<'_>) -> UnpackOptions<'_> {
    UnpackOptions { placement, owners: false, is_own: false }
}

fn packed(path: &Path) -> Vec<u8> {
    let mut archive = Vec::new();
    let options = PackOptions { name: b".", follow: false };
    pack(path, options, &mut archive, &mut |warning| panic!("{warning}")).unwrap();
    archive
}

fn copy(from: &Path, to: &Path, name: &str, contents: bool) -> io::Result<u64> {
    let placement = Placement::Copy { name: name.as_bytes(), contents };
    unpack(Cursor::new(packed(from)), to, options(placement), &mut |warning| panic!("{warning}"))
}

fn extract(archive: &[u8], to: &Path) -> io::Result<Vec<String>> {
    let mut warnings = Vec::new();
    unpack(Cursor::new(archive), to, options(Placement::Into), &mut |warning| warnings.push(warning))?;
    Ok(warnings)
}

/// An archive with names that a tar library would refuse to write.
fn archive(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, text) in entries {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o4755);
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        let content = if is_link { "" } else { text };
        header.set_size(content.len() as u64);
        if is_link {
            header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    std::fs::create_dir_all(from.join("sub/empty")).unwrap();
    std::fs::write(from.join("sub/file"), "content").unwrap();
    std::fs::write(from.join("x".repeat(200)), "long").unwrap();
    std::fs::hard_link(from.join("sub/file"), from.join("twin")).unwrap();
    symlink("sub/file", from.join("link")).unwrap();
    symlink("y".repeat(300), from.join("dangling")).unwrap();
    std::fs::set_permissions(from.join("sub"), PermissionsExt::from_mode(0o551)).unwrap();
    let sparse = std::fs::File::create(from.join("sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 20 << 20).unwrap();
    let name = b"user.mark".to_vec();
    crate::xattr::write(&from.join("twin"), &[(name.clone(), b"v\0v".to_vec())], false).unwrap();
    assert!(packed(&from).len() < 1 << 20, "holes are not packed");

    copy(&from, &to, "from", false).unwrap();
    assert_eq!(std::fs::read(to.join("twin")).unwrap(), b"content");
    assert_eq!(std::fs::read(to.join("x".repeat(200))).unwrap(), b"long");
    let stat = |path: &str| std::fs::symlink_metadata(to.join(path)).unwrap();
    assert_eq!(stat("twin").ino(), stat("sub/file").ino());
    assert_eq!(std::fs::read_link(to.join("link")).unwrap(), Path::new("sub/file"));
    assert_eq!(std::fs::read_link(to.join("dangling")).unwrap(), Path::new(&"y".repeat(300)));
    assert_eq!(stat("sub").mode() & 0o7777, 0o551);
    let original = std::fs::metadata(from.join("sub")).unwrap();
    assert_eq!((stat("sub").mtime(), stat("sub").mtime_nsec()), (original.mtime(), original.mtime_nsec()));
    assert!(std::fs::read(to.join("sparse")).unwrap() == std::fs::read(from.join("sparse")).unwrap());
    assert!(stat("sparse").blocks() < 1 << 10, "holes stay holes");
    let xattrs = crate::xattr::read(&to.join("sub/file")).unwrap();
    assert!(xattrs.is_empty() || xattrs == [(name, b"v\0v".to_vec())]);
    std::fs::set_permissions(to.join("sub"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(from.join("sub"), PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn targets_follow_dockers_rules() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir(path("tree")).unwrap();
    std::fs::write(path("tree/a"), "a").unwrap();
    std::fs::create_dir(path("there")).unwrap();
    std::fs::write(path("plain"), "old").unwrap();
    let is =
        |name: &str, text: &str| assert_eq!(std::fs::read_to_string(path(name)).unwrap(), text, "{name}");

    copy(&path("tree"), &path("new"), "tree", false).unwrap();
    is("new/a", "a");
    copy(&path("tree"), &path("there"), "tree", false).unwrap();
    is("there/tree/a", "a");
    copy(&path("tree"), &path("there"), "tree", true).unwrap();
    is("there/a", "a");
    let text = |result: io::Result<u64>| result.unwrap_err().to_string();
    assert!(
        text(copy(&path("tree"), &path("plain"), "tree", false))
            .contains("cannot copy a directory to a file")
    );
    copy(&path("tree/a"), &path("plain"), "a", false).unwrap();
    is("plain", "a");
    copy(&path("tree/a"), &path("fresh"), "a", false).unwrap();
    is("fresh", "a");
    copy(&path("tree/a"), &path("there/tree"), "other", false).unwrap();
    is("there/tree/other", "a");
    assert!(text(copy(&path("tree/a"), &path("missing/"), "a", false)).contains("no such directory"));
    assert!(text(copy(&path("tree/a"), &path("missing/b"), "a", false)).contains("no such directory"));
    assert!(text(copy(&path("tree/a"), &path("plain/"), "a", false)).contains("ot a directory"));
    symlink("led-to", path("leads")).unwrap();
    copy(&path("tree/a"), &path("leads"), "a", false).unwrap();
    is("led-to", "a");
}

#[test]
fn a_hostile_archive_stays_below_its_target() {
    let dir = tempfile::tempdir().unwrap();
    let (outside, inside) = (dir.path().join("outside"), dir.path().join("inside"));
    std::fs::create_dir(&outside).unwrap();
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(outside.join("precious"), "as it was").unwrap();
    symlink(&outside, inside.join("old-link")).unwrap();
    let out = outside.to_str().unwrap();
    let absolute = format!("{out}/absolute");
    let precious = format!("{out}/precious");
    for (entries, refused) in [
        (vec![(EntryType::Regular, "../outside/x", "x")], true),
        (vec![(EntryType::Regular, "a/../../outside/x", "x")], true),
        (vec![(EntryType::Regular, &absolute[..], "x")], false),
        (vec![(EntryType::Symlink, "l", out), (EntryType::Regular, "l/x", "x")], true),
        (vec![(EntryType::Symlink, "l2", out), (EntryType::Directory, "l2", "")], true),
        (vec![(EntryType::Symlink, "l3", out), (EntryType::Directory, "l3/d", "")], true),
        (vec![(EntryType::Regular, "old-link/x", "x")], true),
        (vec![(EntryType::Symlink, "f", &precious), (EntryType::Regular, "f", "new")], false),
        (vec![(EntryType::Link, "h", "../outside/precious"), (EntryType::Regular, "h", "new")], true),
        (vec![(EntryType::Link, "h2", &precious)], true),
        (vec![(EntryType::Link, "h3", "old-link/precious")], true),
    ] {
        let result = extract(&archive(&entries), &inside);
        assert_eq!(result.is_err(), refused, "{entries:?}: {result:?}");
    }
    let names: Vec<_> =
        std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["precious"]);
    assert_eq!(std::fs::read_to_string(outside.join("precious")).unwrap(), "as it was");
}

#[test]
fn rights_and_devices_of_a_guest_do_not_come_along() {
    let dir = tempfile::tempdir().unwrap();
    let entries =
        [(EntryType::Regular, "program", "x"), (EntryType::Char, "null", ""), (EntryType::Fifo, "pipe", "")];
    let warnings = extract(&archive(&entries), dir.path()).unwrap();
    assert_eq!(warnings, ["null: a device is not copied"]);
    assert_eq!(std::fs::metadata(dir.path().join("program")).unwrap().mode() & 0o7777, 0o755);
    assert!(!dir.path().join("null").exists() && dir.path().join("pipe").exists());
}

#[test]
fn a_cut_archive_is_an_error_at_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    std::fs::create_dir(&from).unwrap();
    std::fs::write(from.join("a"), "content").unwrap();
    let whole = packed(&from);
    let end = whole.len() - 1024;
    for length in (1..end).filter(|length| length % 512 != 0) {
        let target = dir.path().join(format!("to{length}"));
        let placement = Placement::Copy { name: b"from", contents: false };
        assert!(unpack(Cursor::new(&whole[..length]), &target, options(placement), &mut |_| ()).is_err());
    }
}
