//! What the host changes after the guest was told a file's attributes.

use std::fs;

use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::client::{libc_o, read};
use super::{Client, Reply};
use crate::share::{CachePolicy, FsShare};
use crate::wire::{GetattrIn, Opcode, OpenIn, OpenOut, ReadIn, RenameIn, SetxattrIn};

/// A guest that knows the file `f` of its share, which holds `old`.
fn with_file() -> (Client, u64) {
    let mut client = Client::new();
    fs::write(client.path("f"), "old").unwrap();
    let node = client.lookup(client.share, "f").unwrap().nodeid;
    (client, node)
}

/// A read that fills the guest's cache.
fn read_cached(client: &mut Client, node: u64, fh: u64) -> Reply {
    let read = ReadIn { fh, size: 100, read_flags: 1 << 31, ..ReadIn::default() };
    client.call(Opcode::Read, node, read.as_bytes())
}

fn open_as(client: &mut Client, pid: u32, node: u64) -> Result<u64, Errno> {
    client.pid = pid;
    let open = OpenIn { flags: 0, open_flags: 0 };
    client.call(Opcode::Open, node, open.as_bytes()).map(|reply| read::<OpenOut>(&reply).fh)
}

#[test]
fn a_newer_file_is_looked_up_before_it_is_opened() {
    let (mut client, node) = with_file();
    assert!(open_as(&mut client, 5, node).is_ok());
    fs::write(client.path("f"), "newer").unwrap();
    assert_eq!(open_as(&mut client, 5, node).unwrap_err(), Errno::STALE);
    assert_eq!(client.lookup(client.share, "f").unwrap().attr.size, 5);
    assert!(open_as(&mut client, 5, node).is_ok());
    // An open that no path leads to is not looked up again; it must not fail twice.
    fs::write(client.path("f"), "newest").unwrap();
    assert_eq!(open_as(&mut client, 0, node).unwrap_err(), Errno::STALE);
    assert!(open_as(&mut client, 0, node).is_ok());
    assert_eq!(open_as(&mut client, 6, node).unwrap_err(), Errno::STALE);
}

#[test]
fn new_bytes_are_not_read_under_old_attributes() {
    let (mut client, node) = with_file();
    let fh = client.open(node, libc_o::RDONLY).unwrap();
    assert_eq!(read_cached(&mut client, node, fh).unwrap(), b"old");
    fs::write(client.path("f"), "newer").unwrap();
    assert_eq!(read_cached(&mut client, node, fh).unwrap_err(), Errno::STALE);
    assert_eq!(client.read(node, fh, 0, 100).unwrap(), b"newer", "a read past the cache is never refused");
    client.call(Opcode::Getattr, node, GetattrIn::default().as_bytes()).unwrap();
    assert_eq!(read_cached(&mut client, node, fh).unwrap(), b"newer");
}

#[test]
fn a_file_that_changes_all_the_time_is_read_after_a_while() {
    let (mut client, node) = with_file();
    let fh = client.open(node, libc_o::RDONLY).unwrap();
    let refused = (0..100).take_while(|n| {
        client.getattr(node).unwrap();
        fs::write(client.path("f"), "x".repeat(10 + n)).unwrap();
        read_cached(&mut client, node, fh).is_err()
    });
    assert_eq!(refused.count(), 16);
}

#[test]
fn what_the_guest_changes_itself_is_not_news() {
    let (mut client, node) = with_file();
    let share = client.share;
    let fh = client.open(node, libc_o::RDWR).unwrap();
    client.write(node, fh, 3, b"er").unwrap();
    assert_eq!(read_cached(&mut client, node, fh).unwrap(), b"older");
    client.getattr(node).unwrap();
    let rename = RenameIn { newdir: share };
    client.named(Opcode::Rename, share, rename.as_bytes(), &["f", "g"]).unwrap();
    assert!(read_cached(&mut client, node, fh).is_ok());
    let set = SetxattrIn { size: 1, flags: 0 };
    client.call(Opcode::Setxattr, node, &[set.as_bytes(), b"user.a\0x"].concat()).unwrap();
    assert!(read_cached(&mut client, node, fh).is_ok());
    client.named(Opcode::Removexattr, node, &[], &["user.a"]).unwrap();
    assert!(open_as(&mut client, 7, node).is_ok());
}

#[test]
fn a_share_that_nobody_else_changes_is_not_looked_at() {
    let mut client = Client::new();
    let dir = client.around().join("own");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("f"), "old").unwrap();
    let root = fs::File::open(&dir).unwrap().into();
    let share = FsShare { name: "own".into(), root, read_only: false, cache: CachePolicy::Always };
    client.handle.add(share).unwrap();
    let own = client.lookup(1, "own").unwrap().nodeid;
    let node = client.lookup(own, "f").unwrap().nodeid;
    fs::write(dir.join("f"), "newer").unwrap();
    let fh = open_as(&mut client, 5, node).unwrap();
    assert_eq!(read_cached(&mut client, node, fh).unwrap(), b"newer");
}
