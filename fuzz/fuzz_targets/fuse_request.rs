//! A session of arbitrary FUSE requests with the file server, which must neither panic nor touch anything beside its share.
//!
//! The input is a list of requests: operation, node, length of the arguments, the arguments.

#![no_main]

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use monocore_fs::{Answer, CachePolicy, FsShare, OwnerPolicy, Server, ServerConfig};
use monocore_hypervisor::GuestRam;
use monocore_virtio::Buffers;
use vm_memory::{Bytes, GuestAddress};

const REPLY_AT: u64 = 1 << 20;
const REPLY_ROOM: u32 = 1 << 16;
const SECRET: &[u8] = b"secret";
const INIT: u32 = 26;
const LOOKUP: u32 = 1;

static RAM: LazyLock<GuestRam> =
    LazyLock::new(|| GuestRam::from_ranges(&[(GuestAddress(0), 2 << 20)]).expect("memory"));
static PLACE: LazyLock<PathBuf> =
    LazyLock::new(|| PathBuf::from(format!("/dev/shm/monocore-fuzz-{}", std::process::id())));

fn request(server: &mut Server, opcode: u32, node: u64, arguments: &[u8]) {
    let mut request = Vec::with_capacity(40 + arguments.len());
    let len = u32::try_from(40 + arguments.len()).expect("short");
    request.extend_from_slice(&len.to_le_bytes());
    request.extend_from_slice(&opcode.to_le_bytes());
    request.extend_from_slice(&1u64.to_le_bytes());
    request.extend_from_slice(&node.to_le_bytes());
    request.extend_from_slice(&[0; 16]);
    request.extend_from_slice(arguments);
    RAM.write_slice(&request, GuestAddress(0)).expect("room");
    let (mut readable, mut writable) = (Buffers::new(), Buffers::new());
    assert!(readable.push(&RAM, GuestAddress(0), len));
    assert!(writable.push(&RAM, GuestAddress(REPLY_AT), REPLY_ROOM));
    // A wait for a lock is ended with the server; other requests go on meanwhile.
    if let Answer::Written(written) = server.handle(&readable, &writable).expect("a header and room") {
        assert!(written <= REPLY_ROOM);
    }
}

/// Keeps files small: what is tried is the server, not the size of the machine's memory.
fn tame(opcode: u32, arguments: &mut [u8]) {
    const WRITE: u32 = 16;
    const FALLOCATE: u32 = 43;
    const COPY_FILE_RANGE: u32 = 47;
    let fields: &[usize] = match opcode {
        WRITE => &[8],
        FALLOCATE => &[8, 16],
        COPY_FILE_RANGE => &[8, 32, 40],
        _ => &[],
    };
    for field in fields {
        // Two bytes of eight are left.
        if let Some(high) = arguments.get_mut(field + 2..field + 8) {
            high.fill(0);
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let _ = fs::remove_dir_all(&*PLACE);
    let share = PLACE.join("share");
    fs::create_dir_all(share.join("dir")).expect("a place");
    fs::write(PLACE.join("outside"), SECRET).expect("a file");
    fs::write(share.join("file"), "content").expect("a file");
    let _ = std::os::unix::fs::symlink("../outside", share.join("link"));

    let owners = if input.first().is_some_and(|byte| byte & 1 != 0) {
        OwnerPolicy::Mapped { uid: 0, gid: 0 }
    } else {
        OwnerPolicy::Host
    };
    let config = ServerConfig { owners, writeback: false, max_node_bytes: 16_000, max_descriptors: 64 };
    let root = File::open(&share).expect("the share").into();
    let share = FsShare { name: "s".into(), root, read_only: false, cache: CachePolicy::Auto };
    let (mut server, _handle) = Server::new(config, vec![share]).expect("a server");
    // SUBMOUNTS, HANDLE_KILLPRIV_V2, INIT_EXT, POSIX_LOCKS, FLOCK_LOCKS, and HOST_SHARED.
    let mut init = [7u32, 39, 0, 0x5800_0402, 1 << 30].map(u32::to_le_bytes).concat();
    init.resize(64, 0);
    request(&mut server, INIT, 0, &init);
    request(&mut server, LOOKUP, 1, b"s\0");
    for name in [&b"file\0"[..], b"dir\0", b"link\0"] {
        request(&mut server, LOOKUP, 2, name);
    }

    let mut rest = input.get(1..).unwrap_or_default();
    while let [opcode, node, len, tail @ ..] = rest {
        let (arguments, next) = tail.split_at(usize::from(*len).min(tail.len()));
        let mut arguments = arguments.to_vec();
        tame(u32::from(*opcode), &mut arguments);
        request(&mut server, u32::from(*opcode), u64::from(*node), &arguments);
        rest = next;
    }
    assert_eq!(fs::read(PLACE.join("outside")).expect("it is there"), SECRET);
    assert_eq!(fs::read_dir(&*PLACE).expect("it is there").count(), 2);
});
