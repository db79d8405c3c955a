//! What lives on without a name.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, rename, rmdir, unlink};
use rustix::io::{Errno, pread, pwrite};

use super::Checks;
use super::check::link_count;

pub(super) fn run(checks: &mut Checks) {
    file(checks);
    replaced(checks);
    directory(checks);
    renamed_then_removed(checks);
}

fn file(checks: &mut Checks) {
    checks.file("f", b"content");
    let opened = checks.open("f", OFlags::RDWR, 0);
    let Some(file) = checks.works("open", opened) else { return };
    let removed = unlink(checks.at("f"));
    checks.works("unlink", removed);
    checks.absent("f");
    let mut bytes = [0; 16];
    checks.equal("read", pread(&file, &mut bytes, 0), Ok(7));
    checks.equal("write", pwrite(&file, b"more", 7), Ok(4));
    checks.equal("grown", fstat(&file).map(|stat| (stat.st_size, link_count(&stat))), Ok((11, 0)));
    checks.works("chmod", rustix::fs::fchmod(&file, Mode::from_raw_mode(0o600)));
    checks.equal("mode", fstat(&file).map(|stat| stat.st_mode), Ok(0o100_600));
    checks.works("truncate", rustix::fs::ftruncate(&file, 3));
    checks.works("fsync", rustix::fs::fsync(&file));
    checks.file("f", b"another");
    checks.equal("still its own", pread(&file, &mut bytes, 0), Ok(3));
    checks.content("f", b"another");
    let path = super::sys::descriptor_path(&file);
    let linked = rustix::fs::linkat(CWD, path, CWD, checks.at("back"), AtFlags::SYMLINK_FOLLOW);
    checks.fails("a name again", linked, Errno::NOENT);
}

fn replaced(checks: &mut Checks) {
    checks.file("old", b"old");
    checks.file("new", b"new");
    let opened = checks.open("old", OFlags::RDONLY, 0);
    let Some(file) = checks.works("open", opened) else { return };
    let renamed = rename(checks.at("new"), checks.at("old"));
    checks.works("rename over it", renamed);
    let mut bytes = [0; 8];
    checks.equal("read", pread(&file, &mut bytes, 0), Ok(3));
    checks.equal("the old content", &bytes[..3], b"old");
    checks.equal("no name", fstat(&file).map(|stat| link_count(&stat)), Ok(0));
    checks.content("old", b"new");
}

fn directory(checks: &mut Checks) {
    checks.directory("d");
    let opened = checks.open("d", OFlags::RDONLY | OFlags::DIRECTORY, 0);
    let Some(dir) = checks.works("open", opened) else { return };
    let removed = rmdir(checks.at("d"));
    checks.works("rmdir", removed);
    let made = rustix::fs::mkdirat(&dir, "below", Mode::RWXU);
    checks.fails("mkdir in it", made, Errno::NOENT);
    let made = rustix::fs::openat(&dir, "below", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU);
    checks.fails("create in it", made, Errno::NOENT);
    checks.works("stat", fstat(&dir));
    checks.directory("d");
    checks.file("d/f", b"another directory");
    let stat = rustix::fs::statat(&dir, "f", AtFlags::empty());
    checks.fails("the old one stays empty", stat, Errno::NOENT);
}

fn renamed_then_removed(checks: &mut Checks) {
    checks.file("r", b"r");
    let opened = checks.open("r", OFlags::RDONLY, 0);
    let Some(file) = checks.works("open", opened) else { return };
    let gone = rename(checks.at("r"), checks.at("s")).and(unlink(checks.at("s")));
    checks.works("rename and unlink", gone);
    let mut bytes = [0; 4];
    checks.equal("read", pread(&file, &mut bytes, 0), Ok(1));
    checks.equal("no name", fstat(&file).map(|stat| link_count(&stat)), Ok(0));
}
