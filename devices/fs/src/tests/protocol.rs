//! Requests that are none, sessions, and what is not served.

use rustix::io::Errno;
use zerocopy::{FromBytes, IntoBytes};

use super::Client;
use super::client::read;
use crate::server::Malformed;
use crate::wire::{GetattrIn, InHeader, InitIn, InitOut, Opcode, OutHeader, StatxIn, StatxOut, flags};

fn header(opcode: Opcode, len: u32) -> InHeader {
    InHeader { len, opcode: opcode as u32, unique: 5, nodeid: 1, ..InHeader::default() }
}

#[test]
fn what_cannot_be_answered_is_malformed() {
    let mut client = Client::new();
    for len in [0, 1, 39] {
        assert_eq!(client.raw(&vec![0; len], 4096), Err(Malformed::NoHeader(len)));
    }
    let lookup = [header(Opcode::Lookup, 42).as_bytes(), b"a\0"].concat();
    for room in [0, 15] {
        assert_eq!(client.raw(&lookup, room), Err(Malformed::NoRoom(room as usize)));
    }
    // FORGET needs none.
    let forget = [header(Opcode::Forget, 48).as_bytes(), 1u64.as_bytes()].concat();
    assert_eq!(client.raw(&forget, 0), Ok(Vec::new()));
}

#[test]
fn lengths_must_agree() {
    let mut client = Client::new();
    for len in [0, 40, 41, 43, u32::MAX] {
        let lookup = [header(Opcode::Lookup, len).as_bytes(), b"a\0"].concat();
        let reply = client.raw(&lookup, 4096).unwrap();
        assert_eq!(read::<OutHeader>(&reply).error, -Errno::INVAL.raw_os_error(), "{len}");
    }
}

#[test]
fn every_operation_survives_missing_arguments_and_tiny_replies() {
    for opcode in (0..60).chain([4096, 1_048_576, u32::MAX]) {
        let mut client = Client::new();
        let share = client.share;
        for len in [0, 1, 7, 8, 15, 16, 24, 40, 56, 64, 88, 100] {
            for byte in [0, 1, 0xff] {
                for node in [0, 1, share, u64::MAX] {
                    if opcode != Opcode::Destroy as u32 {
                        let _ = client.call_raw(opcode, node, &vec![byte; len], 4096);
                        let _ = client.call_raw(opcode, node, &vec![byte; len], 16);
                    }
                }
            }
        }
    }
}

#[test]
fn unknown_operations_are_refused_by_name() {
    let mut client = Client::new();
    // ACCESS, BMAP, POLL, SETUPMAPPING: the guest stops asking.
    for opcode in [34, 37, 40, 48, 99] {
        assert_eq!(client.call_raw(opcode, 1, &[0; 64], 4096).unwrap_err(), Errno::NOSYS, "{opcode}");
    }
    assert_eq!(client.call(Opcode::Ioctl, 1, &[0; 32]).unwrap_err(), Errno::NOTTY);
}

#[test]
fn a_session_begins_with_init_and_ends_with_destroy() {
    let mut client = Client::new();
    let share = client.share;
    let (entry, _) = client.create(share, "f").unwrap();
    client.call(Opcode::Destroy, 0, &[]).unwrap();
    assert_eq!(client.getattr(1).unwrap_err(), Errno::IO);
    client.init();
    assert_eq!(client.getattr(entry.nodeid).unwrap_err(), Errno::STALE);
    assert!(client.lookup(1, "share").unwrap().nodeid > entry.nodeid, "numbers are never used again");
}

#[test]
fn init_agrees_on_what_both_know() {
    let mut client = Client::new();
    let all = InitIn { major: 7, minor: 99, max_readahead: 4096, flags: u32::MAX };
    let mut init = |init: InitIn| {
        let body = [init.as_bytes(), &[0xff; 48]].concat();
        client.call(Opcode::Init, 0, &body).map(|reply| read::<InitOut>(&reply))
    };
    let out = init(all).unwrap();
    assert_eq!((out.major, out.minor, out.max_write, out.max_pages), (7, 39, 1 << 20, 256));
    assert_eq!(u64::from(out.flags) & flags::WRITEBACK_CACHE, 0);
    assert_ne!(u64::from(out.flags) & flags::SUBMOUNTS, 0);
    let locks = flags::POSIX_LOCKS | flags::FLOCK_LOCKS;
    assert_eq!(u64::from(out.flags) & locks, locks);
    assert_eq!(u64::from(out.flags2) << 32, flags::HOST_SHARED);
    assert_eq!(init(InitIn { flags: 0, ..all }).unwrap().flags, 0);
    assert_eq!(init(InitIn { minor: 26, ..all }).unwrap_err(), Errno::PROTO);
    assert_eq!(init(InitIn { major: 6, ..all }).unwrap_err(), Errno::PROTO);
    assert_eq!(init(InitIn { major: 8, ..all }).unwrap().major, 7);
}

#[test]
fn statx_tells_when_a_file_was_born() {
    let mut client = Client::new();
    let (entry, _) = client.create(client.share, "f").unwrap();
    let reply = client.call(Opcode::Statx, entry.nodeid, StatxIn::default().as_bytes()).unwrap();
    let out = StatxOut::read_from_bytes(&reply).unwrap();
    assert_eq!(out.stat.ino, entry.attr.ino);
    assert_eq!(u32::from(out.stat.mode), entry.attr.mode);
    assert_ne!(out.stat.btime.sec, 0);
    assert_eq!(out.stat.mask & 0xfff, 0xfff);
    assert!(client.call(Opcode::Statx, 1, StatxIn::default().as_bytes()).is_ok());
    let by_handle = GetattrIn { getattr_flags: 1, fh: 999, ..GetattrIn::default() };
    assert!(client.call(Opcode::Getattr, entry.nodeid, by_handle.as_bytes()).is_ok());
}
