//! The root, the shares below it, and their comings and goings.

use std::fs;

use rustix::io::Errno;

use super::Client;
use super::client::{libc_o, share_of};
use crate::share::{CachePolicy, FILE_ENTRY};
use crate::wire::{Attr, Opcode};

#[test]
fn the_root_lists_shares_and_takes_nothing() {
    let mut client = Client::new();
    fs::create_dir(client.around().join("two")).unwrap();
    client.handle.add(share_of(&client.around().join("two"), "two", false)).unwrap();
    let fh = client.opendir(1).unwrap();
    let names: Vec<_> = client.readdir(Opcode::Readdir, 1, fh, 0, 4096).unwrap();
    let names: Vec<_> = names.iter().map(|(name, dirent, _)| (name.as_str(), dirent.off)).collect();
    assert_eq!(names, [(".", 1), ("..", 2), ("share", 3), ("two", 4)]);
    // One share less, and the positions of the others stay.
    client.handle.remove("share").unwrap();
    assert_eq!(client.readdir(Opcode::Readdirplus, 1, fh, 3, 4096).unwrap()[0].0, "two");
    assert!(client.readdir(Opcode::Readdir, 1, fh, u64::MAX, 4096).unwrap().is_empty());
    assert_eq!(client.create(1, "f").unwrap_err(), Errno::ROFS);
    assert_eq!(client.mkdir(1, "d").unwrap_err(), Errno::ROFS);
    assert_eq!(client.named(Opcode::Rmdir, 1, &[], &["two"]).unwrap_err(), Errno::ROFS);
    assert_eq!(client.lookup(1, "none").unwrap_err(), Errno::NOENT);
    assert_eq!(client.getattr(1).unwrap().attr.mode, 0o040_555);
    assert!(client.call(Opcode::Statfs, 1, &[]).is_ok());
    assert_eq!(client.open(1, libc_o::RDONLY).unwrap_err(), Errno::ISDIR);
    assert_eq!(client.call(Opcode::Readlink, 1, &[]).unwrap_err(), Errno::INVAL);
}

#[test]
fn a_share_is_a_submount_whose_name_never_holds() {
    let mut client = Client::new();
    let entry = client.lookup(1, "share").unwrap();
    assert_eq!(entry.attr.flags, Attr::SUBMOUNT);
    assert_eq!((entry.entry_valid, entry.entry_valid_nsec), (0, 0));
    assert_eq!(entry.nodeid, client.share);
    let below = client.mkdir(entry.nodeid, "d").unwrap();
    assert_eq!((below.attr.flags, below.entry_valid), (0, 1));
}

#[test]
fn a_single_file_lies_in_a_directory_of_its_own() {
    let mut client = Client::new();
    let path = client.around().join("outside");
    client.handle.add(share_of(&path, "one", false)).unwrap();
    let dir = client.lookup(1, "one").unwrap();
    assert_eq!((dir.attr.flags, dir.attr.mode), (Attr::SUBMOUNT, 0o040_555));
    let fh = client.opendir(dir.nodeid).unwrap();
    let entries = client.readdir(Opcode::Readdir, dir.nodeid, fh, 0, 4096).unwrap();
    assert_eq!(entries.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), [".", "..", FILE_ENTRY]);
    assert!(client.readdir(Opcode::Readdir, dir.nodeid, fh, 3, 4096).unwrap().is_empty());
    assert_eq!(client.lookup(dir.nodeid, "outside").unwrap_err(), Errno::NOENT);
    assert_eq!(client.create(dir.nodeid, "new").unwrap_err(), Errno::ROFS);
    assert_eq!(client.named(Opcode::Unlink, dir.nodeid, &[], &[FILE_ENTRY]).unwrap_err(), Errno::ROFS);
    let file = client.lookup(dir.nodeid, FILE_ENTRY).unwrap();
    assert_eq!(file.attr.size, 6);
    let fh = client.open(file.nodeid, libc_o::RDWR).unwrap();
    assert_eq!(client.read(file.nodeid, fh, 0, 10).unwrap(), b"secret");
    client.write(file.nodeid, fh, 0, b"S").unwrap();
    assert_eq!(fs::read(path).unwrap(), b"Secret");
    assert_eq!(client.getattr(dir.nodeid).unwrap().attr.mode, 0o040_555);
}

#[test]
fn a_removed_share_is_refused_at_once_and_closed_soon() {
    let mut client = Client::new();
    let share = client.share;
    let (entry, fh) = client.create(share, "f").unwrap();
    client.handle.remove("share").unwrap();
    assert_eq!(client.getattr(share).unwrap_err(), Errno::STALE);
    assert_eq!(client.lookup(share, "f").unwrap_err(), Errno::STALE);
    assert_eq!(client.lookup(1, "share").unwrap_err(), Errno::NOENT);
    assert_eq!(client.write(entry.nodeid, fh, 0, b"x").unwrap_err(), Errno::STALE);
    assert_eq!(client.read(entry.nodeid, fh, 0, 1).unwrap_err(), Errno::STALE);
    client.server.sweep();
    assert_eq!((client.server.nodes.len(), client.server.handles.len()), (1, 0));
    assert_eq!(client.server.nodes.pins_held(), 0);
    // A new one of the same name is another.
    let path = client.path("");
    client.handle.add(share_of(&path, "share", false)).unwrap();
    assert_ne!(client.lookup(1, "share").unwrap().nodeid, share);
}

#[test]
fn one_directory_can_be_two_shares() {
    let mut client = Client::new();
    client.handle.add(share_of(&client.path(""), "again", true)).unwrap();
    let again = client.lookup(1, "again").unwrap().nodeid;
    assert_ne!(again, client.share);
    let (entry, _) = client.create(client.share, "f").unwrap();
    let other = client.lookup(again, "f").unwrap();
    assert_ne!(other.nodeid, entry.nodeid);
    assert_eq!(client.open(other.nodeid, libc_o::RDWR).unwrap_err(), Errno::ROFS);
}

#[test]
fn policies_say_how_long_things_hold() {
    let mut client = Client::new();
    for (name, cache, seconds) in [("never", CachePolicy::Never, 0), ("always", CachePolicy::Always, 86_400)]
    {
        let share = crate::share::FsShare { cache, ..share_of(&client.path(""), name, false) };
        client.handle.add(share).unwrap();
        let share = client.lookup(1, name).unwrap().nodeid;
        let entry = client.mkdir(share, name).unwrap();
        assert_eq!((entry.entry_valid, entry.attr_valid), (seconds, seconds));
        match client.lookup(share, "none") {
            Ok(entry) => assert_eq!((cache, entry.nodeid), (CachePolicy::Always, 0)),
            Err(e) => assert_eq!((cache, e), (CachePolicy::Never, Errno::NOENT)),
        }
    }
}
