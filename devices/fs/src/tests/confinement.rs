//! Nothing outside a share is ever touched.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::Client;
use super::client::libc_o;
use crate::wire::{LinkIn, MknodIn, Opcode, RenameIn, SetattrIn, fattr};

/// The file beside the share is as it was.
fn untouched(client: &Client) -> bool {
    let outside = client.around().join("outside");
    fs::read(&outside).unwrap() == b"secret" && fs::metadata(&outside).unwrap().nlink() == 1
}

#[test]
fn no_name_leads_up_or_down() {
    let mut client = Client::new();
    let share = client.share;
    for name in ["..", ".", "", "../outside", "/etc/passwd", "a/b"] {
        assert_eq!(client.lookup(share, name).unwrap_err(), Errno::INVAL, "{name}");
        assert_eq!(client.create(share, name).unwrap_err(), Errno::INVAL, "{name}");
        assert_eq!(client.mkdir(share, name).unwrap_err(), Errno::INVAL, "{name}");
        assert_eq!(client.named(Opcode::Unlink, share, &[], &[name]).unwrap_err(), Errno::INVAL, "{name}");
        let rename = RenameIn { newdir: share };
        assert_eq!(
            client.named(Opcode::Rename, share, rename.as_bytes(), &["a", name]).unwrap_err(),
            Errno::INVAL,
            "{name}"
        );
    }
    assert!(untouched(&client));
}

#[test]
fn links_out_are_links_and_nothing_more() {
    let mut client = Client::new();
    let share = client.share;
    symlink("../outside", client.path("file")).unwrap();
    symlink("..", client.path("dir")).unwrap();
    let file = client.lookup(share, "file").unwrap();
    assert_eq!(file.attr.mode & 0o170_000, 0o120_000);
    assert_eq!(client.call(Opcode::Readlink, file.nodeid, &[]).unwrap(), b"../outside");
    assert_eq!(client.open(file.nodeid, libc_o::RDONLY).unwrap_err(), Errno::LOOP);
    assert_eq!(client.create(share, "file").unwrap_err(), Errno::LOOP);
    let set = SetattrIn { valid: fattr::SIZE, ..SetattrIn::default() };
    assert_eq!(client.setattr(file.nodeid, set).unwrap_err(), Errno::LOOP);
    let dir = client.lookup(share, "dir").unwrap().nodeid;
    assert_eq!(client.lookup(dir, "outside").unwrap_err(), Errno::NOTDIR);
    assert_eq!(client.opendir(dir).unwrap_err(), Errno::NOTDIR);
    assert_eq!(client.create(dir, "new").unwrap_err(), Errno::NOTDIR);
    let chown = SetattrIn { valid: fattr::UID, uid: 1, ..SetattrIn::default() };
    client.setattr(file.nodeid, chown).unwrap();
    assert_eq!(fs::metadata(client.around().join("outside")).unwrap().uid(), 0);
    assert!(untouched(&client));
}

#[test]
fn a_directory_replaced_by_a_link_is_stale() {
    let mut client = Client::new();
    let share = client.share;
    let dir = client.mkdir(share, "d").unwrap().nodeid;
    client.create(dir, "f").unwrap();
    let file = client.lookup(dir, "f").unwrap().nodeid;
    // Whoever shares the directory with the guest swaps it under the server, which holds nothing of it any more.
    client.server.nodes.forget_recent();
    fs::rename(client.path("d"), client.path("gone")).unwrap();
    symlink("..", client.path("d")).unwrap();
    fs::write(client.around().join("f"), "secret").unwrap();
    assert_eq!(client.getattr(dir).unwrap_err(), Errno::STALE);
    assert_eq!(client.create(dir, "f").unwrap_err(), Errno::STALE);
    assert_eq!(client.lookup(dir, "outside").unwrap_err(), Errno::STALE);
    assert_eq!(client.named(Opcode::Unlink, dir, &[], &["outside"]).unwrap_err(), Errno::STALE);
    // Its open file is what it was.
    assert!(client.open(file, libc_o::RDWR).is_ok() || client.getattr(file).is_err());
    assert!(untouched(&client));
}

#[test]
fn a_file_replaced_by_another_is_stale() {
    let mut client = Client::new();
    let share = client.share;
    fs::write(client.path("f"), "old").unwrap();
    let file = client.lookup(share, "f").unwrap().nodeid;
    fs::rename(client.around().join("outside"), client.path("f")).unwrap();
    assert_eq!(client.getattr(file).unwrap_err(), Errno::STALE);
    assert_eq!(client.open(file, libc_o::RDWR | libc_o::TRUNC).unwrap_err(), Errno::STALE);
    assert_eq!(fs::read(client.path("f")).unwrap(), b"secret");
    let again = client.lookup(share, "f").unwrap();
    assert_ne!(again.nodeid, file);
    assert_eq!(again.attr.size, 6);
}

#[test]
fn devices_are_neither_made_nor_opened() {
    let mut client = Client::new();
    let share = client.share;
    for kind in [0o020_000, 0o060_000] {
        let mknod = MknodIn { mode: kind | 0o666, rdev: 0x0103, ..MknodIn::default() };
        assert_eq!(client.named(Opcode::Mknod, share, mknod.as_bytes(), &["d"]).unwrap_err(), Errno::PERM);
    }
    if rustix::fs::mknodat(CWD, client.path("null"), FileType::CharacterDevice, Mode::RWXU, 0x0103).is_ok() {
        let null = client.lookup(share, "null").unwrap();
        assert_eq!(null.attr.rdev, 0x0103);
        assert_eq!(client.open(null.nodeid, libc_o::RDONLY).unwrap_err(), Errno::NXIO);
        assert_eq!(client.create(share, "null").unwrap_err(), Errno::NXIO);
    }
}

#[test]
fn pipes_are_made_but_never_opened() {
    let mut client = Client::new();
    let share = client.share;
    let mknod = MknodIn { mode: 0o010_600, ..MknodIn::default() };
    client.named(Opcode::Mknod, share, mknod.as_bytes(), &["p"]).unwrap();
    let pipe = client.lookup(share, "p").unwrap().nodeid;
    assert_eq!(client.open(pipe, libc_o::RDONLY).unwrap_err(), Errno::NXIO);
    assert_eq!(client.create(share, "p").unwrap_err(), Errno::NXIO);
    let set = SetattrIn { valid: fattr::SIZE, ..SetattrIn::default() };
    assert_eq!(client.setattr(pipe, set).unwrap_err(), Errno::NXIO);
}

#[test]
fn nothing_crosses_from_one_share_to_another() {
    let mut client = Client::new();
    let other = client.around().join("other");
    fs::create_dir(&other).unwrap();
    client.handle.add(super::client::share_of(&other, "other", false)).unwrap();
    let other = client.lookup(1, "other").unwrap().nodeid;
    let share = client.share;
    let file = client.create(share, "f").unwrap().0.nodeid;
    let rename = RenameIn { newdir: other };
    assert_eq!(client.named(Opcode::Rename, share, rename.as_bytes(), &["f", "g"]).unwrap_err(), Errno::XDEV);
    let link = LinkIn { oldnodeid: file };
    assert_eq!(client.named(Opcode::Link, other, link.as_bytes(), &["g"]).unwrap_err(), Errno::XDEV);
}

#[test]
fn a_read_only_share_stays_as_it_is() {
    let mut client = Client::read_only();
    let share = client.share;
    fs::write(client.path("f"), "content").unwrap();
    let file = client.lookup(share, "f").unwrap().nodeid;
    for flags in [libc_o::RDWR, libc_o::WRONLY, libc_o::RDONLY | libc_o::TRUNC] {
        assert_eq!(client.open(file, flags).unwrap_err(), Errno::ROFS);
    }
    let fh = client.open(file, libc_o::RDONLY).unwrap();
    assert_eq!(client.write(file, fh, 0, b"x").unwrap_err(), Errno::ROFS);
    assert_eq!(client.read(file, fh, 0, 100).unwrap(), b"content");
    assert_eq!(client.create(share, "g").unwrap_err(), Errno::ROFS);
    assert_eq!(client.mkdir(share, "g").unwrap_err(), Errno::ROFS);
    assert_eq!(client.named(Opcode::Symlink, share, &[], &["g", "f"]).unwrap_err(), Errno::ROFS);
    assert_eq!(client.named(Opcode::Unlink, share, &[], &["f"]).unwrap_err(), Errno::ROFS);
    assert_eq!(client.named(Opcode::Rmdir, share, &[], &["f"]).unwrap_err(), Errno::ROFS);
    let rename = RenameIn { newdir: share };
    assert_eq!(client.named(Opcode::Rename, share, rename.as_bytes(), &["f", "g"]).unwrap_err(), Errno::ROFS);
    let link = LinkIn { oldnodeid: file };
    assert_eq!(client.named(Opcode::Link, share, link.as_bytes(), &["g"]).unwrap_err(), Errno::ROFS);
    for valid in [fattr::SIZE, fattr::MODE, fattr::UID, fattr::MTIME_NOW] {
        let set = SetattrIn { valid, ..SetattrIn::default() };
        assert_eq!(client.setattr(file, set).unwrap_err(), Errno::ROFS);
    }
    let set = [[1u8, 0, 0, 0, 0, 0, 0, 0].as_slice(), b"user.a\0x"].concat();
    assert_eq!(client.call(Opcode::Setxattr, file, &set).unwrap_err(), Errno::ROFS);
    assert_eq!(client.named(Opcode::Removexattr, file, &[], &["user.a"]).unwrap_err(), Errno::ROFS);
    assert_eq!(fs::read(client.path("f")).unwrap(), b"content");
}
