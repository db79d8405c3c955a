//! Symbolic and hard links.

use rustix::fs::{AtFlags, CWD, OFlags, link, linkat, readlink, symlink, unlink};
use rustix::io::Errno;

use super::Checks;

pub(super) fn run(checks: &mut Checks) {
    symbolic(checks);
    long(checks);
    hard(checks);
}

fn symbolic(checks: &mut Checks) {
    checks.file("target", b"content");
    let target = |checks: &Checks, name: &str| readlink(checks.at(name), Vec::new());
    for (name, to) in [("rel", "target"), ("dangling", "nowhere"), ("abs", "/etc/hostname"), ("up", "../..")]
    {
        let made = symlink(to, checks.at(name));
        checks.works(name, made);
        let read = target(checks, name).map(|to| to.to_string_lossy().into_owned());
        checks.equal(&format!("target of {name}"), read, Ok(to.to_owned()));
        checks.mode(name, 0o120_777);
        let size = checks.stat(name).map(|stat| stat.st_size);
        checks.equal(&format!("size of {name}"), size, Ok(i64::try_from(to.len()).unwrap_or(0)));
    }
    checks.content("rel", b"content");
    let opened = checks.open("dangling", OFlags::RDONLY, 0);
    checks.fails("open what dangles", opened, Errno::NOENT);
    let opened = checks.open("rel", OFlags::RDONLY | OFlags::NOFOLLOW, 0);
    checks.fails("O_NOFOLLOW", opened, Errno::LOOP);
    let opened = checks.open("dangling", OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY, 0o644);
    checks.fails("O_EXCL on a link", opened, Errno::EXIST);
    let opened = checks.open("dangling", OFlags::CREATE | OFlags::WRONLY, 0o644);
    checks.works("create through a link", opened);
    checks.mode("nowhere", 0o100_644);
    let made = symlink("target", checks.at("rel"));
    checks.fails("symlink over a link", made, Errno::EXIST);
    let made = symlink("", checks.at("empty"));
    checks.fails("symlink to nothing", made, Errno::NOENT);
    let read = target(checks, "target");
    checks.fails("readlink of a file", read, Errno::INVAL);
    let read = target(checks, "none");
    checks.fails("readlink of nothing", read, Errno::NOENT);
    let made = symlink("loop", checks.at("loop"));
    checks.works("a loop", made);
    let opened = checks.open("loop", OFlags::RDONLY, 0);
    checks.fails("open a loop", opened, Errno::LOOP);
    let removed = unlink(checks.at("rel"));
    checks.works("unlink a link", removed);
    checks.content("target", b"content");
    checks.directory("dir");
    checks.file("dir/below", b"through");
    let made = symlink("dir", checks.at("to-dir"));
    checks.works("a link to a directory", made);
    checks.content("to-dir/below", b"through");
    let removed = rustix::fs::rmdir(checks.at("to-dir"));
    checks.fails("rmdir of a link", removed, Errno::NOTDIR);
}

fn long(checks: &mut Checks) {
    let target = "t/".repeat(2047);
    let made = symlink(target.as_str(), checks.at("long"));
    if checks.works("a target of 4094 bytes", made).is_some() {
        let read = readlink(checks.at("long"), Vec::new()).map(|to| to.to_bytes().len());
        checks.equal("its length", read, Ok(4094));
    }
    let made = symlink("t".repeat(4096), checks.at("longer"));
    checks.fails("a target of 4096 bytes", made, Errno::NAMETOOLONG);
}

fn hard(checks: &mut Checks) {
    checks.file("one", b"content");
    let linked = link(checks.at("one"), checks.at("two"));
    checks.works("link", linked);
    checks.links("one", 2);
    checks.links("two", 2);
    let numbers = (checks.stat("one").map(|stat| stat.st_ino), checks.stat("two").map(|stat| stat.st_ino));
    checks.equal("one file", numbers.0, numbers.1);
    let written = std::fs::write(checks.at("two"), "changed");
    checks.works("write by one name", written);
    checks.content("one", b"changed");
    let changed = rustix::fs::chmod(checks.at("one"), rustix::fs::Mode::from_raw_mode(0o600));
    checks.works("chmod by the other", changed);
    checks.mode("two", 0o100_600);
    let removed = unlink(checks.at("one"));
    checks.works("unlink one", removed);
    checks.links("two", 1);
    checks.content("two", b"changed");
    checks.directory("dir2");
    let linked = link(checks.at("two"), checks.at("dir2/three"));
    checks.works("link into a directory", linked);
    checks.links("dir2/three", 2);
    let linked = link(checks.at("two"), checks.at("dir2"));
    checks.fails("link over a directory", linked, Errno::EXIST);
    let linked = link(checks.at("two"), checks.at("dir2/three"));
    checks.fails("link over a file", linked, Errno::EXIST);
    let linked = link(checks.at("dir2"), checks.at("dir3"));
    checks.fails("link of a directory", linked, Errno::PERM);
    let linked = link(checks.at("none"), checks.at("four"));
    checks.fails("link of nothing", linked, Errno::NOENT);
    let made = symlink("two", checks.at("soft"));
    checks.works("symlink", made);
    let linked = linkat(CWD, checks.at("soft"), CWD, checks.at("soft2"), AtFlags::empty());
    checks.works("a hard link of a symbolic one", linked);
    checks.mode("soft2", 0o120_777);
    checks.links("soft2", 2);
    let linked = linkat(CWD, checks.at("soft"), CWD, checks.at("hard"), AtFlags::SYMLINK_FOLLOW);
    checks.works("a hard link through a symbolic one", linked);
    checks.links("hard", 3);
}
