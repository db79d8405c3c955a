//! open, mkdir, mknod: what is made, with which mode, and what is refused.

use rustix::fs::{CWD, FileType, Mode, OFlags, mkdir, mknodat, open};
use rustix::io::Errno;

use super::Checks;
use super::check::link_count;

const CREATE: OFlags = OFlags::CREATE.union(OFlags::WRONLY);

pub(super) fn run(checks: &mut Checks) {
    modes(checks);
    conditions(checks);
    truncation(checks);
    special(checks);
    nameless(checks);
}

fn modes(checks: &mut Checks) {
    for mode in [0o000, 0o400, 0o644, 0o777, 0o1644, 0o2755, 0o4711, 0o6000] {
        let name = format!("file-{mode:o}");
        let made = checks.open(&name, CREATE | OFlags::EXCL, mode);
        checks.works(&name, made);
        checks.mode(&name, 0o100_000 | mode);
        let name = format!("dir-{mode:o}");
        let made = mkdir(checks.at(&name), Mode::from_raw_mode(mode));
        checks.works(&name, made);
        // mkdir takes no set-id bits, only permissions and the sticky bit.
        checks.mode(&name, 0o040_000 | (mode & 0o1777));
    }
    for (umask, mode, expected) in [(0o022, 0o666, 0o644), (0o077, 0o777, 0o700), (0o777, 0o777, 0)] {
        rustix::process::umask(Mode::from_raw_mode(umask));
        let name = format!("umask-{umask:o}");
        let made = checks.open(&name, CREATE, mode);
        rustix::process::umask(Mode::empty());
        checks.works(&name, made);
        checks.mode(&name, 0o100_000 | expected);
    }
}

fn conditions(checks: &mut Checks) {
    checks.file("there", b"content");
    checks.directory("dir");
    let excl = CREATE | OFlags::EXCL;
    let made = checks.open("there", excl, 0o644);
    checks.fails("O_EXCL on a file", made, Errno::EXIST);
    let made = checks.open("dir", excl, 0o644);
    checks.fails("O_EXCL on a directory", made, Errno::EXIST);
    let made = checks.open("dir", CREATE, 0o644);
    checks.fails("O_CREAT on a directory", made, Errno::ISDIR);
    let made = checks.open("dir", OFlags::WRONLY, 0);
    checks.fails("writing a directory", made, Errno::ISDIR);
    let made = checks.open("dir", OFlags::RDWR, 0);
    checks.fails("reading and writing a directory", made, Errno::ISDIR);
    let made = checks.open("there", OFlags::DIRECTORY, 0);
    checks.fails("O_DIRECTORY on a file", made, Errno::NOTDIR);
    let made = checks.open("none", OFlags::RDONLY, 0);
    checks.fails("opening nothing", made, Errno::NOENT);
    let made = checks.open("none/below", CREATE, 0o644);
    checks.fails("creating below nothing", made, Errno::NOENT);
    let made = checks.open("there/below", CREATE, 0o644);
    checks.fails("creating below a file", made, Errno::NOTDIR);
    let made = mkdir(checks.at("there"), Mode::RWXU);
    checks.fails("mkdir over a file", made, Errno::EXIST);
    let made = mkdir(checks.at("dir"), Mode::RWXU);
    checks.fails("mkdir over a directory", made, Errno::EXIST);
    let made = mkdir(checks.at("none/below"), Mode::RWXU);
    checks.fails("mkdir below nothing", made, Errno::NOENT);
    let made = mkdir(checks.at("there/below"), Mode::RWXU);
    checks.fails("mkdir below a file", made, Errno::NOTDIR);
    checks.content("there", b"content");
    let made = checks.open("there", CREATE, 0o600);
    checks.works("O_CREAT on a file", made);
    checks.mode("there", 0o100_644);
}

fn truncation(checks: &mut Checks) {
    checks.file("short", b"content");
    let opened = checks.open("short", OFlags::RDWR | OFlags::TRUNC, 0);
    checks.works("O_TRUNC", opened);
    checks.content("short", b"");
    checks.file("short", b"content");
    let opened = checks.open("short", CREATE | OFlags::TRUNC, 0o600);
    checks.works("O_CREAT with O_TRUNC", opened);
    checks.content("short", b"");
    checks.mode("short", 0o100_644);
}

fn special(checks: &mut Checks) {
    let make = |checks: &Checks, name: &str, kind, mode, device| {
        mknodat(CWD, checks.at(name), kind, Mode::from_raw_mode(mode), device)
    };
    for (name, kind, bits) in [
        ("fifo", FileType::Fifo, 0o010_000),
        ("socket", FileType::Socket, 0o140_000),
        ("regular", FileType::RegularFile, 0o100_000),
    ] {
        let made = make(checks, name, kind, 0o640, 0);
        checks.works(name, made);
        checks.mode(name, bits | 0o640);
        let made = make(checks, name, kind, 0o640, 0);
        checks.fails("mknod again", made, Errno::EXIST);
        checks.links(name, 1);
    }
    for (name, kind, bits) in
        [("char", FileType::CharacterDevice, 0o020_000), ("block", FileType::BlockDevice, 0o060_000)]
    {
        let device = rustix::fs::makedev(10, 1000);
        let made = make(checks, name, kind, 0o600, device);
        if checks.expect.no_device_nodes {
            checks.fails(name, made, Errno::PERM);
            checks.absent(name);
        } else {
            checks.works(name, made);
            checks.mode(name, bits | 0o600);
            let number = checks.stat(name).map(|stat| stat.st_rdev);
            checks.equal("device number", number, Ok(device));
        }
    }
    // A pipe is the kernel's own affair: both ends meet within it.
    let reader = checks.open("fifo", OFlags::RDONLY | OFlags::NONBLOCK, 0);
    let reader = checks.works("open a fifo for reading", reader);
    let writer = checks.open("fifo", OFlags::WRONLY | OFlags::NONBLOCK, 0);
    let writer = checks.works("open a fifo for writing", writer);
    if let (Some(reader), Some(writer)) = (reader, writer) {
        let written = rustix::io::write(&writer, b"through");
        checks.equal("write to a fifo", written, Ok(7));
        let mut bytes = [0; 16];
        let read = rustix::io::read(&reader, &mut bytes);
        checks.equal("read from a fifo", read, Ok(7));
    }
    let opened = checks.open("socket", OFlags::RDONLY, 0);
    checks.fails("open a socket", opened, Errno::NXIO);
}

fn nameless(checks: &mut Checks) {
    let made = open(&checks.path, OFlags::TMPFILE | OFlags::RDWR, Mode::from_raw_mode(0o640));
    let Some(file) = checks.works("O_TMPFILE", made) else { return };
    let stat = rustix::fs::fstat(&file).map(|stat| (link_count(&stat), stat.st_mode));
    checks.equal("a file without name", stat, Ok((0, 0o100_640)));
    let written = rustix::io::write(&file, b"content");
    checks.equal("write to it", written, Ok(7));
    let path = super::sys::descriptor_path(&file);
    let linked = rustix::fs::linkat(CWD, path, CWD, checks.at("named"), rustix::fs::AtFlags::SYMLINK_FOLLOW);
    checks.works("name it", linked);
    checks.content("named", b"content");
    checks.links("named", 1);
}
