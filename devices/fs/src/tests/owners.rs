//! Who owns what, with root and without.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use zerocopy::IntoBytes;

use super::Client;
use super::client::read;
use crate::owners::OwnerPolicy;
use crate::server::ServerConfig;
use crate::wire::{EntryOut, Opcode, SetattrIn, fattr};

/// A guest of a user whose files shall be 1000's in the guest.
fn mapped() -> Client {
    Client::with(
        false,
        ServerConfig { owners: OwnerPolicy::Mapped { uid: 1000, gid: 1001 }, ..Client::config() },
    )
}

fn chown(uid: u32, gid: u32) -> SetattrIn {
    SetattrIn { valid: fattr::UID | fattr::GID, uid, gid, ..SetattrIn::default() }
}

#[test]
fn with_root_new_files_are_the_guests_users() {
    let mut client = Client::new();
    (client.uid, client.gid) = (1234, 5678);
    let (entry, _) = client.create(client.share, "f").unwrap();
    assert_eq!((entry.attr.uid, entry.attr.gid), (1234, 5678));
    client.mkdir(client.share, "d").unwrap();
    client.named(Opcode::Symlink, client.share, &[], &["l", "f"]).unwrap();
    for name in ["f", "d", "l"] {
        let meta = fs::symlink_metadata(client.path(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (1234, 5678), "{name}");
    }
}

#[test]
fn a_set_gid_directory_hands_its_group_on() {
    for mut client in [Client::new(), mapped()] {
        let share = client.share;
        (client.uid, client.gid) = (7, 8);
        let reply = client.named(Opcode::Mkdir, share, [0o755u32, 0].as_bytes(), &["d"]).unwrap();
        let dir = read::<EntryOut>(&reply).nodeid;
        let set =
            SetattrIn { valid: fattr::MODE | fattr::GID, mode: 0o2775, gid: 99, ..SetattrIn::default() };
        assert_eq!(client.setattr(dir, set).unwrap().attr.mode, 0o042_775);
        let (file, _) = client.create(dir, "f").unwrap();
        assert_eq!((file.attr.uid, file.attr.gid), (7, 99));
        let below = client.mkdir(dir, "e").unwrap();
        assert_eq!((below.attr.gid, below.attr.mode), (99, 0o042_755));
    }
}

#[test]
fn without_root_files_are_the_sandbox_users_until_a_chown() {
    let mut client = mapped();
    let share = client.share;
    fs::write(client.path("f"), "").unwrap();
    fs::set_permissions(client.path("f"), PermissionsExt::from_mode(0o755)).unwrap();
    let entry = client.lookup(share, "f").unwrap();
    assert_eq!((entry.attr.uid, entry.attr.gid), (1000, 1001));
    let attr = client.setattr(entry.nodeid, chown(33, 34)).unwrap().attr;
    assert_eq!((attr.uid, attr.gid), (33, 34));
    assert_eq!(client.lookup(share, "f").unwrap().attr.uid, 33);
    let meta = fs::metadata(client.path("f")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (0, 0), "nothing is given away on the host");
    // A change of the mode on the host makes the record void.
    fs::set_permissions(client.path("f"), PermissionsExt::from_mode(0o700)).unwrap();
    let attr = client.lookup(share, "f").unwrap().attr;
    assert_eq!((attr.uid, attr.mode), (1000, 0o100_700));
}

#[test]
fn without_root_set_id_and_forbidden_modes_stay_in_the_record() {
    let mut client = mapped();
    let share = client.share;
    let (entry, fh) = client.create_with(share, "f", 0o4755, 0).unwrap();
    assert_eq!(entry.attr.mode, 0o104_755);
    assert_eq!(fs::metadata(client.path("f")).unwrap().mode() & 0o7777, 0o755);
    let set = SetattrIn { valid: fattr::MODE, mode: 0, ..SetattrIn::default() };
    assert_eq!(client.setattr(entry.nodeid, set).unwrap().attr.mode, 0o100_000);
    assert_eq!(fs::metadata(client.path("f")).unwrap().mode() & 0o7777, 0o600);
    client.write(entry.nodeid, fh, 0, b"x").unwrap();
    assert_eq!(client.getattr(entry.nodeid).unwrap().attr.mode, 0o100_000);
}

#[test]
fn without_root_somebody_elses_files_are_nobodys() {
    let mut client = mapped();
    fs::write(client.path("f"), "").unwrap();
    std::os::unix::fs::chown(client.path("f"), Some(4242), None).unwrap();
    let attr = client.lookup(client.share, "f").unwrap().attr;
    assert_eq!((attr.uid, attr.gid), (65534, 1001));
}

#[test]
fn without_root_a_links_owner_cannot_be_kept() {
    let mut client = mapped();
    let reply = client.named(Opcode::Symlink, client.share, &[], &["l", "f"]).unwrap();
    let link: EntryOut = read(&reply);
    let attr = client.setattr(link.nodeid, chown(33, 34)).unwrap().attr;
    assert_eq!((attr.uid, attr.gid), (1000, 1001));
}
