//! Reading and writing.

use std::os::fd::OwnedFd;

use rustix::fs::{FallocateFlags, OFlags, SeekFrom, fallocate, ftruncate, seek};
use rustix::io::{Errno, pread, pwrite, read, write};

use super::{Checks, sys};

const RDWR: OFlags = OFlags::CREATE.union(OFlags::RDWR);

pub(super) fn run(checks: &mut Checks) {
    small(checks);
    large(checks);
    appending(checks);
    wrong_modes(checks);
    sparse(checks);
    two_handles(checks);
    mapped(checks);
    copies(checks);
    synchronous(checks);
}

fn file(checks: &mut Checks, name: &str) -> Option<OwnedFd> {
    let opened = checks.open(name, RDWR, 0o644);
    checks.works(&format!("open {name}"), opened)
}

fn small(checks: &mut Checks) {
    let Some(file) = file(checks, "small") else { return };
    checks.equal("write", write(&file, b"hello"), Ok(5));
    checks.equal("position", seek(&file, SeekFrom::Current(0)), Ok(5));
    let mut bytes = [0; 8];
    checks.equal("read at the end", read(&file, &mut bytes), Ok(0));
    checks.equal("seek", seek(&file, SeekFrom::Start(1)), Ok(1));
    checks.equal("read the rest", read(&file, &mut bytes), Ok(4));
    checks.equal("bytes", &bytes[..4], b"ello");
    checks.equal("seek from the end", seek(&file, SeekFrom::End(-2)), Ok(3));
    checks.equal("seek beyond the end", seek(&file, SeekFrom::End(100)), Ok(105));
    checks.fails(
        "seek before the start",
        seek(&file, SeekFrom::Start(0)).and(seek(&file, SeekFrom::Current(-1))),
        Errno::INVAL,
    );
    checks.equal("pwrite", pwrite(&file, b"J", 0), Ok(1));
    checks.equal("pread", pread(&file, &mut bytes, 0), Ok(5));
    checks.equal("bytes", &bytes[..5], b"Jello");
    checks.equal("write nothing", write(&file, b""), Ok(0));
    checks.equal("pread past the end", pread(&file, &mut bytes, 1 << 40), Ok(0));
}

fn large(checks: &mut Checks) {
    let Some(file) = file(checks, "large") else { return };
    let data: Vec<u8> = (0u32..3 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    // Neither begins nor ends at a page.
    let mut at = 12345;
    for chunk in data.chunks(700_001) {
        checks.equal("write a chunk", pwrite(&file, chunk, at), Ok(chunk.len()));
        at += chunk.len() as u64;
    }
    let mut back = vec![0; data.len()];
    let mut done = 0;
    while done < back.len() {
        match pread(&file, &mut back[done..], 12345 + done as u64) {
            Ok(n) if n > 0 => done += n,
            _ => break,
        }
    }
    checks.holds("3 MiB come back", back == data);
    let size = rustix::fs::fstat(&file).map(|stat| stat.st_size);
    checks.equal("size", size, Ok(12345 + (3 << 20)));
    drop(file);
    let content = std::fs::read(checks.at("large")).unwrap_or_default();
    checks.holds("and again after a close", content.get(12345..) == Some(&data[..]));
    checks.holds("zeroes before", content.iter().take(12345).all(|byte| *byte == 0));
}

fn appending(checks: &mut Checks) {
    checks.file("log", b"one\n");
    let opened = checks.open("log", OFlags::WRONLY | OFlags::APPEND, 0);
    let Some(first) = checks.works("open for appending", opened) else { return };
    let opened = checks.open("log", OFlags::WRONLY | OFlags::APPEND, 0);
    let Some(second) = checks.works("open for appending again", opened) else { return };
    checks.equal("append", write(&first, b"two\n"), Ok(4));
    checks.equal("append by the other", write(&second, b"three\n"), Ok(6));
    checks.equal("append by the first again", write(&first, b"four\n"), Ok(5));
    checks.content("log", b"one\ntwo\nthree\nfour\n");
    let off = rustix::fs::fcntl_setfl(&first, OFlags::empty());
    checks.works("take O_APPEND off", off);
    checks.equal("write in place", pwrite(&first, b"ONE", 0), Ok(3));
    checks.content("log", b"ONE\ntwo\nthree\nfour\n");
}

fn wrong_modes(checks: &mut Checks) {
    checks.file("mode", b"content");
    let mut bytes = [0; 4];
    let opened = checks.open("mode", OFlags::RDONLY, 0);
    if let Some(file) = checks.works("open for reading", opened) {
        checks.fails("write to it", write(&file, b"x"), Errno::BADF);
        checks.fails("truncate it", ftruncate(&file, 0), Errno::INVAL);
        checks.fails("allocate in it", fallocate(&file, FallocateFlags::empty(), 0, 1), Errno::BADF);
    }
    let opened = checks.open("mode", OFlags::WRONLY, 0);
    if let Some(file) = checks.works("open for writing", opened) {
        checks.fails("read from it", read(&file, &mut bytes), Errno::BADF);
    }
    let opened = checks.open(".", OFlags::RDONLY, 0);
    if let Some(dir) = checks.works("open a directory", opened) {
        checks.fails("read a directory", read(&dir, &mut bytes), Errno::ISDIR);
    }
    checks.content("mode", b"content");
}

fn sparse(checks: &mut Checks) {
    let Some(file) = file(checks, "sparse") else { return };
    checks.works("grow", ftruncate(&file, 1 << 32));
    let stat = rustix::fs::fstat(&file).map(|stat| (stat.st_size, stat.st_blocks < 64));
    checks.equal("4 GiB of nothing", stat, Ok((1 << 32, true)));
    checks.equal("write at 1 GiB", pwrite(&file, b"island", 1 << 30), Ok(6));
    let mut bytes = [1; 16];
    checks.equal("read a hole", pread(&file, &mut bytes, 1 << 20), Ok(16));
    checks.equal("zeroes", bytes, [0; 16]);
    let data = seek(&file, SeekFrom::Data(0));
    checks.holds("data is found", data.is_ok_and(|at| at <= 1 << 30));
    let hole = seek(&file, SeekFrom::Hole(1 << 30));
    checks.holds("a hole is found behind it", hole.is_ok_and(|at| at > 1 << 30 && at <= 1 << 32));
    checks.fails("data past the end", seek(&file, SeekFrom::Data(1 << 33)), Errno::NXIO);
    checks.works("shrink", ftruncate(&file, (1 << 30) + 3));
    checks.equal("read what is left", pread(&file, &mut bytes, 1 << 30), Ok(3));
    checks.works("grow again", ftruncate(&file, (1 << 30) + 6));
    checks.equal("read", pread(&file, &mut bytes, 1 << 30), Ok(6));
    checks.equal("what was cut is zero", &bytes[..6], b"isl\0\0\0");
    checks.works("to nothing", ftruncate(&file, 0));
    let size = checks.stat("sparse").map(|stat| (stat.st_size, stat.st_blocks));
    checks.equal("empty", size, Ok((0, 0)));
}

fn two_handles(checks: &mut Checks) {
    let (Some(one), Some(two)) = (file(checks, "shared"), file(checks, "shared")) else { return };
    checks.equal("write by one", write(&one, b"abc"), Ok(3));
    let mut bytes = [0; 8];
    checks.equal("read by the other", read(&two, &mut bytes), Ok(3));
    checks.equal("bytes", &bytes[..3], b"abc");
    checks.works("truncate by the other", ftruncate(&two, 1));
    checks.equal("read by the first", pread(&one, &mut bytes, 0), Ok(1));
    checks.equal("write behind the end", write(&one, b"d"), Ok(1));
    checks.content("shared", b"a\0\0d");
}

fn mapped(checks: &mut Checks) {
    let Some(file) = file(checks, "mapped") else { return };
    checks.works("room", ftruncate(&file, 8192));
    checks.equal("write", pwrite(&file, b"before", 4096), Ok(6));
    let seen = sys::with_mapping(&file, 8192, |bytes| {
        let seen = bytes[4096..4102].to_vec();
        bytes[4096..4102].copy_from_slice(b"mapped");
        bytes[10] = b'x';
        seen
    });
    checks.equal("seen in the mapping", seen.ok(), Some(b"before".to_vec()));
    let mut bytes = [0; 6];
    checks.equal("read", pread(&file, &mut bytes, 4096), Ok(6));
    checks.equal("written through the mapping", &bytes, b"mapped");
    checks.works("fsync", rustix::fs::fsync(&file));
    drop(file);
    let content = std::fs::read(checks.at("mapped")).unwrap_or_default();
    checks.holds(
        "still there",
        content.len() == 8192 && content[10] == b'x' && &content[4096..4102] == b"mapped",
    );
}

fn copies(checks: &mut Checks) {
    checks.file("from", &[b"0123456789".as_slice(); 5000].concat());
    let opened = checks.open("from", OFlags::RDONLY, 0);
    let (Some(from), Some(to)) = (checks.works("open the source", opened), file(checks, "to")) else {
        return;
    };
    let (mut at, mut into) = (5, 3);
    let copied = rustix::fs::copy_file_range(&from, Some(&mut at), &to, Some(&mut into), 40_000);
    checks.equal("copy_file_range", copied, Ok(40_000));
    let content = std::fs::read(checks.at("to")).unwrap_or_default();
    checks.equal("size", content.len(), 40_003);
    checks.equal("start", content.get(..8), Some(&b"\0\0\x0056789"[..]));
    let copied = std::fs::copy(checks.at("from"), checks.at("whole"));
    checks.equal("copy", copied.ok(), Some(50_000));
    checks.holds("whole", std::fs::read(checks.at("from")).ok() == std::fs::read(checks.at("whole")).ok());
}

fn synchronous(checks: &mut Checks) {
    for (name, flags) in [("sync", OFlags::SYNC), ("dsync", OFlags::DSYNC)] {
        let opened = checks.open(name, RDWR | flags, 0o644);
        if let Some(file) = checks.works(name, opened) {
            checks.equal("write", write(&file, b"durable"), Ok(7));
            checks.works("fsync", rustix::fs::fsync(&file));
            checks.works("fdatasync", rustix::fs::fdatasync(&file));
            checks.works("syncfs", rustix::fs::syncfs(&file));
        }
        checks.content(name, b"durable");
    }
    let synced = rustix::fs::fsync(&checks.dir);
    checks.works("fsync of a directory", synced);
}
