//! Mounts: `-v`, `--mount` and `--tmpfs`.

use std::path::PathBuf;

use monocore_protocol::Tmpfs;
use serde::{Deserialize, Serialize};

use super::text::parse_name;
use super::{ParseError, parse_size};

/// Something mounted in the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountSpec {
    /// Where, absolute.
    pub target: String,
    /// What.
    pub source: MountSource,
    /// The guest cannot write to it.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A directory, file or Unix socket of the host.
    Bind {
        /// Absolute, or relative to the caller's directory.
        path: PathBuf,
        /// A directory is made where nothing is, as Docker's `-v` does.
        create: bool,
    },
    /// A Unix socket of the host that every user of the guest may connect to. ([`Self::Bind`] of a socket keeps its mode.)
    Socket(PathBuf),
    /// A named volume; it outlives the sandbox.
    Volume(String),
    /// A volume without a name; it ends with the sandbox.
    Anonymous,
    /// A file system in the guest's memory.
    Tmpfs(Tmpfs),
}

/// Docker's `-v`: `[SOURCE:]TARGET[:OPTIONS]`. A source with a `/` in it, or beginning with `.`, is a path of the host,
/// else a volume's name. Options: `ro`, `rw`, and those of Docker that mean nothing here (`z`, `Z`, `cached`, …).
///
/// # Errors
/// A target that is not absolute, a wrong volume name, an unknown option.
pub fn parse_volume(text: &str) -> Result<MountSpec, ParseError> {
    let problem = |what: &str| ParseError::new(text, what);
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options),
        _ => return Err(problem("give [SOURCE:]TARGET[:OPTIONS]")),
    };
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            "z" | "Z" | "cached" | "delegated" | "consistent" | "private" | "rprivate" | "nocopy" => {}
            _ => return Err(problem(&format!("unknown option {option:?}; there are ro and rw"))),
        }
    }
    let source = match source {
        None => MountSource::Anonymous,
        Some("") => return Err(problem("the source is empty")),
        Some(path) if path.contains('/') || path.starts_with('.') => {
            MountSource::Bind { path: path.into(), create: true }
        }
        Some(name) => MountSource::Volume(parse_name(name)?),
    };
    Ok(MountSpec { target: parse_target(text, target)?, source, read_only })
}

/// Docker's `--mount`: `type=bind|volume|tmpfs,source=…,target=…[,readonly][,tmpfs-size=…][,tmpfs-mode=…]`.
///
/// # Errors
/// An unknown key or type, a missing source or target.
pub fn parse_mount(text: &str) -> Result<MountSpec, ParseError> {
    let problem = |what: String| ParseError::new(text, what);
    let (mut kind, mut source, mut target, mut read_only) = ("volume", None, None, false);
    let mut tmpfs = Tmpfs::default();
    for field in text.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, "true"));
        match key {
            "type" => kind = value,
            "source" | "src" => source = Some(value),
            "target" | "destination" | "dst" => target = Some(value),
            "readonly" | "ro" => read_only = parse_bool(text, value)?,
            "tmpfs-size" => tmpfs.size_bytes = Some(parse_size(value)?),
            "tmpfs-mode" => tmpfs.mode = Some(parse_mode(text, value)?),
            "consistency" | "bind-propagation" | "volume-nocopy" => {}
            _ => {
                return Err(problem(format!(
                    "unknown key {key:?}; there are type, source, target, readonly, tmpfs-size, tmpfs-mode"
                )));
            }
        }
    }
    let target = parse_target(text, target.ok_or_else(|| problem("target= is missing".into()))?)?;
    let source = match (kind, source) {
        ("bind", Some(path)) if !path.is_empty() => MountSource::Bind { path: path.into(), create: false },
        ("bind", _) => return Err(problem("a bind needs source=".into())),
        ("volume", Some(name)) => MountSource::Volume(parse_name(name)?),
        ("volume", None) => MountSource::Anonymous,
        ("tmpfs", None) => MountSource::Tmpfs(tmpfs),
        ("tmpfs", Some(_)) => return Err(problem("a tmpfs has no source".into())),
        _ => return Err(problem(format!("unknown type {kind:?}; there are bind, volume, tmpfs"))),
    };
    Ok(MountSpec { target, source, read_only })
}

/// Docker's `--tmpfs`: `TARGET[:size=64m,mode=1777,uid=…,gid=…,exec,suid,dev,ro]`.
///
/// # Errors
/// A target that is not absolute, an unknown option.
pub fn parse_tmpfs(text: &str) -> Result<MountSpec, ParseError> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut tmpfs = Tmpfs::default();
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=').unwrap_or((option, "")) {
            ("size", value) => tmpfs.size_bytes = Some(parse_size(value)?),
            ("mode", value) => tmpfs.mode = Some(parse_mode(text, value)?),
            ("uid", value) => tmpfs.uid = parse_id(text, value)?,
            ("gid", value) => tmpfs.gid = parse_id(text, value)?,
            ("exec" | "noexec", "") => tmpfs.exec = option == "exec",
            ("suid" | "nosuid", "") => tmpfs.suid = option == "suid",
            ("dev" | "nodev", "") => tmpfs.dev = option == "dev",
            ("ro" | "rw", "") => read_only = option == "ro",
            _ => {
                return Err(ParseError::new(
                    text,
                    format!(
                        "unknown option {option:?}; there are size=, mode=, uid=, gid=, exec, suid, dev, ro"
                    ),
                ));
            }
        }
    }
    Ok(MountSpec { target: parse_target(text, target)?, source: MountSource::Tmpfs(tmpfs), read_only })
}

/// A socket in the guest and the path of this host that leads to it: `GUEST:HOST`.
///
/// # Errors
/// One of the two is missing, or the guest's is not absolute.
pub fn parse_publish_socket(text: &str) -> Result<PublishSocket, ParseError> {
    match text.split_once(':') {
        Some((guest, host)) if !host.is_empty() => {
            Ok(PublishSocket { guest: parse_target(text, guest)?, host: host.into() })
        }
        _ => Err(ParseError::new(
            text,
            "give GUEST:HOST, a socket's path in the sandbox and one on this machine",
        )),
    }
}

/// A socket of the guest that is reached by a path of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishSocket {
    /// The absolute path in the guest.
    pub guest: String,
    /// The path on the host.
    pub host: PathBuf,
}

/// An absolute path that names something below the root, without `..`.
fn parse_target(text: &str, target: &str) -> Result<String, ParseError> {
    let mut parts = target.split('/').filter(|part| !part.is_empty() && *part != ".").peekable();
    if !target.starts_with('/') || parts.peek().is_none() || parts.any(|part| part == "..") {
        return Err(ParseError::new(text, format!("the target {target:?} is no absolute path below /")));
    }
    Ok(target.to_owned())
}

fn parse_bool(text: &str, value: &str) -> Result<bool, ParseError> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(ParseError::new(text, format!("{value:?} is neither true nor false"))),
    }
}

fn parse_id(text: &str, value: &str) -> Result<u32, ParseError> {
    value.parse().map_err(|_| ParseError::new(text, format!("{value:?} is no user or group number")))
}

fn parse_mode(text: &str, value: &str) -> Result<u32, ParseError> {
    u32::from_str_radix(value, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| ParseError::new(text, format!("{value:?} is no octal mode")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &str, create: bool) -> MountSource {
        MountSource::Bind { path: path.into(), create }
    }

    fn mount(target: &str, source: MountSource, read_only: bool) -> MountSpec {
        MountSpec { target: target.into(), source, read_only }
    }

    #[test]
    fn volumes_as_docker_writes_them() {
        for (text, expected) in [
            ("/a:/b", mount("/b", bind("/a", true), false)),
            ("./a:/b:ro", mount("/b", bind("./a", true), true)),
            ("..:/b", mount("/b", bind("..", true), false)),
            ("data:/b:rw,z", mount("/b", MountSource::Volume("data".into()), false)),
            ("/b", mount("/b", MountSource::Anonymous, false)),
        ] {
            assert_eq!(parse_volume(text), Ok(expected), "{text}");
        }
        for bad in ["", "b", "/a:b", ":/b", "/a:/", "/a:/b/../..", "/a:/b:wrong", "da ta:/b", "/a:/b:ro:x"] {
            assert!(parse_volume(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sockets_to_publish() {
        let expected = PublishSocket { guest: "/run/app.sock".into(), host: "./app.sock".into() };
        assert_eq!(parse_publish_socket("/run/app.sock:./app.sock"), Ok(expected));
        for bad in ["", "/run/app.sock", "app.sock:/x", "/run/app.sock:", "/a/../b:/x"] {
            assert!(parse_publish_socket(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mounts_by_key() {
        let tmpfs = Tmpfs { size_bytes: Some(1 << 20), mode: Some(0o700), ..Tmpfs::default() };
        for (text, expected) in [
            ("type=bind,src=/a,dst=/b,readonly", mount("/b", bind("/a", false), true)),
            ("source=v,target=/b,ro=false", mount("/b", MountSource::Volume("v".into()), false)),
            ("type=volume,dst=/b", mount("/b", MountSource::Anonymous, false)),
            ("type=tmpfs,dst=/b,tmpfs-size=1m,tmpfs-mode=700", mount("/b", MountSource::Tmpfs(tmpfs), false)),
        ] {
            assert_eq!(parse_mount(text), Ok(expected), "{text}");
        }
        for bad in
            ["", "type=bind,dst=/b", "type=nfs,dst=/b", "src=v", "dst=/b,what=1", "type=tmpfs,src=a,dst=/b"]
        {
            assert!(parse_mount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tmpfs_with_options() {
        let options =
            Tmpfs { size_bytes: Some(64 << 20), mode: Some(0o1777), exec: true, ..Tmpfs::default() };
        assert_eq!(
            parse_tmpfs("/run:size=64m,mode=1777,exec,nosuid"),
            Ok(mount("/run", MountSource::Tmpfs(options), false))
        );
        assert_eq!(parse_tmpfs("/run:ro"), Ok(mount("/run", MountSource::Tmpfs(Tmpfs::default()), true)));
        for bad in ["run", "/run:size=x", "/run:mode=99", "/run:what"] {
            assert!(parse_tmpfs(bad).is_err(), "{bad}");
        }
    }
}
