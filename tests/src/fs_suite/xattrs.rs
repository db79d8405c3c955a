//! Extended attributes.

use rustix::fs::{XattrFlags, getxattr, lgetxattr, listxattr, lsetxattr, removexattr, setxattr};
use rustix::io::Errno;

use super::Checks;
use super::sys::as_user;

pub(super) fn run(checks: &mut Checks) {
    values(checks);
    lists(checks);
    spaces(checks);
}

fn get(checks: &Checks, name: &str, key: &str, room: usize) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; room];
    let len = getxattr(checks.at(name), key, &mut value[..])?;
    value.truncate(len);
    Ok(value)
}

fn set(checks: &Checks, name: &str, key: &str, value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
    setxattr(checks.at(name), key, value, flags)
}

fn values(checks: &mut Checks) {
    checks.file("f", b"");
    checks.directory("d");
    let none = XattrFlags::empty();
    for name in ["f", "d"] {
        for value in [&b"value"[..], b"", b"\0\xff", &[7; 1000]] {
            let done = set(checks, name, "user.key", value, none);
            checks.works(&format!("set {} bytes on {name}", value.len()), done);
            let got = get(checks, name, "user.key", 2000);
            checks.equal("get", got, Ok(value.to_vec()));
        }
    }
    let got = get(checks, "f", "user.key", 999);
    checks.fails("too little room", got, Errno::RANGE);
    let size = rustix::fs::getxattr_query(checks.at("f"), "user.key");
    checks.equal("its size", size, Ok(1000));
    let done = set(checks, "f", "user.key", b"", XattrFlags::CREATE);
    checks.fails("CREATE over one", done, Errno::EXIST);
    let done = set(checks, "f", "user.none", b"", XattrFlags::REPLACE);
    checks.fails("REPLACE of none", done, Errno::NODATA);
    let done = set(checks, "f", "user.new", b"1", XattrFlags::CREATE);
    checks.works("CREATE", done);
    let done = set(checks, "f", "user.new", b"2", XattrFlags::REPLACE);
    checks.works("REPLACE", done);
    let got = get(checks, "f", "user.new", 9);
    checks.equal("get", got, Ok(b"2".to_vec()));
    let got = get(checks, "f", "user.none", 9);
    checks.fails("get none", got, Errno::NODATA);
    let removed = removexattr(checks.at("f"), "user.new");
    checks.works("remove", removed);
    let removed = removexattr(checks.at("f"), "user.new");
    checks.fails("remove none", removed, Errno::NODATA);
    let got = get(checks, "gone", "user.key", 9);
    checks.fails("of nothing", got, Errno::NOENT);
}

fn lists(checks: &mut Checks) {
    checks.file("g", b"");
    let list = |checks: &Checks, room: usize| {
        let mut names = vec![0; room];
        let len = listxattr(checks.at("g"), &mut names[..])?;
        let mut names: Vec<_> = names[..len]
            .split(|byte| *byte == 0)
            .filter(|name| name.starts_with(b"user."))
            .map(<[u8]>::to_vec)
            .collect();
        names.sort();
        Ok::<_, Errno>(names.len())
    };
    let names = list(checks, 4096);
    checks.equal("none", names, Ok(0));
    for n in 0..20 {
        let done = set(checks, "g", &format!("user.key-{n}"), b"v", XattrFlags::empty());
        checks.works("set", done);
    }
    let names = list(checks, 4096);
    checks.equal("twenty", names, Ok(20));
    let names = list(checks, 5);
    checks.fails("too little room", names, Errno::RANGE);
}

fn spaces(checks: &mut Checks) {
    checks.file("h", b"content");
    let none = XattrFlags::empty();
    let done = set(checks, "h", "trusted.key", b"root's", none);
    checks.works("trusted, by root", done);
    let got = get(checks, "h", "trusted.key", 99);
    checks.equal("trusted", got, Ok(b"root's".to_vec()));
    let got = as_user(1000, 1000, || Ok(get(checks, "h", "trusted.key", 99).map(drop)?));
    checks.fails("trusted, by another", got, Errno::NODATA);
    let done = as_user(1000, 1000, || Ok(set(checks, "h", "trusted.key", b"x", none)?));
    checks.fails("setting trusted, by another", done, Errno::PERM);
    let done = as_user(1000, 1000, || Ok(set(checks, "h", "user.key", b"x", none)?));
    checks.fails("user, without the right to write", done, Errno::ACCESS);
    // VFS_CAP_REVISION_2 with CAP_NET_RAW permitted.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let done = set(checks, "h", "security.capability", &capability, none);
    checks.works("a capability", done);
    let got = get(checks, "h", "security.capability", 99);
    checks.equal("the capability", got, Ok(capability.to_vec()));
    let written = std::fs::write(checks.at("h"), "changed");
    checks.works("write", written);
    let got = get(checks, "h", "security.capability", 99);
    checks.fails("gone with the write", got, Errno::NODATA);
    let linked = rustix::fs::symlink("h", checks.at("l"));
    checks.works("symlink", linked);
    let done = lsetxattr(checks.at("l"), "user.key", b"x", none);
    checks.fails("user, on a link", done, Errno::PERM);
    let mut value = [0; 9];
    let got = lgetxattr(checks.at("l"), "user.key", &mut value[..]);
    checks.holds("none on a link", got.is_err());
    let done = set(checks, "h", "nospace", b"x", none);
    checks.fails("no name space", done, Errno::OPNOTSUPP);
}
