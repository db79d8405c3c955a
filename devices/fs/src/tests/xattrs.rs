//! Extended attributes.

use std::fs;

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::client::{libc_o, read};
use super::{Client, Reply};
use crate::wire::{GetxattrIn, Opcode, SetxattrIn, SizeOut};

fn set(client: &mut Client, node: u64, name: &str, value: &[u8], flags: u32) -> Reply {
    let set = SetxattrIn { size: u32::try_from(value.len()).unwrap(), flags };
    client.call(Opcode::Setxattr, node, &[set.as_bytes(), name.as_bytes(), b"\0", value].concat())
}

fn get(client: &mut Client, node: u64, name: &str, size: u32) -> Reply {
    client.named(Opcode::Getxattr, node, GetxattrIn { size, padding: 0 }.as_bytes(), &[name])
}

fn list(client: &mut Client, node: u64, size: u32) -> Reply {
    client.call(Opcode::Listxattr, node, GetxattrIn { size, padding: 0 }.as_bytes())
}

#[test]
fn values_come_back_and_go() {
    let mut client = Client::new();
    let node = client.create(client.share, "f").unwrap().0.nodeid;
    set(&mut client, node, "user.a", b"value", 0).unwrap();
    assert_eq!(get(&mut client, node, "user.a", 100).unwrap(), b"value");
    assert_eq!(read::<SizeOut>(&get(&mut client, node, "user.a", 0).unwrap()).size, 5);
    assert_eq!(get(&mut client, node, "user.a", 4).unwrap_err(), Errno::RANGE);
    assert_eq!(set(&mut client, node, "user.a", b"", 1).unwrap_err(), Errno::EXIST);
    assert_eq!(set(&mut client, node, "user.b", b"", 2).unwrap_err(), Errno::NODATA);
    assert_eq!(set(&mut client, node, "user.b", b"", 4).unwrap_err(), Errno::INVAL);
    assert_eq!(list(&mut client, node, 100).unwrap(), b"user.a\0");
    assert_eq!(read::<SizeOut>(&list(&mut client, node, 0).unwrap()).size, 7);
    assert_eq!(list(&mut client, node, 6).unwrap_err(), Errno::RANGE);
    client.named(Opcode::Removexattr, node, &[], &["user.a"]).unwrap();
    assert_eq!(get(&mut client, node, "user.a", 100).unwrap_err(), Errno::NODATA);
    assert_eq!(list(&mut client, node, 100).unwrap(), b"");
}

#[test]
fn what_the_host_would_heed_is_kept_under_another_name() {
    let mut client = Client::new();
    let node = client.create(client.share, "f").unwrap().0.nodeid;
    for name in ["security.capability", "trusted.overlay.opaque", "security.evm"] {
        set(&mut client, node, name, b"value", 0).unwrap();
        assert_eq!(get(&mut client, node, name, 100).unwrap(), b"value", "{name}");
        let mut real = [0u8; 8];
        assert!(rustix::fs::getxattr(client.path("f"), name, &mut real[..]).is_err(), "{name}");
    }
    let names = list(&mut client, node, 1000).unwrap();
    assert_eq!(names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).count(), 3);
    client.uid = 1000;
    assert!(!list(&mut client, node, 1000).unwrap().windows(7).any(|window| window == b"trusted"));
    assert_eq!(set(&mut client, node, "system.posix_acl_access", b"x", 0).unwrap_err(), Errno::OPNOTSUPP);
    assert_eq!(set(&mut client, node, "user.monocore.owner", b"0:0:4755:755", 0).unwrap_err(), Errno::PERM);
    assert_eq!(get(&mut client, node, "user.monocore.owner", 99).unwrap_err(), Errno::NODATA);
}

#[test]
fn capabilities_of_the_host_are_seen_and_the_guests_go_with_a_write() {
    let mut client = Client::new();
    let share = client.share;
    fs::write(client.path("f"), "").unwrap();
    // VFS_CAP_REVISION_2 with CAP_NET_RAW permitted.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::fs::setxattr(client.path("f"), "security.capability", &capability, XattrFlags::empty()).unwrap();
    let node = client.lookup(share, "f").unwrap().nodeid;
    assert_eq!(get(&mut client, node, "security.capability", 100).unwrap(), capability);
    assert_eq!(list(&mut client, node, 100).unwrap(), b"security.capability\0");
    set(&mut client, node, "security.capability", b"the guest's", 0).unwrap();
    assert_eq!(get(&mut client, node, "security.capability", 100).unwrap(), b"the guest's");
    let fh = client.open(node, libc_o::WRONLY).unwrap();
    client.write(node, fh, 0, b"changed").unwrap();
    assert_eq!(get(&mut client, node, "security.capability", 100).unwrap_err(), Errno::NODATA);
}

#[test]
fn impossible_sizes_are_refused() {
    let mut client = Client::new();
    let node = client.create(client.share, "f").unwrap().0.nodeid;
    for size in [5, u32::MAX] {
        let set = SetxattrIn { size, flags: 0 };
        let body = [set.as_bytes(), b"user.a\0four"].concat();
        assert!(client.call(Opcode::Setxattr, node, &body).is_err(), "{size}");
    }
    assert_eq!(get(&mut client, node, "", 5).unwrap_err(), Errno::NODATA);
    assert_eq!(get(&mut client, node, "user.none", u32::MAX).unwrap_err(), Errno::NODATA);
    assert_eq!(get(&mut client, 1, "user.a", 5).unwrap_err(), Errno::NODATA);
}
