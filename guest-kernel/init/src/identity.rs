//! Who runs a command: the rules of Docker's `--user` on the image's `/etc/passwd` and `/etc/group`.

use rustix::fs::{FileType, Mode, OFlags, fstat, open};

/// Most bytes of a user database that are read.
const MAX_DATABASE_BYTES: usize = 4 << 20;
/// The largest user or group number Docker takes.
const MAX_ID: u32 = i32::MAX as u32;

/// A user resolved to numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Every group, the primary one first.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: Vec<u8>,
}

impl Identity {
    /// Adds groups by name or number.
    pub(crate) fn join(&mut self, groups: &[String]) -> Result<(), String> {
        if groups.is_empty() {
            return Ok(());
        }
        self.join_in(groups, &read("/etc/group"))
    }

    fn join_in(&mut self, names: &[String], group: &[u8]) -> Result<(), String> {
        for name in names {
            let number = match id(name)? {
                Some(number) => number,
                None => groups(group)
                    .find(|(known, _, _)| *known == name.as_bytes())
                    .map(|(_, number, _)| number)
                    .ok_or_else(|| {
                        format!("unable to find group {name}: no matching entries in group file")
                    })?,
            };
            if !self.groups.contains(&number) {
                self.groups.push(number);
            }
        }
        Ok(())
    }
}

/// Resolves `user` (`""`, `name`, `uid`, either with `:group` or `:gid`) by the files of this root.
pub(crate) fn resolve(user: &str) -> Result<Identity, String> {
    resolve_in(user, &read("/etc/passwd"), &read("/etc/group"))
}

fn resolve_in(user: &str, passwd: &[u8], group: &[u8]) -> Result<Identity, String> {
    let (user, wanted_group) = user.split_once(':').unwrap_or((user, ""));
    let number = if user.is_empty() { Some(0) } else { id(user)? };
    let entry = entries(passwd).filter_map(|fields| Passwd::parse(&fields)).find(|entry| match number {
        Some(number) => entry.uid == number,
        None => entry.name == user.as_bytes(),
    });
    let (uid, mut gid, name, home) = match (entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.name, entry.home),
        (None, Some(number)) => (number, 0, &b""[..], &b""[..]),
        (None, None) => {
            return Err(format!("unable to find user {user}: no matching entries in passwd file"));
        }
    };
    let mut more = Vec::new();
    if wanted_group.is_empty() {
        let member =
            |list: &[u8]| !name.is_empty() && list.split(|byte| *byte == b',').any(|one| one == name);
        more.extend(groups(group).filter(|(_, _, members)| member(members)).map(|(_, number, _)| number));
    } else {
        gid = match id(wanted_group)? {
            Some(number) => number,
            None => groups(group)
                .find(|(name, _, _)| *name == wanted_group.as_bytes())
                .map(|(_, number, _)| number)
                .ok_or_else(|| {
                    format!("unable to find group {wanted_group}: no matching entries in group file")
                })?,
        };
    }
    more.retain(|other| *other != gid);
    more.dedup();
    let groups = std::iter::once(gid).chain(more).collect();
    let home = if home.is_empty() { b"/" } else { home };
    Ok(Identity { uid, gid, groups, home: home.to_vec() })
}

/// The databases of users and groups.
pub(crate) fn databases() -> (Vec<u8>, Vec<u8>) {
    (read("/etc/passwd"), read("/etc/group"))
}

/// What a database calls a number; the number itself where it has no name for it.
pub(crate) fn name_of(database: &[u8], number: u32) -> Vec<u8> {
    let named = entries(database)
        .find(|fields| fields.get(2).and_then(|field| decimal(field)) == Some(number))
        .and_then(|fields| fields.first().map(|name| name.to_vec()));
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| number.to_string().into_bytes())
}

struct Passwd<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

impl<'a> Passwd<'a> {
    fn parse(fields: &[&'a [u8]]) -> Option<Self> {
        let [name, _, uid, gid, rest @ ..] = fields else { return None };
        Some(Self {
            name,
            uid: decimal(uid)?,
            gid: decimal(gid)?,
            home: rest.get(1).copied().unwrap_or_default(),
        })
    }
}

/// Name, number and members of every group.
fn groups(group: &[u8]) -> impl Iterator<Item = (&[u8], u32, &[u8])> {
    entries(group).filter_map(|fields| match fields[..] {
        [name, _, number, ref rest @ ..] => {
            Some((name, decimal(number)?, rest.first().copied().unwrap_or_default()))
        }
        _ => None,
    })
}

fn entries(database: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    database
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .map(|line| line.split(|byte| *byte == b':').collect())
}

fn decimal(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// The number `text` is; nothing if it is a name.
fn id(text: &str) -> Result<Option<u32>, String> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if number <= MAX_ID => Ok(Some(number)),
        _ => Err(format!("{text}: user and group numbers go from 0 to {MAX_ID}")),
    }
}

/// A file of the image, as far as it can be trusted to be one.
fn read(path: &str) -> Vec<u8> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Ok(file) = open(path, flags, Mode::empty()) else { return Vec::new() };
    let regular = fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
    let mut content = Vec::new();
    let mut chunk = [0; 4096];
    while regular && content.len() < MAX_DATABASE_BYTES {
        match rustix::io::read(&file, &mut chunk) {
            Ok(0) => break,
            Ok(count) => content.extend_from_slice(&chunk[..count]),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\n\
        app:x:1000:1000::/home/app:/bin/sh\n7:x:70:70::/seven:\n";
    const GROUP: &[u8] = b"root:x:0:\nbin:x:1:root,app\napp:x:1000:\nwheel:x:10:app\nodd:x:nan:app\n";

    fn resolve(user: &str) -> Result<Identity, String> {
        resolve_in(user, PASSWD, GROUP)
    }

    fn numbers(user: &str) -> (u32, u32, Vec<u32>, String) {
        let it = resolve(user).unwrap();
        (it.uid, it.gid, it.groups, String::from_utf8(it.home).unwrap())
    }

    #[test]
    fn nobody_named_is_root_with_roots_groups() {
        assert_eq!(numbers(""), (0, 0, vec![0, 1], "/root".into()));
    }

    #[test]
    fn a_name_brings_its_groups_and_an_explicit_group_only_that() {
        assert_eq!(numbers("app"), (1000, 1000, vec![1000, 1, 10], "/home/app".into()));
        assert_eq!(numbers("app:wheel"), (1000, 10, vec![10], "/home/app".into()));
        assert_eq!(numbers("app:77"), (1000, 77, vec![77], "/home/app".into()));
        assert_eq!(numbers(":wheel"), (0, 10, vec![10], "/root".into()));
    }

    #[test]
    fn a_number_is_a_number_even_when_a_name_looks_like_it() {
        assert_eq!(numbers("1000"), (1000, 1000, vec![1000, 1, 10], "/home/app".into()));
        assert_eq!(numbers("7"), (7, 0, vec![0], "/".into()));
        assert_eq!(numbers("12345:6"), (12345, 6, vec![6], "/".into()));
    }

    #[test]
    fn groups_are_added_by_name_and_number() {
        let mut identity = resolve("app").unwrap();
        identity.join_in(&["wheel".into(), "77".into(), "bin".into()], GROUP).unwrap();
        assert_eq!(identity.groups, [1000, 1, 10, 77]);
        assert!(identity.join_in(&["nosuch".into()], GROUP).unwrap_err().contains("nosuch"));
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert!(resolve("nosuch").unwrap_err().contains("unable to find user nosuch"));
        assert!(resolve("app:nosuch").unwrap_err().contains("unable to find group nosuch"));
        assert!(resolve("4294967295").is_err());
        assert!(resolve("99999999999").is_err());
    }

    #[test]
    fn without_databases_numbers_still_work() {
        assert_eq!(resolve_in("5:6", b"", b"").unwrap().gid, 6);
        assert_eq!(resolve_in("", b"", b"").unwrap().home, b"/");
        assert!(resolve_in("root", b"", b"").is_err());
    }
}
