//! rename and renameat2.

use rustix::fs::{CWD, OFlags, RenameFlags, rename, renameat_with};
use rustix::io::Errno;

use super::Checks;

pub(super) fn run(checks: &mut Checks) {
    files(checks);
    directories(checks);
    refused(checks);
    flags(checks);
    open_across(checks);
}

fn go(checks: &Checks, from: &str, to: &str) -> Result<(), Errno> {
    rename(checks.at(from), checks.at(to))
}

fn files(checks: &mut Checks) {
    checks.file("a", b"a");
    let ino = checks.stat("a").map(|stat| stat.st_ino);
    let renamed = go(checks, "a", "b");
    checks.works("rename", renamed);
    checks.absent("a");
    checks.content("b", b"a");
    let after = checks.stat("b").map(|stat| stat.st_ino);
    checks.equal("still the same file", after, ino);
    checks.file("c", b"c");
    let renamed = go(checks, "b", "c");
    checks.works("rename over a file", renamed);
    checks.absent("b");
    checks.content("c", b"a");
    let renamed = go(checks, "c", "c");
    checks.works("rename to itself", renamed);
    checks.content("c", b"a");
    let linked = rustix::fs::link(checks.at("c"), checks.at("d"));
    checks.works("link", linked);
    let renamed = go(checks, "c", "d");
    checks.works("rename one name to the other", renamed);
    checks.links("c", 2);
    checks.links("d", 2);
    let linked = rustix::fs::symlink("c", checks.at("soft"));
    checks.works("symlink", linked);
    let renamed = go(checks, "soft", "soft2");
    checks.works("rename a link", renamed);
    checks.mode("soft2", 0o120_777);
    checks.content("soft2", b"a");
    checks.directory("x");
    checks.directory("y");
    checks.file("x/f", b"f");
    let renamed = go(checks, "x/f", "y/g");
    checks.works("to another directory", renamed);
    checks.absent("x/f");
    checks.content("y/g", b"f");
}

fn directories(checks: &mut Checks) {
    checks.directory("p");
    checks.directory("p/q");
    checks.file("p/q/f", b"deep");
    let renamed = go(checks, "p", "r");
    checks.works("rename a directory", renamed);
    checks.content("r/q/f", b"deep");
    checks.absent("p/q/f");
    checks.directory("empty");
    let renamed = go(checks, "r", "empty");
    checks.works("over an empty directory", renamed);
    checks.content("empty/q/f", b"deep");
    checks.directory("other");
    let renamed = go(checks, "empty/q", "other/q");
    checks.works("to another directory", renamed);
    checks.content("other/q/f", b"deep");
    let above = std::fs::canonicalize(checks.at("other/q/..")).ok();
    checks.equal("`..` follows", above, std::fs::canonicalize(checks.at("other")).ok());
    checks.file("other/q/new", b"new");
    checks.content("other/q/new", b"new");
}

fn refused(checks: &mut Checks) {
    checks.directory("dir");
    checks.directory("full");
    checks.file("full/f", b"");
    checks.file("file", b"");
    for (from, to, error, what) in [
        ("none", "x1", Errno::NOENT, "nothing"),
        ("file", "none/x", Errno::NOENT, "to below nothing"),
        ("file", "file/x", Errno::NOTDIR, "to below a file"),
        ("file", "dir", Errno::ISDIR, "a file over a directory"),
        ("dir", "file", Errno::NOTDIR, "a directory over a file"),
        ("dir", "full", Errno::NOTEMPTY, "over a full directory"),
        ("full", "full/in", Errno::INVAL, "into itself"),
        ("full/f", "full", Errno::NOTEMPTY, "over what holds it"),
    ] {
        let renamed = go(checks, from, to);
        checks.fails(what, renamed, error);
    }
    checks.content("full/f", b"");
}

fn flags(checks: &mut Checks) {
    checks.file("one", b"1");
    checks.file("two", b"2");
    checks.directory("three");
    checks.file("three/f", b"3");
    let go = |checks: &Checks, from: &str, to: &str, flags| {
        renameat_with(CWD, checks.at(from), CWD, checks.at(to), flags)
    };
    let renamed = go(checks, "one", "two", RenameFlags::NOREPLACE);
    checks.fails("NOREPLACE over a file", renamed, Errno::EXIST);
    let renamed = go(checks, "one", "three", RenameFlags::NOREPLACE);
    checks.fails("NOREPLACE over a directory", renamed, Errno::EXIST);
    let renamed = go(checks, "one", "uno", RenameFlags::NOREPLACE);
    checks.works("NOREPLACE", renamed);
    checks.content("uno", b"1");
    let renamed = go(checks, "uno", "two", RenameFlags::EXCHANGE);
    checks.works("EXCHANGE", renamed);
    checks.content("uno", b"2");
    checks.content("two", b"1");
    let renamed = go(checks, "uno", "three", RenameFlags::EXCHANGE);
    checks.works("EXCHANGE of a file and a directory", renamed);
    checks.content("three", b"2");
    checks.content("uno/f", b"3");
    let renamed = go(checks, "uno", "none", RenameFlags::EXCHANGE);
    checks.fails("EXCHANGE with nothing", renamed, Errno::NOENT);
    let renamed = go(checks, "two", "uno", RenameFlags::EXCHANGE | RenameFlags::NOREPLACE);
    checks.fails("both", renamed, Errno::INVAL);
}

fn open_across(checks: &mut Checks) {
    checks.file("held", b"held");
    checks.directory("moving");
    checks.file("moving/inside", b"inside");
    let opened = checks.open("held", OFlags::RDWR, 0);
    let Some(file) = checks.works("open", opened) else { return };
    let opened = checks.open("moving", OFlags::RDONLY | OFlags::DIRECTORY, 0);
    let Some(dir) = checks.works("open a directory", opened) else { return };
    let renamed = go(checks, "held", "moving/held").and(go(checks, "moving", "moved"));
    checks.works("rename both", renamed);
    checks.equal("write by the handle", rustix::io::pwrite(&file, b"HELD", 0), Ok(4));
    checks.content("moved/held", b"HELD");
    let inside = rustix::fs::openat(&dir, "inside", OFlags::RDONLY, rustix::fs::Mode::empty());
    checks.works("open by the directory's handle", inside);
    let made = rustix::fs::mkdirat(&dir, "new", rustix::fs::Mode::RWXU);
    checks.works("make by the directory's handle", made);
    checks.mode("moved/new", 0o040_700);
}
