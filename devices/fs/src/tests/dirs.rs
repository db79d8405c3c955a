//! Listing directories.

use std::collections::BTreeSet;
use std::fs;

use rustix::io::Errno;

use super::Client;
use crate::wire::Opcode;

/// Lists a directory in replies of `size` bytes.
fn list(client: &mut Client, op: Opcode, node: u64, size: u32) -> Vec<String> {
    let fh = client.opendir(node).unwrap();
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        let entries = client.readdir(op, node, fh, offset, size).unwrap();
        let Some(last) = entries.last() else { break };
        offset = last.1.off;
        names.extend(entries.into_iter().map(|(name, ..)| name));
    }
    client.release(Opcode::Releasedir, node, fh).unwrap();
    names
}

#[test]
fn every_entry_is_listed_once_however_small_the_replies() {
    let mut client = Client::new();
    let mut expected = BTreeSet::from([".".to_owned(), "..".to_owned()]);
    for n in 0..300 {
        let name = format!("{n}-{}", "x".repeat(n % 200));
        fs::write(client.path(&name), "").unwrap();
        expected.insert(name);
    }
    let share = client.share;
    for (op, size) in [
        (Opcode::Readdir, 512),
        (Opcode::Readdir, 65536),
        (Opcode::Readdirplus, 1024),
        (Opcode::Readdirplus, 8192),
    ] {
        let names = list(&mut client, op, share, size);
        assert_eq!(names.len(), expected.len(), "{op:?} {size}");
        assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), expected, "{op:?} {size}");
    }
}

#[test]
fn a_position_stays_good_when_entries_before_it_go() {
    let mut client = Client::new();
    for n in 0..100 {
        fs::write(client.path(&format!("{n}")), "").unwrap();
    }
    let share = client.share;
    let fh = client.opendir(share).unwrap();
    let first = client.readdir(Opcode::Readdir, share, fh, 0, 1024).unwrap();
    let mark = first.last().unwrap().1.off;
    let rest = |client: &mut Client| {
        let mut names = Vec::new();
        let mut offset = mark;
        loop {
            let more = client.readdir(Opcode::Readdir, share, fh, offset, 4096).unwrap();
            let Some(last) = more.last() else { return names };
            offset = last.1.off;
            names.extend(more.into_iter().map(|(name, ..)| name));
        }
    };
    let before = rest(&mut client);
    for (name, ..) in first.iter().filter(|(name, ..)| !name.starts_with('.')) {
        fs::remove_file(client.path(name)).unwrap();
    }
    assert_eq!(rest(&mut client), before);
}

#[test]
fn listing_with_attributes_counts_as_lookup() {
    let mut client = Client::new();
    fs::write(client.path("f"), "content").unwrap();
    fs::create_dir(client.path("d")).unwrap();
    let share = client.share;
    let fh = client.opendir(share).unwrap();
    let entries = client.readdir(Opcode::Readdirplus, share, fh, 0, 8192).unwrap();
    for (name, dirent, entry) in &entries {
        if name.starts_with('.') {
            assert_eq!(entry.nodeid, 0);
            continue;
        }
        assert_eq!(entry.attr.ino, dirent.ino);
        assert_eq!(dirent.kind, entry.attr.mode >> 12);
        assert_eq!(client.lookup(share, name).unwrap().nodeid, entry.nodeid);
        client.forget(entry.nodeid, 1);
        assert!(client.getattr(entry.nodeid).is_ok());
        client.forget(entry.nodeid, 1);
        assert_eq!(client.getattr(entry.nodeid).unwrap_err(), Errno::STALE);
    }
    assert_eq!(entries.len(), 4);
}

#[test]
fn what_lies_above_a_share_is_not_shown() {
    let mut client = Client::new();
    let share = client.share;
    let own = client.getattr(share).unwrap().attr.ino;
    let fh = client.opendir(share).unwrap();
    for (name, dirent, _) in client.readdir(Opcode::Readdir, share, fh, 0, 4096).unwrap() {
        assert_eq!(dirent.ino, own, "{name}");
    }
}

#[test]
fn a_reply_too_small_for_an_entry_is_empty() {
    let mut client = Client::new();
    let share = client.share;
    let fh = client.opendir(share).unwrap();
    assert!(client.readdir(Opcode::Readdir, share, fh, 0, 8).unwrap().is_empty());
    assert_eq!(client.readdir(Opcode::Readdir, share, fh, 0, 4096).unwrap().len(), 2);
}

#[test]
fn positions_that_are_none_do_no_harm() {
    let mut client = Client::new();
    fs::write(client.path("f"), "").unwrap();
    let share = client.share;
    let fh = client.opendir(share).unwrap();
    for offset in [u64::MAX, i64::MAX as u64, 1 << 40] {
        let _ = client.readdir(Opcode::Readdir, share, fh, offset, 4096);
    }
    assert_eq!(client.readdir(Opcode::Readdir, share, fh, 0, 4096).unwrap().len(), 3);
}

#[test]
fn a_removed_directory_lives_on_while_it_is_known() {
    let mut client = Client::new();
    let share = client.share;
    let dir = client.mkdir(share, "d").unwrap().nodeid;
    client.mkdir(dir, "e").unwrap();
    assert_eq!(client.named(Opcode::Rmdir, share, &[], &["d"]).unwrap_err(), Errno::NOTEMPTY);
    assert_eq!(client.named(Opcode::Unlink, share, &[], &["d"]).unwrap_err(), Errno::ISDIR);
    client.named(Opcode::Rmdir, dir, &[], &["e"]).unwrap();
    client.named(Opcode::Rmdir, share, &[], &["d"]).unwrap();
    assert_eq!(client.getattr(dir).unwrap().attr.nlink, 0);
    assert_eq!(client.create(dir, "f").unwrap_err(), Errno::NOENT);
}
