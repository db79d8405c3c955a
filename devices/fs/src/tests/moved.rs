//! What the host moves while the guest knows it.

use std::fs;

use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::Client;
use super::client::libc_o;
use crate::wire::{LinkIn, Opcode, RenameIn, SetattrIn, fattr};

/// A guest that works in `d/e` of its share, with its nodes; then the host moves `d` out.
fn moved_out() -> (Client, u64, u64, u64) {
    let mut client = Client::new();
    fs::create_dir_all(client.path("d/e")).unwrap();
    fs::write(client.path("d/f"), "f").unwrap();
    let share = client.share;
    let d = client.lookup(share, "d").unwrap().nodeid;
    let e = client.lookup(d, "e").unwrap().nodeid;
    let f = client.lookup(d, "f").unwrap().nodeid;
    client.mkdir(e, "made").unwrap();
    client.lookup(d, "f").unwrap();
    let private = client.around().join("private");
    fs::rename(client.path("d"), &private).unwrap();
    fs::write(private.join("new"), "secret").unwrap();
    fs::write(private.join("e/new"), "secret").unwrap();
    (client, d, e, f)
}

#[test]
fn a_directory_moved_out_of_the_share_is_out_of_reach() {
    let (mut client, d, e, f) = moved_out();
    let share = client.share;
    for dir in [d, e] {
        assert_eq!(client.lookup(dir, "new").unwrap_err(), Errno::STALE);
        assert_eq!(client.getattr(dir).unwrap_err(), Errno::STALE);
        assert_eq!(client.opendir(dir).unwrap_err(), Errno::STALE);
        assert_eq!(client.create(dir, "mine").unwrap_err(), Errno::STALE);
        assert_eq!(client.mkdir(dir, "mine").unwrap_err(), Errno::STALE);
        assert_eq!(client.named(Opcode::Symlink, dir, &[], &["mine", "x"]).unwrap_err(), Errno::STALE);
        assert_eq!(client.named(Opcode::Unlink, dir, &[], &["new"]).unwrap_err(), Errno::STALE);
        let rename = RenameIn { newdir: share };
        assert_eq!(
            client.named(Opcode::Rename, dir, rename.as_bytes(), &["new", "got"]).unwrap_err(),
            Errno::STALE
        );
        let set = SetattrIn { valid: fattr::MODE, mode: 0o777, ..SetattrIn::default() };
        assert_eq!(client.setattr(dir, set).unwrap_err(), Errno::STALE);
    }
    assert_eq!(client.open(f, libc_o::RDONLY).unwrap_err(), Errno::STALE);
    let link = LinkIn { oldnodeid: f };
    assert_eq!(client.named(Opcode::Link, share, link.as_bytes(), &["got"]).unwrap_err(), Errno::STALE);
    let private = client.around().join("private");
    assert_eq!(fs::read_dir(private).unwrap().count(), 3);
    assert_eq!(fs::read_dir(client.path("")).unwrap().count(), 0);
}

#[test]
fn a_directory_moved_away_is_not_reached_through_a_link_to_it() {
    let (mut client, d, e, _) = moved_out();
    // The guest guesses where it went.
    client.named(Opcode::Symlink, client.share, &[], &["d", "../private"]).unwrap();
    assert_eq!(client.lookup(d, "new").unwrap_err(), Errno::STALE);
    assert_eq!(client.lookup(e, "new").unwrap_err(), Errno::STALE);
}

#[test]
fn an_open_directory_is_listed_only_while_it_lies_in_the_share() {
    let mut client = Client::new();
    fs::create_dir_all(client.path("d/e")).unwrap();
    fs::create_dir(client.path("other")).unwrap();
    let d = client.lookup(client.share, "d").unwrap().nodeid;
    let e = client.lookup(d, "e").unwrap().nodeid;
    let fh = client.opendir(e).unwrap();
    for op in [Opcode::Readdir, Opcode::Readdirplus] {
        assert!(client.readdir(op, e, fh, 0, 8192).is_ok());
    }
    // Elsewhere in the share, under another name: a listing that has begun goes on.
    fs::rename(client.path("d/e"), client.path("other/g")).unwrap();
    assert_eq!(client.getattr(e).unwrap_err(), Errno::STALE);
    assert!(client.readdir(Opcode::Readdirplus, e, fh, 0, 8192).is_ok());
    fs::rename(client.path("other"), client.around().join("private")).unwrap();
    for op in [Opcode::Readdir, Opcode::Readdirplus] {
        assert_eq!(client.readdir(op, e, fh, 0, 8192).unwrap_err(), Errno::STALE);
    }
}

#[test]
fn a_directory_moved_within_the_share_is_itself_or_stale() {
    let mut client = Client::new();
    fs::create_dir_all(client.path("a/d")).unwrap();
    let a = client.lookup(client.share, "a").unwrap().nodeid;
    let d = client.lookup(a, "d").unwrap().nodeid;
    client.create(d, "f").unwrap();
    // As deep as before: the descriptor of a directory used before leads to it still.
    fs::create_dir(client.path("b")).unwrap();
    fs::rename(client.path("a/d"), client.path("b/e")).unwrap();
    fs::create_dir(client.path("a/d")).unwrap();
    client.create(d, "g").unwrap();
    assert!(client.path("b/e/g").exists());
    client.server.nodes.forget_recent();
    assert_eq!(client.create(d, "h").unwrap_err(), Errno::STALE);
    // At another depth.
    let d = client.lookup(a, "d").unwrap().nodeid;
    client.create(d, "f").unwrap();
    fs::rename(client.path("a/d"), client.path("d")).unwrap();
    assert_eq!(client.create(d, "h").unwrap_err(), Errno::STALE);
    assert_eq!(client.lookup(client.share, "d").unwrap().nodeid, d);
    client.create(d, "h").unwrap();
}

#[test]
fn a_removed_directory_is_empty_and_one_in_its_place_is_not_it() {
    let mut client = Client::new();
    let share = client.share;
    let d = client.mkdir(share, "d").unwrap().nodeid;
    let fh = client.opendir(d).unwrap();
    client.named(Opcode::Rmdir, share, &[], &["d"]).unwrap();
    assert_eq!(client.getattr(d).unwrap().attr.nlink, 0);
    // What Linux says of a removed directory.
    assert_eq!(client.readdir(Opcode::Readdirplus, d, fh, 0, 8192).unwrap_err(), Errno::NOENT);
    // As if the host had exchanged the directory between the server's look and its removal.
    let e = client.mkdir(share, "e").unwrap().nodeid;
    let shared = client.server.nodes.share(share).unwrap();
    let dir = client.server.nodes.reach(share).unwrap();
    let pinned = client.server.nodes.pin(&shared, share, &dir, crate::wire::Name::new(c"e").unwrap());
    assert_eq!(pinned, Some(e));
    fs::rename(client.path("e"), client.around().join("private")).unwrap();
    client.server.nodes.lost_name(e);
    assert_eq!(client.lookup(e, "x").unwrap_err(), Errno::STALE);
}

#[test]
fn a_tree_too_deep_for_one_path_is_walked_in_pieces() {
    let mut client = Client::new();
    let name = "n".repeat(200);
    let mut nodes = vec![client.share];
    for _ in 0..60 {
        nodes.push(client.mkdir(*nodes.last().unwrap(), &name).unwrap().nodeid);
    }
    let deepest = *nodes.last().unwrap();
    let (entry, _) = client.create(deepest, "f").unwrap();
    assert!(client.getattr(entry.nodeid).is_ok());
    // The guest takes it up again: the test's own removal knows no paths that long.
    for at in (1..nodes.len()).rev() {
        if at == nodes.len() - 1 {
            client.named(Opcode::Unlink, nodes[at], &[], &["f"]).unwrap();
        }
        client.named(Opcode::Rmdir, nodes[at - 1], &[], &[&name]).unwrap();
    }
}
