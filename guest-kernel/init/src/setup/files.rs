//! The files of `/etc` that belong to the sandbox, not to its image: mounted over the image's, as Docker does.

use std::fmt::Write;

use monocore_protocol::{Configure, HostEntry, Mount, Resolver};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, mkdir, open};

use super::mounting;
use super::target::{self, Kind};
use crate::error::{Doing, Error};
use crate::log;

const PLACE: &str = "/files";

/// A file ready to be mounted.
#[derive(Debug)]
pub(super) struct Generated {
    path: &'static str,
    mount: OwnedFd,
}

/// Writes the files at a hidden place of the initramfs.
pub(super) fn generate(configure: &Configure) -> Result<Vec<Generated>, Error> {
    mkdir(PLACE, Mode::from_raw_mode(0o755)).doing("make", PLACE)?;
    let mut files = vec![
        file("hostname", "/etc/hostname", &format!("{}\n", configure.hostname))?,
        file("hosts", "/etc/hosts", &hosts(&configure.hostname, &configure.hosts))?,
    ];
    if let Some(resolver) = &configure.resolver {
        files.push(file("resolv.conf", "/etc/resolv.conf", &resolv_conf(resolver))?);
    }
    Ok(files)
}

/// Mounts the files over the image's, after `mounts`, so that none of those hides them. A mount of the user's at the same
/// path stays. An image whose `/etc` cannot take one, for instance since it is a file, runs without.
pub(super) fn place(files: Vec<Generated>, mounts: &[Mount]) {
    let parts = |path: &[u8]| -> Vec<Vec<u8>> { target::components(path).collect() };
    for file in files {
        let own = parts(file.path.as_bytes());
        if mounts.iter().any(|mount| parts(mount.target.as_bytes()) == own) {
            continue;
        }
        let placed = target::ensure(file.path.as_bytes(), Kind::File)
            .and_then(|()| mounting::attach(&file.mount, file.path.as_bytes()));
        if let Err(error) = placed {
            log::complain(&format!("no {}: {error}", file.path));
        }
    }
}

fn file(name: &str, path: &'static str, content: &str) -> Result<Generated, Error> {
    let place = format!("{PLACE}/{name}");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let file = open(&place, flags, Mode::from_raw_mode(0o644)).doing("make", &place)?;
    let mut rest = content.as_bytes();
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(&file, rest).doing("write", &place)?..];
    }
    Ok(Generated { path, mount: mounting::clone_of(CWD, &place)? })
}

fn hosts(hostname: &str, more: &[HostEntry]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    for entry in more {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}\t{}", entry.address, entry.names.join(" "));
    }
    if hostname != "localhost" {
        let _ = writeln!(text, "127.0.1.1\t{hostname}");
    }
    text
}

fn resolv_conf(resolver: &Resolver) -> String {
    let mut text = String::new();
    for server in &resolver.servers {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "nameserver {server}");
    }
    for (word, values) in [("search", &resolver.search), ("options", &resolver.options)] {
        if !values.is_empty() {
            let _ = writeln!(text, "{word} {}", values.join(" "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_say_what_was_asked_for() {
        let entry = HostEntry { address: [10, 0, 0, 2].into(), names: vec!["db".into(), "db.local".into()] };
        let text = hosts("box", &[entry]);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.0.0.2\tdb db.local\n127.0.1.1\tbox\n"));
        let resolver = Resolver {
            servers: vec![[1, 1, 1, 1].into()],
            search: vec!["a".into(), "b".into()],
            options: vec![],
        };
        assert_eq!(resolv_conf(&resolver), "nameserver 1.1.1.1\nsearch a b\n");
    }
}
