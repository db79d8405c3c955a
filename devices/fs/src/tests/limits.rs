//! What a guest can make the server hold is bounded.

use std::fs;

use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::Client;
use super::client::libc_o;
use crate::server::ServerConfig;
use crate::wire::{BatchForgetIn, ForgetOne, Opcode};

fn small() -> Client {
    Client::with(false, ServerConfig { max_node_bytes: 10_000, max_descriptors: 64, ..Client::config() })
}

#[test]
fn a_guest_knows_so_many_files_and_no_more() {
    let mut client = small();
    let share = client.share;
    for n in 0..60 {
        fs::write(client.path(&format!("{n}")), "").unwrap();
    }
    let mut known = Vec::new();
    let error = (0..60).find_map(|n| match client.lookup(share, &format!("{n}")) {
        Ok(entry) => {
            known.push(entry.nodeid);
            None
        }
        Err(e) => Some(e),
    });
    assert_eq!((error, known.len()), (Some(Errno::NFILE), 38));
    assert_eq!(client.create(share, "new").unwrap_err(), Errno::NFILE);
    assert!(!client.path("new").exists());
    assert_eq!(client.mkdir(share, "new").unwrap_err(), Errno::NFILE);
    // A directory can still be listed.
    let fh = client.opendir(share).unwrap();
    assert!(!client.readdir(Opcode::Readdirplus, share, fh, 0, 8192).unwrap().is_empty());
    let batch = BatchForgetIn { count: 38, dummy: 0 };
    let mut body = batch.as_bytes().to_vec();
    for nodeid in known {
        body.extend_from_slice(ForgetOne { nodeid, nlookup: u64::MAX }.as_bytes());
    }
    client.call(Opcode::BatchForget, 0, &body).unwrap();
    assert!(client.create(share, "new").is_ok());
}

#[test]
fn a_guest_opens_so_many_files_and_no_more() {
    let mut client = small();
    let share = client.share;
    let (entry, _) = client.create(share, "f").unwrap();
    let opened = (0..100).take_while(|_| client.open(entry.nodeid, libc_o::RDONLY).is_ok()).count();
    assert_eq!(opened, 31);
    assert_eq!(client.open(entry.nodeid, libc_o::RDONLY).unwrap_err(), Errno::NFILE);
    assert_eq!(client.opendir(share).unwrap_err(), Errno::NFILE);
    assert_eq!(client.create(share, "g").unwrap_err(), Errno::NFILE);
    assert!(!client.path("g").exists());
}

#[test]
fn many_directories_need_few_descriptors() {
    let config = ServerConfig { max_node_bytes: 1 << 20, max_descriptors: 64, ..Client::config() };
    let mut client = Client::with(false, config);
    let share = client.share;
    let mut nodes = Vec::new();
    for n in 0..1000 {
        let dir = client.mkdir(share, &format!("{n}")).unwrap().nodeid;
        nodes.push((dir, client.mkdir(dir, "below").unwrap().nodeid));
        assert!(client.server.nodes.pins_held() <= 32);
    }
    for (dir, below) in nodes {
        assert!(client.getattr(dir).is_ok());
        client
            .create(below, "f")
            .map(|(entry, fh)| client.release(Opcode::Release, entry.nodeid, fh))
            .unwrap()
            .unwrap();
        assert!(client.server.nodes.pins_held() <= 32);
    }
}

#[test]
fn pinned_files_cannot_take_every_descriptor() {
    let config = ServerConfig { max_node_bytes: 1 << 20, max_descriptors: 64, ..Client::config() };
    let mut client = Client::with(false, config);
    let share = client.share;
    for n in 0..200 {
        fs::write(client.path("f"), "").unwrap();
        client.lookup(share, "f").unwrap();
        client.named(Opcode::Unlink, share, &[], &["f"]).unwrap();
        assert!(client.server.nodes.pins_held() <= 32, "{n}");
    }
    let (entry, _) = client.create(share, "still works").unwrap();
    assert!(client.getattr(entry.nodeid).is_ok());
}

#[test]
fn forgetting_gives_everything_back() {
    let mut client = small();
    let share = client.share;
    for _ in 0..200 {
        let a = client.mkdir(share, "a").unwrap().nodeid;
        let b = client.mkdir(a, "b").unwrap().nodeid;
        // In the wrong order: the parent is held by what lies below it.
        client.forget(a, 1);
        assert!(client.getattr(b).is_ok());
        client.named(Opcode::Rmdir, a, &[], &["b"]).unwrap();
        client.named(Opcode::Rmdir, share, &[], &["a"]).unwrap();
        client.forget(b, 1);
        assert_eq!(client.getattr(b).unwrap_err(), Errno::STALE);
        assert_eq!(client.getattr(a).unwrap_err(), Errno::STALE);
    }
    assert_eq!(client.server.nodes.len(), 2);
    assert_eq!(client.server.nodes.pins_held(), 0);
}

#[test]
fn forgetting_too_much_is_forgiven() {
    let mut client = Client::new();
    client.forget(1, u64::MAX);
    client.forget(u64::MAX, 1);
    client.forget(0, 1);
    assert!(client.getattr(1).is_ok());
    let batch = BatchForgetIn { count: u32::MAX, dummy: 0 };
    client.call(Opcode::BatchForget, 0, batch.as_bytes()).unwrap();
}
