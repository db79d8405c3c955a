//! Names: length, bytes, case, lookups of what comes and goes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{CWD, OFlags, statat};
use rustix::io::Errno;

use super::Checks;

pub(super) fn run(checks: &mut Checks) {
    lengths(checks);
    bytes(checks);
    coming_and_going(checks);
}

fn lengths(checks: &mut Checks) {
    let longest = "n".repeat(255);
    checks.file(&longest, b"long");
    checks.content(&longest, b"long");
    let longer = "n".repeat(256);
    let made = checks.open(&longer, OFlags::CREATE | OFlags::WRONLY, 0o644);
    checks.fails("create with 256 bytes", made, Errno::NAMETOOLONG);
    let stat = checks.stat(&longer);
    checks.fails("stat 256 bytes", stat, Errno::NAMETOOLONG);
    let made = rustix::fs::mkdir(checks.at(&longer), rustix::fs::Mode::RWXU);
    checks.fails("mkdir with 256 bytes", made, Errno::NAMETOOLONG);
    let linked = rustix::fs::symlink("target", checks.at(&longer));
    checks.fails("symlink with 256 bytes", linked, Errno::NAMETOOLONG);
    let renamed = rustix::fs::rename(checks.at(&longest), checks.at(&longer));
    checks.fails("rename to 256 bytes", renamed, Errno::NAMETOOLONG);
    // Deep, and within PATH_MAX as the kernel counts it.
    let mut deep = "deep".to_owned();
    for _ in 0..30 {
        deep.push_str("/deep");
    }
    let made = std::fs::create_dir_all(checks.at(&deep));
    checks.works("31 levels", made);
    checks.file(&format!("{deep}/file"), b"deep");
    checks.content(&format!("{deep}/file"), b"deep");
}

fn bytes(checks: &mut Checks) {
    let odd: [&[u8]; 9] =
        [b" ", b"\n", b"\\", b"\xff\xfe", b"...", b"..a", b"-rf", "\u{1f980}".as_bytes(), b"\x01\x7f"];
    for (number, name) in odd.iter().enumerate() {
        let path = checks.path.join(OsStr::from_bytes(name));
        let written = std::fs::write(&path, [b'0' + u8::try_from(number).unwrap_or(0)]);
        checks.works(&format!("name {name:?}"), written);
    }
    let listed = std::fs::read_dir(&checks.path).map(|entries| {
        let names: Vec<_> = entries.flatten().map(|entry| entry.file_name().as_bytes().to_vec()).collect();
        odd.iter().filter(|name| names.iter().any(|other| other == **name)).count()
    });
    checks.equal("odd names listed", listed.ok(), Some(odd.len()));
    checks.file("Case", b"upper");
    checks.absent("case");
    checks.file("case", b"lower");
    checks.content("Case", b"upper");
}

fn coming_and_going(checks: &mut Checks) {
    for round in 0..10u8 {
        checks.absent("flicker");
        checks.file("flicker", &[round]);
        checks.content("flicker", &[round]);
        let removed = rustix::fs::unlink(checks.at("flicker"));
        checks.works("unlink", removed);
    }
    checks.directory("turns");
    let removed = rustix::fs::rmdir(checks.at("turns"));
    checks.works("rmdir", removed);
    checks.file("turns", b"a file now");
    checks.mode("turns", 0o100_644);
    // Looked up by an open directory.
    let by_dir = statat(&checks.dir, "turns", rustix::fs::AtFlags::empty()).map(|stat| stat.st_ino);
    let by_path = checks.stat("turns").map(|stat| stat.st_ino);
    checks.equal("one file by two ways", by_dir, by_path);
    let parent = std::fs::metadata(checks.at("..")).map(|meta| (meta.dev(), meta.ino()));
    let above = checks
        .path
        .parent()
        .and_then(|path| std::fs::metadata(path).ok())
        .map(|meta| (meta.dev(), meta.ino()));
    checks.equal("`..`", parent.ok(), above);
    let own = statat(CWD, checks.at("."), rustix::fs::AtFlags::empty()).map(|stat| stat.st_ino);
    let dir = rustix::fs::fstat(&checks.dir).map(|stat| stat.st_ino);
    checks.equal("`.`", own, dir);
}
