//! A saved server goes on elsewhere.

use std::fs;
use std::sync::Arc;

use rustix::io::Errno;

use super::Client;
use super::client::libc_o;
use crate::server::{Server, ServerParts};
use crate::wire::Opcode;

/// Puts a new server with the saved state in the client's place.
fn move_on(client: &mut Client) {
    let saved = client.server.save();
    let parts = ServerParts::new(Client::config(), Arc::clone(&client.handle.0)).unwrap();
    client.server = Server::from_parts(parts);
    client.server.restore(&saved).unwrap();
    assert_eq!(client.server.save().len(), saved.len());
}

#[test]
fn files_and_handles_are_found_again() {
    let mut client = Client::new();
    let share = client.share;
    let dir = client.mkdir(share, "d").unwrap().nodeid;
    let (file, fh) = client.create(dir, "f").unwrap();
    client.write(file.nodeid, fh, 0, b"content").unwrap();
    for n in 0..50 {
        fs::write(client.path(&format!("d/{n}")), "").unwrap();
    }
    let list = client.opendir(dir).unwrap();
    let first = client.readdir(Opcode::Readdir, dir, list, 0, 512).unwrap();
    let mark = first.last().unwrap().1.off;
    let rest = client.readdir(Opcode::Readdir, dir, list, mark, 8192).unwrap();
    move_on(&mut client);
    assert_eq!(client.read(file.nodeid, fh, 0, 10).unwrap(), b"content");
    client.write(file.nodeid, fh, 7, b"!").unwrap();
    let again = client.readdir(Opcode::Readdir, dir, list, mark, 8192).unwrap();
    assert_eq!(again.iter().map(|e| &e.0).collect::<Vec<_>>(), rest.iter().map(|e| &e.0).collect::<Vec<_>>());
    assert_eq!(client.lookup(dir, "f").unwrap().nodeid, file.nodeid);
    client.release(Opcode::Release, file.nodeid, fh).unwrap();
    let (new, new_fh) = client.create(dir, "g").unwrap();
    assert!(new.nodeid > file.nodeid && new_fh > list);
}

#[test]
fn what_is_gone_is_lost_and_nothing_else_is_taken_for_it() {
    let mut client = Client::new();
    let share = client.share;
    let (gone, gone_fh) = client.create(share, "gone").unwrap();
    let (unlinked, unlinked_fh) = client.create(share, "unlinked").unwrap();
    client.named(Opcode::Unlink, share, &[], &["unlinked"]).unwrap();
    let saved = client.server.save();
    fs::remove_file(client.path("gone")).unwrap();
    client.server.restore(&saved).unwrap();
    for (node, fh) in [(gone.nodeid, gone_fh), (unlinked.nodeid, unlinked_fh)] {
        assert_eq!(client.getattr(node).unwrap_err(), Errno::STALE);
        assert_eq!(client.read(node, fh, 0, 1).unwrap_err(), Errno::IO);
        client.release(Opcode::Release, node, fh).unwrap();
        client.forget(node, 1);
    }
    assert!(client.open(share, libc_o::RDONLY).is_ok() || client.opendir(share).is_ok());
}

#[test]
fn states_that_contradict_themselves_are_refused() {
    let mut client = Client::new();
    client.mkdir(client.share, "d").unwrap();
    let saved = client.server.save();
    for cut in 0..saved.len() {
        assert!(client.server.restore(&saved[..cut]).is_err(), "{cut}");
    }
    for at in 0..saved.len() {
        for bit in 0..8 {
            let mut spoiled = saved.clone();
            spoiled[at] ^= 1 << bit;
            let _ = client.server.restore(&spoiled);
            let _ = client.getattr(client.share);
        }
    }
    client.server.restore(&saved).unwrap();
    assert!(client.getattr(client.share).is_ok());
}
