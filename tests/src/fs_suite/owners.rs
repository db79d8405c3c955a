//! Owners and permissions, as root and as somebody else.

use rustix::fs::{Access, AtFlags, CWD, Gid, Mode, OFlags, Uid, accessat, chmod, chownat};
use rustix::io::Errno;

use super::Checks;
use super::sys::as_user;

pub(super) fn run(checks: &mut Checks) {
    let changed = chmod(&checks.path, Mode::from_raw_mode(0o777));
    checks.works("open to all", changed);
    changing(checks);
    creating(checks);
    permissions(checks);
    sticky(checks);
    set_group(checks);
    set_id(checks);
}

fn chown(checks: &Checks, name: &str, uid: u32, gid: u32) -> Result<(), Errno> {
    let ids = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    chownat(CWD, checks.at(name), ids.0, ids.1, AtFlags::SYMLINK_NOFOLLOW)
}

fn owner(checks: &mut Checks, name: &str, expected: (u32, u32)) {
    let chosen =
        checks.stat(name).is_ok_and(|stat| matches!(stat.st_mode & 0o170_000, 0o040_000 | 0o100_000));
    let expected = if chosen || !checks.expect.owners_of_files_only { expected } else { (0, 0) };
    let owner = checks.stat(name).map(|stat| (stat.st_uid, stat.st_gid));
    checks.equal(&format!("owner of {name}"), owner, Ok(expected));
}

fn changing(checks: &mut Checks) {
    checks.file("f", b"");
    checks.directory("d");
    let linked = rustix::fs::symlink("f", checks.at("l"));
    checks.works("symlink", linked);
    for (name, uid, gid) in [("f", 1, 2), ("d", 3, 4), ("l", 5, 6), ("f", 1_000_000, 2_000_000_000)] {
        let changed = chown(checks, name, uid, gid);
        checks.works(&format!("chown {name}"), changed);
        owner(checks, name, (uid, gid));
    }
    owner(checks, "f", (1_000_000, 2_000_000_000));
    let changed = chownat(CWD, checks.at("f"), Some(Uid::from_raw(7)), None, AtFlags::empty());
    checks.works("chown the user only", changed);
    owner(checks, "f", (7, 2_000_000_000));
    let changed = chownat(CWD, checks.at("f"), None, Some(Gid::from_raw(8)), AtFlags::empty());
    checks.works("chown the group only", changed);
    owner(checks, "f", (7, 8));
    for mode in [0, 0o111, 0o4755, 0o2755, 0o1777, 0o7777, 0o644] {
        let changed = chmod(checks.at("f"), Mode::from_raw_mode(mode));
        checks.works(&format!("chmod {mode:o}"), changed);
        checks.mode("f", 0o100_000 | mode);
    }
    let changed = chmod(checks.at("none"), Mode::RWXU);
    checks.fails("chmod of nothing", changed, Errno::NOENT);
    let changed = chown(checks, "none", 1, 1);
    checks.fails("chown of nothing", changed, Errno::NOENT);
}

fn creating(checks: &mut Checks) {
    let made = as_user(1000, 1001, || {
        std::fs::write(checks.at("mine"), "mine")?;
        std::fs::create_dir(checks.at("my-dir"))?;
        std::os::unix::fs::symlink("mine", checks.at("my-link"))?;
        Ok(rustix::fs::mknodat(CWD, checks.at("my-fifo"), rustix::fs::FileType::Fifo, Mode::RWXU, 0)?)
    });
    checks.works("make things as user 1000", made);
    for name in ["mine", "my-dir", "my-link", "my-fifo"] {
        owner(checks, name, (1000, 1001));
    }
    let linked = as_user(1000, 1001, || Ok(rustix::fs::link(checks.at("mine"), checks.at("mine2"))?));
    checks.works("link one's own", linked);
    owner(checks, "mine2", (1000, 1001));
}

fn permissions(checks: &mut Checks) {
    checks.file("secret", b"secret");
    checks.directory("closed");
    checks.file("closed/f", b"");
    let changed = chmod(checks.at("secret"), Mode::from_raw_mode(0o640))
        .and(chmod(checks.at("closed"), Mode::from_raw_mode(0o700)));
    checks.works("close", changed);
    let open = |uid, gid, name: &str, flags| {
        let path = checks.at(name);
        as_user(uid, gid, move || Ok(rustix::fs::open(path, flags, Mode::empty()).map(drop)?))
    };
    let cases = [
        (1000, 1000, "secret", OFlags::RDONLY, Err(Errno::ACCESS)),
        (1000, 0, "secret", OFlags::RDONLY, Ok(())),
        (1000, 0, "secret", OFlags::RDWR, Err(Errno::ACCESS)),
        (1000, 1000, "closed/f", OFlags::RDONLY, Err(Errno::ACCESS)),
        (0, 0, "closed/f", OFlags::RDWR, Ok(())),
        (0, 0, "secret", OFlags::RDWR, Ok(())),
    ];
    let results: Vec<_> =
        cases.iter().map(|(uid, gid, name, flags, _)| open(*uid, *gid, name, *flags)).collect();
    for ((uid, gid, name, flags, expected), result) in cases.into_iter().zip(results) {
        checks.equal(&format!("{name} by {uid}:{gid} with {flags:?}"), result, expected);
    }
    let act = |action: &(dyn Fn() -> std::io::Result<()> + Sync)| as_user(1000, 1000, action);
    let others = [
        ("chmod", act(&|| Ok(chmod(checks.at("secret"), Mode::RWXU)?)), Errno::PERM),
        ("chown", act(&|| Ok(chown(checks, "secret", 1000, 1000)?)), Errno::PERM),
        (
            "truncate",
            act(&|| std::fs::OpenOptions::new().write(true).open(checks.at("secret")).map(drop)),
            Errno::ACCESS,
        ),
        ("create", act(&|| std::fs::write(checks.at("closed/new"), "")), Errno::ACCESS),
        ("unlink", act(&|| std::fs::remove_file(checks.at("closed/f"))), Errno::ACCESS),
        ("list", act(&|| std::fs::read_dir(checks.at("closed")).map(drop)), Errno::ACCESS),
        (
            "give one's own away",
            act(&|| {
                std::fs::write(checks.at("gift"), "")?;
                Ok(chown(checks, "gift", 0, 0)?)
            }),
            Errno::PERM,
        ),
    ];
    for (what, result, expected) in others {
        checks.fails(&format!("{what} by another"), result, expected);
    }
    let access = |access| accessat(CWD, checks.at("secret"), access, AtFlags::empty());
    let (readable, executable) = (access(Access::READ_OK | Access::WRITE_OK), access(Access::EXEC_OK));
    checks.works("access by root", readable);
    checks.fails("nothing to execute", executable, Errno::ACCESS);
}

fn sticky(checks: &mut Checks) {
    checks.directory("tmp");
    let changed = chmod(checks.at("tmp"), Mode::from_raw_mode(0o1777));
    checks.works("sticky", changed);
    let made = as_user(1000, 1000, || std::fs::write(checks.at("tmp/f"), ""));
    checks.works("make a file", made);
    let removed = as_user(1001, 1001, || std::fs::remove_file(checks.at("tmp/f")));
    checks.fails("remove another's", removed, Errno::PERM);
    let renamed = as_user(1001, 1001, || std::fs::rename(checks.at("tmp/f"), checks.at("tmp/g")));
    checks.fails("rename another's", renamed, Errno::PERM);
    let removed = as_user(1000, 1000, || std::fs::remove_file(checks.at("tmp/f")));
    checks.works("remove one's own", removed);
}

fn set_group(checks: &mut Checks) {
    checks.directory("group");
    let changed = chown(checks, "group", 0, 77).and(chmod(checks.at("group"), Mode::from_raw_mode(0o2777)));
    checks.works("set-group-id directory", changed);
    let made = as_user(1000, 1000, || {
        std::fs::write(checks.at("group/f"), "")?;
        std::fs::create_dir(checks.at("group/d"))?;
        std::os::unix::fs::symlink("f", checks.at("group/l"))
    });
    checks.works("make things in it", made);
    owner(checks, "group/f", (1000, 77));
    owner(checks, "group/d", (1000, 77));
    owner(checks, "group/l", (1000, 77));
    let mode = checks.stat("group/d").map(|stat| stat.st_mode & 0o2000);
    checks.equal("handed on", mode, Ok(0o2000));
    let mode = checks.stat("group/f").map(|stat| stat.st_mode & 0o2000);
    checks.equal("not to files", mode, Ok(0));
}

fn set_id(checks: &mut Checks) {
    let with = |checks: &mut Checks, mode| {
        checks.file("suid", b"content");
        let changed = chmod(checks.at("suid"), Mode::from_raw_mode(mode));
        checks.works(&format!("chmod {mode:o}"), changed);
    };
    with(checks, 0o6777);
    let written = as_user(1000, 1000, || {
        let file = rustix::fs::open(checks.at("suid"), OFlags::WRONLY, Mode::empty())?;
        Ok(rustix::io::write(file, b"x").map(drop)?)
    });
    checks.works("write by another", written);
    checks.mode("suid", 0o100_777);
    with(checks, 0o6777);
    let truncated = as_user(1000, 1000, || {
        let file = rustix::fs::open(checks.at("suid"), OFlags::WRONLY, Mode::empty())?;
        Ok(rustix::fs::ftruncate(file, 3)?)
    });
    checks.works("truncate by another", truncated);
    checks.mode("suid", 0o100_777);
    with(checks, 0o6777);
    let truncated = as_user(1000, 1000, || {
        Ok(rustix::fs::open(checks.at("suid"), OFlags::WRONLY | OFlags::TRUNC, Mode::empty()).map(drop)?)
    });
    checks.works("O_TRUNC by another", truncated);
    checks.mode("suid", 0o100_777);
    with(checks, 0o6755);
    let changed = chown(checks, "suid", 1000, 1000);
    checks.works("chown", changed);
    checks.mode("suid", 0o100_755);
    with(checks, 0o6755);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .open(checks.at("suid"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"x"));
    checks.works("write by root", written);
    checks.mode("suid", 0o106_755);
}
