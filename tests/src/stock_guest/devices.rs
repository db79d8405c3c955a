//! Disks and sockets that are ours behind vhost-user: reads the whole of one disk, writes another, and sends bytes
//! through a socket and back. The host's part is `tests/vhost_user.rs`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::{say, sys};

/// Port of the host that gives back what it gets.
pub const ECHO: u32 = 7;
/// Port of the host that is told, by a connection, that the guest listens.
pub const LISTENING: u32 = 8;
/// Port of the guest that answers a line.
pub const ANSWER: u32 = 9;
/// How much is sent to the echo, in bytes.
pub const ECHO_BYTES: usize = 100_000_000;
/// What is written to the scratch disk, and where, in bytes.
const WRITE: (usize, u64) = (8 << 20, 1 << 20);
/// Length of the pattern, in bytes.
const PERIOD: usize = 128 << 10;

/// Uses each device as its driver offers it.
pub(super) fn run() -> Result<()> {
    read_disk("root").context("the disk to read")?;
    write_disk("scratch").context("the disk to write")?;
    echo(ECHO_BYTES).context("the echo")?;
    answer().context("the host's question")
}

/// The disk with this serial.
fn disk(serial: &str) -> Result<PathBuf> {
    for entry in fs::read_dir("/sys/block")? {
        let entry = entry?;
        if fs::read_to_string(entry.path().join("serial")).is_ok_and(|found| found.trim() == serial) {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    bail!("no disk {serial}")
}

fn read_disk(serial: &str) -> Result<()> {
    let path = disk(serial)?;
    let begin = Instant::now();
    let mut file = File::open(&path)?;
    let (mut hash, mut bytes, mut all) = (Sha256::new(), vec![0; 1 << 20], 0);
    while let count @ 1.. = file.read(&mut bytes)? {
        hash.update(&bytes[..count]);
        all += count;
    }
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    say(&format!("root {all} {digest} in {:.1} s", begin.elapsed().as_secs_f64()));
    ensure!(File::options().write(true).open(&path).and_then(|file| file.write_at(&[1], 0)).is_err());
    Ok(())
}

fn write_disk(serial: &str) -> Result<()> {
    let (len, offset) = WRITE;
    let path = disk(serial)?;
    let file = File::options().read(true).write(true).open(&path)?;
    let bytes = pattern().repeat(len / PERIOD);
    file.write_all_at(&bytes, offset)?;
    file.sync_all()?;
    // Read back from the disk, not from this machine's cache.
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    let mut back = vec![0; len];
    file.read_exact_at(&mut back, offset)?;
    ensure!(back == bytes, "the scratch disk gives other bytes back");
    sys::discard(&file, offset, 1 << 20).context("discarding")?;
    say("scratch written");
    Ok(())
}

/// What is written and sent, over and over: no two pieces of 512 bytes in it are the same.
fn pattern() -> Vec<u8> {
    // Always below 256.
    (0..PERIOD).map(|at| u8::try_from((at ^ (at >> 9)) & 0xff).unwrap_or(0)).collect()
}

/// Whether `bytes` are the pattern from `at` on.
fn is_pattern(pattern: &[u8], bytes: &[u8], at: usize) -> bool {
    let mut rest = bytes;
    let mut from = at % PERIOD;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(rest.len().min(PERIOD - from));
        if head != &pattern[from..from + head.len()] {
            return false;
        }
        (rest, from) = (tail, 0);
    }
    true
}

fn echo(len: usize) -> Result<()> {
    let begin = Instant::now();
    let mut socket = sys::connect_vsock(ECHO).context("connecting to the echo")?;
    let mut sender = socket.try_clone()?;
    let sending = std::thread::spawn(move || send(&mut sender, len));
    let (pattern, mut bytes, mut at) = (pattern(), vec![0; 256 << 10], 0);
    while let count @ 1.. = socket.read(&mut bytes)? {
        ensure!(is_pattern(&pattern, &bytes[..count], at), "the echo differs near byte {at}");
        at += count;
    }
    match sending.join() {
        Ok(sent) => sent?,
        Err(_) => bail!("the sender panicked"),
    }
    ensure!(at == len, "{at} of {len} bytes came back");
    say(&format!("echo {at} in {:.1} s", begin.elapsed().as_secs_f64()));
    Ok(())
}

fn send(socket: &mut UnixStream, len: usize) -> Result<()> {
    let pattern = pattern();
    for at in (0..len).step_by(PERIOD) {
        socket.write_all(&pattern[..PERIOD.min(len - at)])?;
    }
    Ok(socket.shutdown(Shutdown::Write)?)
}

/// Answers one line from the host with the same in capitals.
fn answer() -> Result<()> {
    let listener = sys::listen_vsock(ANSWER)?;
    drop(sys::connect_vsock(LISTENING).context("telling that the guest listens")?);
    let socket = sys::accept_vsock(&listener)?;
    let mut line = String::new();
    BufReader::new(&socket).read_line(&mut line)?;
    (&socket).write_all(line.to_uppercase().as_bytes())?;
    Ok(())
}
