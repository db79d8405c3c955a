//! Files: content, attributes, names.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::Client;
use super::client::{libc_o, read};
use crate::wire::{
    CopyFileRangeIn, EntryOut, FallocateIn, FsyncIn, LinkIn, LseekIn, LseekOut, Opcode, OpenIn, Rename2In,
    RenameIn, SetattrIn, SizeOut, WriteIn, fattr,
};

#[test]
fn content_comes_back_as_written() {
    let mut client = Client::new();
    let (entry, fh) = client.create(client.share, "f").unwrap();
    let data: Vec<u8> = (0u32..300_000).map(|n| n.to_le_bytes()[1]).collect();
    assert_eq!(client.write(entry.nodeid, fh, 10, &data).unwrap(), 300_000);
    assert_eq!(client.read(entry.nodeid, fh, 10, 400_000).unwrap(), data);
    assert_eq!(client.read(entry.nodeid, fh, 400_000, 10).unwrap(), b"");
    assert_eq!(fs::read(client.path("f")).unwrap()[10..], data);
    assert_eq!(client.getattr(entry.nodeid).unwrap().attr.size, 300_010);
    assert_eq!(client.read(entry.nodeid, fh, u64::MAX, 1).unwrap_err(), Errno::INVAL);
    client.release(Opcode::Release, entry.nodeid, fh).unwrap();
    assert_eq!(client.read(entry.nodeid, fh, 0, 1).unwrap_err(), Errno::BADF);
}

#[test]
fn appending_follows_the_files_end_not_the_guests_idea_of_it() {
    let mut client = Client::new();
    let (entry, fh) = client.create_with(client.share, "f", 0o644, libc_o::APPEND).unwrap();
    fs::write(client.path("f"), "host").unwrap();
    let append = WriteIn { fh, flags: libc_o::APPEND.cast_unsigned(), ..WriteIn::default() };
    client.write_with(entry.nodeid, append, b"guest").unwrap();
    assert_eq!(fs::read(client.path("f")).unwrap(), b"hostguest");
    // Once the flag is off, or where the guest writes its cache back, the offset counts.
    client.write(entry.nodeid, fh, 0, b"H").unwrap();
    client.write_with(entry.nodeid, WriteIn { write_flags: 1, offset: 4, ..append }, b"G").unwrap();
    assert_eq!(fs::read(client.path("f")).unwrap(), b"HostGuest");
}

#[test]
fn a_write_that_claims_another_size_is_refused() {
    let mut client = Client::new();
    let (entry, fh) = client.create(client.share, "f").unwrap();
    let write = WriteIn { fh, size: 5, ..WriteIn::default() };
    let body = [write.as_bytes(), b"four"].concat();
    assert_eq!(client.call(Opcode::Write, entry.nodeid, &body).unwrap_err(), Errno::INVAL);
}

#[test]
fn handles_belong_to_their_node() {
    let mut client = Client::new();
    let (one, fh) = client.create(client.share, "one").unwrap();
    let (two, _) = client.create(client.share, "two").unwrap();
    assert_eq!(client.read(two.nodeid, fh, 0, 1).unwrap_err(), Errno::BADF);
    assert_eq!(client.release(Opcode::Release, two.nodeid, fh).unwrap_err(), Errno::BADF);
    assert!(client.read(one.nodeid, fh, 0, 1).is_ok());
}

#[test]
fn exclusive_creation_and_truncation() {
    let mut client = Client::new();
    let share = client.share;
    fs::write(client.path("f"), "content").unwrap();
    assert_eq!(client.create_with(share, "f", 0o644, libc_o::EXCL).unwrap_err(), Errno::EXIST);
    let (entry, _) = client.create(share, "f").unwrap();
    assert_eq!(entry.attr.size, 7);
    let (entry, _) = client.create_with(share, "f", 0o644, libc_o::TRUNC).unwrap();
    assert_eq!((entry.attr.size, fs::read(client.path("f")).unwrap().len()), (0, 0));
}

#[test]
fn modes_are_exact_whatever_the_hosts_umask() {
    let mut client = Client::new();
    let share = client.share;
    for mode in [0o000, 0o777, 0o666, 0o4755, 0o2711, 0o1600] {
        let name = format!("{mode:o}");
        let (entry, _) = client.create_with(share, &name, mode, 0).unwrap();
        assert_eq!(entry.attr.mode, 0o100_000 | mode, "{mode:o}");
    }
    let reply = client.named(Opcode::Mkdir, share, [0o1777u32, 0].as_bytes(), &["d"]).unwrap();
    assert_eq!(read::<EntryOut>(&reply).attr.mode, 0o041_777);
}

#[test]
fn attributes_are_set_one_by_one() {
    let mut client = Client::new();
    let (entry, _) = client.create(client.share, "f").unwrap();
    let node = entry.nodeid;
    let set = |valid| SetattrIn { valid, ..SetattrIn::default() };
    let attr = client.setattr(node, SetattrIn { mode: 0o640, ..set(fattr::MODE) }).unwrap().attr;
    assert_eq!(attr.mode, 0o100_640);
    let attr = client.setattr(node, SetattrIn { size: 1 << 33, ..set(fattr::SIZE) }).unwrap().attr;
    assert_eq!((attr.size, attr.blocks), (1 << 33, 0));
    let times =
        SetattrIn { atime: 5, atimensec: 6, mtime: 7, mtimensec: 8, ..set(fattr::ATIME | fattr::MTIME) };
    let attr = client.setattr(node, times).unwrap().attr;
    assert_eq!((attr.atime, attr.atimensec, attr.mtime, attr.mtimensec), (5, 6, 7, 8));
    let attr = client.setattr(node, SetattrIn { mtime: 9, ..set(fattr::MTIME) }).unwrap().attr;
    assert_eq!((attr.atime, attr.mtime), (5, 9));
    let attr = client.setattr(node, set(fattr::MTIME_NOW)).unwrap().attr;
    assert!(attr.mtime > 1_000_000_000);
    let before_epoch = SetattrIn { mtime: (-5i64).cast_unsigned(), ..set(fattr::MTIME) };
    assert_eq!(client.setattr(node, before_epoch).unwrap().attr.mtime.cast_signed(), -5);
}

#[test]
fn an_unlinked_file_lives_on_while_it_is_known() {
    let mut client = Client::new();
    let share = client.share;
    let (entry, fh) = client.create(share, "f").unwrap();
    let node = entry.nodeid;
    client.write(node, fh, 0, b"content").unwrap();
    client.named(Opcode::Unlink, share, &[], &["f"]).unwrap();
    assert!(!client.path("f").exists());
    assert_eq!(client.getattr(node).unwrap().attr.nlink, 0);
    assert_eq!(client.read(node, fh, 0, 10).unwrap(), b"content");
    client.release(Opcode::Release, node, fh).unwrap();
    let again = client.open(node, libc_o::RDONLY).unwrap();
    assert_eq!(client.read(node, again, 0, 10).unwrap(), b"content");
    client.release(Opcode::Release, node, again).unwrap();
    client.forget(node, 1);
    assert_eq!(client.getattr(node).unwrap_err(), Errno::STALE);
}

#[test]
fn a_replaced_file_lives_on_too() {
    let mut client = Client::new();
    let share = client.share;
    fs::write(client.path("old"), "old").unwrap();
    fs::write(client.path("new"), "new").unwrap();
    let old = client.lookup(share, "old").unwrap().nodeid;
    let new = client.lookup(share, "new").unwrap().nodeid;
    let rename = RenameIn { newdir: share };
    client.named(Opcode::Rename, share, rename.as_bytes(), &["new", "old"]).unwrap();
    assert_eq!(client.getattr(old).unwrap().attr.nlink, 0);
    let fh = client.open(old, libc_o::RDONLY).unwrap();
    assert_eq!(client.read(old, fh, 0, 10).unwrap(), b"old");
    let fh = client.open(new, libc_o::RDONLY).unwrap();
    assert_eq!(client.read(new, fh, 0, 10).unwrap(), b"new");
}

#[test]
fn nodes_follow_renames_of_what_lies_above_them() {
    let mut client = Client::new();
    let share = client.share;
    let a = client.mkdir(share, "a").unwrap().nodeid;
    let b = client.mkdir(a, "b").unwrap().nodeid;
    let (file, _) = client.create(b, "f").unwrap();
    let rename = RenameIn { newdir: share };
    client.named(Opcode::Rename, share, rename.as_bytes(), &["a", "z"]).unwrap();
    client.named(Opcode::Rename, a, rename.as_bytes(), &["b", "y"]).unwrap();
    assert_eq!(client.getattr(file.nodeid).unwrap().attr.ino, file.attr.ino);
    client.create(b, "g").unwrap();
    assert!(client.path("y/g").exists() && client.path("z").exists());
}

#[test]
fn renames_with_conditions() {
    let mut client = Client::new();
    let share = client.share;
    fs::write(client.path("a"), "a").unwrap();
    fs::write(client.path("b"), "b").unwrap();
    let a = client.lookup(share, "a").unwrap().nodeid;
    let b = client.lookup(share, "b").unwrap().nodeid;
    let rename = |flags| Rename2In { newdir: share, flags, padding: 0 };
    let mut try_rename =
        |flags, names: &[&str]| client.named(Opcode::Rename2, share, rename(flags).as_bytes(), names);
    assert_eq!(try_rename(1, &["a", "b"]).unwrap_err(), Errno::EXIST);
    assert_eq!(try_rename(4, &["a", "b"]).unwrap_err(), Errno::INVAL);
    assert_eq!(try_rename(8, &["a", "b"]).unwrap_err(), Errno::INVAL);
    assert_eq!(try_rename(2, &["a", "none"]).unwrap_err(), Errno::NOENT);
    try_rename(2, &["a", "b"]).unwrap();
    for (node, content) in [(a, b"a"), (b, b"b")] {
        let fh = client.open(node, libc_o::RDONLY).unwrap();
        assert_eq!(client.read(node, fh, 0, 10).unwrap(), content);
    }
    assert_eq!(fs::read(client.path("a")).unwrap(), b"b");
}

#[test]
fn renaming_one_name_of_a_file_to_another_does_nothing() {
    let mut client = Client::new();
    let share = client.share;
    fs::write(client.path("a"), "").unwrap();
    fs::hard_link(client.path("a"), client.path("b")).unwrap();
    let node = client.lookup(share, "b").unwrap().nodeid;
    assert_eq!(client.lookup(share, "a").unwrap().nodeid, node);
    client.lookup(share, "b").unwrap();
    let rename = RenameIn { newdir: share };
    client.named(Opcode::Rename, share, rename.as_bytes(), &["a", "b"]).unwrap();
    assert_eq!(client.getattr(node).unwrap().attr.nlink, 2);
}

#[test]
fn hard_links_are_one_node() {
    let mut client = Client::new();
    let share = client.share;
    let (entry, _) = client.create(share, "a").unwrap();
    let link = LinkIn { oldnodeid: entry.nodeid };
    let reply = client.named(Opcode::Link, share, link.as_bytes(), &["b"]).unwrap();
    let linked: EntryOut = read(&reply);
    assert_eq!((linked.nodeid, linked.attr.nlink), (entry.nodeid, 2));
    client.named(Opcode::Unlink, share, &[], &["b"]).unwrap();
    assert_eq!(client.getattr(entry.nodeid).unwrap().attr.nlink, 1);
    assert_eq!(client.named(Opcode::Link, share, link.as_bytes(), &["a"]).unwrap_err(), Errno::EXIST);
}

#[test]
fn a_file_without_name_can_get_one() {
    let mut client = Client::new();
    let share = client.share;
    let create = crate::wire::CreateIn { flags: 2, mode: 0o600, ..Default::default() };
    let reply = client.named(Opcode::Tmpfile, share, create.as_bytes(), &["/"]).unwrap();
    let (entry, _) = <EntryOut as zerocopy::FromBytes>::read_from_prefix(&reply).unwrap();
    assert_eq!(entry.attr.nlink, 0);
    let link = LinkIn { oldnodeid: entry.nodeid };
    client.named(Opcode::Link, share, link.as_bytes(), &["named"]).unwrap();
    assert_eq!(fs::metadata(client.path("named")).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn holes_are_found_made_and_copied_around() {
    let mut client = Client::new();
    let (entry, fh) = client.create(client.share, "f").unwrap();
    let node = entry.nodeid;
    client.write(node, fh, 1 << 20, &[7; 4096]).unwrap();
    let mut seek = |whence, offset| {
        let lseek = LseekIn { fh, offset, whence, padding: 0 };
        client.call(Opcode::Lseek, node, lseek.as_bytes()).map(|reply| read::<LseekOut>(&reply).offset)
    };
    assert_eq!(seek(3, 0).unwrap(), 1 << 20);
    assert_eq!(seek(4, 1 << 20).unwrap(), (1 << 20) + 4096);
    assert_eq!(seek(3, 2 << 20).unwrap_err(), Errno::NXIO);
    assert_eq!(seek(3, u64::MAX).unwrap_err(), Errno::NXIO);
    assert_eq!(seek(0, 0).unwrap_err(), Errno::INVAL);
    let mut allocate = |mode, offset, length| {
        let fallocate = FallocateIn { fh, offset, length, mode, padding: 0 };
        client.call(Opcode::Fallocate, node, fallocate.as_bytes())
    };
    allocate(3, 1 << 20, 4096).unwrap();
    allocate(0, 0, 3 << 20).unwrap();
    assert_eq!(allocate(8, 0, 4096).unwrap_err(), Errno::OPNOTSUPP);
    assert_eq!(allocate(0, u64::MAX, 1).unwrap_err(), Errno::INVAL);
    assert_eq!(client.getattr(node).unwrap().attr.size, 3 << 20);
    assert_eq!(client.read(node, fh, 1 << 20, 2).unwrap(), [0, 0]);

    let (copy, to) = client.create(client.share, "g").unwrap();
    client.write(node, fh, 0, b"content").unwrap();
    let range = CopyFileRangeIn {
        fh_in: fh,
        nodeid_out: copy.nodeid,
        fh_out: to,
        off_in: 3,
        off_out: 1,
        len: 4,
        flags: 0,
    };
    let reply = client.call(Opcode::CopyFileRange, node, range.as_bytes()).unwrap();
    assert_eq!(read::<SizeOut>(&reply).size, 4);
    assert_eq!(fs::read(client.path("g")).unwrap(), b"\0tent");
    let odd = CopyFileRangeIn { off_in: u64::MAX, ..range };
    assert_eq!(client.call(Opcode::CopyFileRange, node, odd.as_bytes()).unwrap_err(), Errno::INVAL);
}

#[test]
fn writing_back_reaches_what_was_changed_and_nothing_unknown() {
    let mut client = Client::new();
    let share = client.share;
    let dir = client.mkdir(share, "d").unwrap().nodeid;
    let (entry, fh) = client.create(dir, "f").unwrap();
    client.write(entry.nodeid, fh, 0, b"x").unwrap();
    for fsync_flags in [0, 1] {
        let fsync = FsyncIn { fh, fsync_flags, padding: 0 };
        client.call(Opcode::Fsync, entry.nodeid, fsync.as_bytes()).unwrap();
    }
    client.release(Opcode::Release, entry.nodeid, fh).unwrap();
    client.forget(entry.nodeid, 1);
    // Changed, so it is still held; written back, it is not.
    assert!(client.getattr(entry.nodeid).is_ok());
    client.call(Opcode::Syncfs, share, 0u64.as_bytes()).unwrap();
    assert_eq!(client.getattr(entry.nodeid).unwrap_err(), Errno::STALE);
    client.call(Opcode::Syncfs, 1, 0u64.as_bytes()).unwrap();
    let fh = client.opendir(dir).unwrap();
    client.call(Opcode::Fsyncdir, dir, FsyncIn { fh, ..FsyncIn::default() }.as_bytes()).unwrap();
}

#[test]
fn set_id_bits_go_when_somebody_without_the_right_writes() {
    let mut client = Client::new();
    let (entry, fh) = client.create_with(client.share, "f", 0o6755, 0).unwrap();
    let node = entry.nodeid;
    client.write(node, fh, 0, b"by root").unwrap();
    assert_eq!(client.getattr(node).unwrap().attr.mode & 0o7777, 0o6755);
    let kill = WriteIn { fh, write_flags: 4, ..WriteIn::default() };
    client.write_with(node, kill, b"by another").unwrap();
    assert_eq!(client.getattr(node).unwrap().attr.mode & 0o7777, 0o755);
    let set = SetattrIn { valid: fattr::MODE, mode: 0o4755, ..SetattrIn::default() };
    client.setattr(node, set).unwrap();
    client.write_with(node, kill, b"again").unwrap();
    assert_eq!(client.getattr(node).unwrap().attr.mode & 0o7777, 0o755);
    client.setattr(node, set).unwrap();
    let truncate = SetattrIn { valid: fattr::SIZE | fattr::KILL_SUIDGID, ..SetattrIn::default() };
    assert_eq!(client.setattr(node, truncate).unwrap().attr.mode & 0o7777, 0o755);
    client.setattr(node, set).unwrap();
    let open = OpenIn { flags: (libc_o::WRONLY | libc_o::TRUNC).cast_unsigned(), open_flags: 1 };
    client.call(Opcode::Open, node, open.as_bytes()).unwrap();
    assert_eq!(client.getattr(node).unwrap().attr.mode & 0o7777, 0o755);
    client.setattr(node, set).unwrap();
    let chown = SetattrIn { valid: fattr::UID, uid: 5, ..SetattrIn::default() };
    let attr = client.setattr(node, chown).unwrap().attr;
    assert_eq!((attr.mode & 0o7777, attr.uid), (0o755, 5));
}

#[test]
fn a_name_the_host_takes_away_is_stale_and_one_it_brings_is_found() {
    let mut client = Client::new();
    let share = client.share;
    fs::write(client.path("f"), "1").unwrap();
    let node = client.lookup(share, "f").unwrap().nodeid;
    fs::remove_file(client.path("f")).unwrap();
    assert_eq!(client.getattr(node).unwrap_err(), Errno::STALE);
    assert_eq!(client.lookup(share, "f").unwrap_err(), Errno::NOENT);
    fs::write(client.path("f"), "22").unwrap();
    let again = client.lookup(share, "f").unwrap();
    assert_eq!(again.attr.size, 2);
    assert_eq!(again.attr.ino, fs::metadata(client.path("f")).unwrap().ino());
}
