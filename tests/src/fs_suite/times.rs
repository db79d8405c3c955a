//! Times.

use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
use rustix::io::Errno;

use super::Checks;
use super::sys::as_user;

/// Longer than the clock that file systems stamp with takes for a tick.
const TICK: Duration = Duration::from_millis(20);

pub(super) fn run(checks: &mut Checks) {
    setting(checks);
    following(checks);
    birth(checks);
}

fn times(atime: (i64, i64), mtime: (i64, i64)) -> Timestamps {
    let time = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
    Timestamps { last_access: time(atime), last_modification: time(mtime) }
}

/// Access and modification, seconds and nanoseconds.
fn seen(checks: &Checks, name: &str) -> Option<[i64; 4]> {
    let stat = checks.stat(name).ok()?;
    let nsec = |n: u64| i64::try_from(n).unwrap_or(-1);
    Some([stat.st_atime, nsec(stat.st_atime_nsec), stat.st_mtime, nsec(stat.st_mtime_nsec)])
}

fn setting(checks: &mut Checks) {
    checks.file("f", b"");
    checks.directory("d");
    let linked = rustix::fs::symlink("f", checks.at("l"));
    checks.works("symlink", linked);
    let set = |checks: &Checks, name: &str, times: &Timestamps| {
        utimensat(CWD, checks.at(name), times, AtFlags::SYMLINK_NOFOLLOW)
    };
    for name in ["f", "d", "l"] {
        let changed = set(checks, name, &times((1_000_000_000, 123_456_789), (1_500_000_000, 987_654_321)));
        checks.works(&format!("set times of {name}"), changed);
        let expected = Some([1_000_000_000, 123_456_789, 1_500_000_000, 987_654_321]);
        checks.equal(&format!("times of {name}"), seen(checks, name), expected);
    }
    let changed = set(checks, "f", &times((0, UTIME_OMIT), (7, 8)));
    checks.works("only the modification", changed);
    checks.equal("times", seen(checks, "f"), Some([1_000_000_000, 123_456_789, 7, 8]));
    let changed = set(checks, "f", &times((5, 6), (0, UTIME_OMIT)));
    checks.works("only the access", changed);
    checks.equal("times", seen(checks, "f"), Some([5, 6, 7, 8]));
    let changed = set(checks, "f", &times((0, UTIME_NOW), (0, UTIME_NOW)));
    checks.works("now", changed);
    checks.holds(
        "recent",
        seen(checks, "f").is_some_and(|[atime, _, mtime, _]| atime > 1_600_000_000 && mtime > 1_600_000_000),
    );
    let changed = set(checks, "f", &times((4_000_000_000, 0), (3_000_000_000, 0)));
    checks.works("past 2038", changed);
    checks.equal("times", seen(checks, "f"), Some([4_000_000_000, 0, 3_000_000_000, 0]));
    let changed = set(checks, "f", &times((0, 1_000_000_000), (0, 0)));
    checks.fails("too many nanoseconds", changed, Errno::INVAL);
    let changed = as_user(1000, 1000, || Ok(set(checks, "f", &times((1, 0), (1, 0)))?));
    checks.fails("by another", changed, Errno::PERM);
    let changed = as_user(1000, 1000, || Ok(set(checks, "f", &times((0, UTIME_NOW), (0, UTIME_NOW)))?));
    checks.fails("now, by another", changed, Errno::ACCESS);
}

fn following(checks: &mut Checks) {
    checks.file("g", b"content");
    let stamp = |checks: &Checks, name: &str| {
        checks
            .stat(name)
            .map(|stat| ((stat.st_mtime, stat.st_mtime_nsec), (stat.st_ctime, stat.st_ctime_nsec)))
            .ok()
    };
    let changes = |checks: &mut Checks,
                   what: &str,
                   name: &str,
                   mtime: bool,
                   ctime: bool,
                   act: &dyn Fn(&Checks) -> bool| {
        let before = stamp(checks, name);
        sleep(TICK);
        let acted = act(checks);
        checks.holds(what, acted);
        if let (Some(before), Some(after)) = (before, stamp(checks, name)) {
            checks.equal(
                &format!("{what}: mtime and ctime changed"),
                (before.0 != after.0, before.1 != after.1),
                (mtime, ctime),
            );
        }
    };
    changes(checks, "write", "g", true, true, &|checks| {
        checks.open("g", OFlags::WRONLY, 0).and_then(|file| rustix::io::write(file, b"x")).is_ok()
    });
    changes(checks, "truncate", "g", true, true, &|checks| {
        checks.open("g", OFlags::WRONLY, 0).and_then(|file| rustix::fs::ftruncate(file, 2)).is_ok()
    });
    changes(checks, "read", "g", false, false, &|checks| std::fs::read(checks.at("g")).is_ok());
    changes(checks, "chmod", "g", false, true, &|checks| {
        rustix::fs::chmod(checks.at("g"), Mode::RWXU).is_ok()
    });
    changes(checks, "link", "g", false, true, &|checks| {
        rustix::fs::link(checks.at("g"), checks.at("h")).is_ok()
    });
    changes(checks, "unlink the other", "g", false, true, &|checks| {
        rustix::fs::unlink(checks.at("h")).is_ok()
    });
    changes(checks, "create in a directory", ".", true, true, &|checks| {
        std::fs::write(checks.at("new"), "").is_ok()
    });
    changes(checks, "rename in it", ".", true, true, &|checks| {
        rustix::fs::rename(checks.at("new"), checks.at("newer")).is_ok()
    });
    changes(checks, "unlink in it", ".", true, true, &|checks| {
        rustix::fs::unlink(checks.at("newer")).is_ok()
    });
    changes(checks, "mkdir in it", ".", true, true, &|checks| {
        rustix::fs::mkdir(checks.at("nd"), Mode::RWXU).is_ok()
    });
    changes(checks, "create below that", ".", false, false, &|checks| {
        std::fs::write(checks.at("nd/f"), "").is_ok()
    });
}

fn birth(checks: &mut Checks) {
    checks.file("born", b"");
    let created = || std::fs::metadata(checks.at("born")).and_then(|meta| meta.created());
    // Not every file system keeps it.
    let Ok(first) = created() else { return };
    sleep(TICK);
    let written = std::fs::write(checks.at("born"), "changed");
    let second = created().ok();
    checks.works("write", written);
    checks.equal("born once", second, Some(first));
}
