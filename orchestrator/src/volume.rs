//! Named volumes: `volumes/<name>/_data`, a directory that outlives its sandboxes.
//!
//! `volume.json` beside it holds what `volume create` was told; a volume that a sandbox made by naming it has none.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::home::{Home, make_private_dir};
use crate::kept::now_ms;
use crate::spec::{MountSource, SandboxSpec, parse_name};
use crate::{Error, registry, state};

const RECORD: &str = "volume.json";
/// The largest record read, bytes.
const MAX_RECORD: u64 = 1 << 20;

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its content.
    pub data: PathBuf,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// Its name was made up: `volume prune` removes it without `--all`.
    pub is_anonymous: bool,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// The sandboxes that use it, by id, whether or not they run.
    pub users: Vec<String>,
}

/// What is written down about a volume.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VolumeRecord {
    labels: BTreeMap<String, String>,
    is_anonymous: bool,
    created_ms: u64,
}

/// Makes a volume; one that is there already stays as it is. Without a name, one is made up.
///
/// # Errors
/// It cannot be made.
pub fn create(home: &Home, name: Option<&str>, labels: BTreeMap<String, String>) -> Result<String, Error> {
    let _alone = registry::lock(home)?;
    let (name, is_anonymous) = match name {
        Some(name) => (name.to_owned(), false),
        None => (made_up()?, true),
    };
    if home.volumes().join(&name).join("_data").exists() {
        return Ok(name);
    }
    // The content comes last: without it there is no volume.
    let record = VolumeRecord { labels, is_anonymous, created_ms: now_ms() };
    let path = home.volumes().join(&name).join(RECORD);
    let text = serde_json::to_vec(&record)
        .map_err(|error| Error::Record { path: path.clone(), problem: error.to_string() })?;
    state::write_whole(&path, &text)?;
    directory(home, &name)?;
    Ok(name)
}

/// 64 hexadecimal digits, as Docker names volumes without a name.
fn made_up() -> Result<String, Error> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::file("read", "/dev/urandom")(errno.into()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// All volumes, by name.
///
/// # Errors
/// A directory or record cannot be read.
pub fn list(home: &Home) -> Result<Vec<Volume>, Error> {
    let users = users(home)?;
    let dir = home.volumes();
    let entries = match std::fs::read_dir(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::file("read", &dir))?,
    };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    let named = names.iter().filter(|name| parse_name(name).is_ok() && dir.join(name).join("_data").is_dir());
    named.map(|name| read(home, name, &users)).collect()
}

/// The volume `name`.
///
/// # Errors
/// There is none, or its record cannot be read.
pub fn find(home: &Home, name: &str) -> Result<Volume, Error> {
    if parse_name(name).is_err() || !home.volumes().join(name).join("_data").is_dir() {
        return Err(Error::NoVolume(name.to_owned()));
    }
    read(home, name, &users(home)?)
}

/// Removes a volume that no sandbox uses.
///
/// # Errors
/// There is none, a sandbox uses it, or a file of it cannot be removed.
pub fn remove_unused(home: &Home, name: &str) -> Result<(), Error> {
    // Whoever is making a sandbox writes down what it uses under the same lock.
    let _alone = registry::lock(home)?;
    if parse_name(name).is_ok() && !home.volumes().join(name).join("_data").is_dir() {
        // The rest of one that was being made.
        remove(home, name)?;
        return Err(Error::NoVolume(name.to_owned()));
    }
    let users = used_by(&registry::list_locked(home)?);
    match users.get(name).and_then(|users| users.first()) {
        Some(_) => Err(Error::VolumeInUse { name: name.to_owned(), users: users[name].join(", ") }),
        None if parse_name(name).is_ok() => remove(home, name),
        None => Err(Error::NoVolume(name.to_owned())),
    }
}

fn read(home: &Home, name: &str, users: &BTreeMap<String, Vec<String>>) -> Result<Volume, Error> {
    let volume = home.volumes().join(name);
    let path = volume.join(RECORD);
    let record: VolumeRecord = match state::read_bounded(&path, MAX_RECORD) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            VolumeRecord { created_ms: made_ms(&volume), ..VolumeRecord::default() }
        }
        other => serde_json::from_slice(&other.map_err(Error::file("read", &path))?)
            .map_err(|error| Error::Record { path: path.clone(), problem: error.to_string() })?,
    };
    Ok(Volume {
        name: name.to_owned(),
        data: volume.join("_data"),
        labels: record.labels,
        is_anonymous: record.is_anonymous,
        created_ms: record.created_ms,
        users: users.get(name).cloned().unwrap_or_default(),
    })
}

/// When a directory was last changed, which for a volume's own is when it was made.
fn made_ms(path: &std::path::Path) -> u64 {
    let changed = path.metadata().and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH);
    let since = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The named volumes of a description.
pub(crate) fn names(spec: &SandboxSpec) -> Vec<String> {
    let named = |mount: &crate::spec::MountSpec| match &mount.source {
        MountSource::Volume(name) => Some(name.clone()),
        _ => None,
    };
    spec.mounts.iter().filter_map(named).collect()
}

fn users(home: &Home) -> Result<BTreeMap<String, Vec<String>>, Error> {
    Ok(used_by(&registry::list(home)?))
}

fn used_by(entries: &[crate::SandboxEntry]) -> BTreeMap<String, Vec<String>> {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in entries {
        let kept = entry.kept.as_ref().map(|kept| names(&kept.record().spec));
        let running = entry.running.as_ref().map(|running| running.volumes.clone());
        for name in kept.or(running).unwrap_or_default() {
            users.entry(name).or_default().push(entry.id.clone());
        }
    }
    users
}

/// The directory of the volume `name`, made if need be. The name was checked by `spec::parse_name`.
///
/// # Errors
/// It cannot be made.
pub(crate) fn directory(home: &Home, name: &str) -> Result<PathBuf, Error> {
    let volume = home.volumes().join(name);
    make_private_dir(&volume)?;
    let data = volume.join("_data");
    match std::fs::create_dir(&data) {
        Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::file("create", &data)(source))
        }
        _ => Ok(data),
    }
}

/// Removes the volume `name` with its content; one that does not exist counts as removed.
///
/// # Errors
/// A file cannot be removed.
pub(crate) fn remove(home: &Home, name: &str) -> Result<(), Error> {
    state::remove_whole(&home.volumes().join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_keeps_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let data = directory(&home, "data").unwrap();
        std::fs::write(data.join("kept"), "x").unwrap();
        assert!(directory(&home, "data").unwrap().join("kept").exists());
    }

    #[test]
    fn a_volume_in_use_stays() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        assert_eq!(create(&home, Some("data"), labels.clone()).unwrap(), "data");
        create(&home, Some("data"), BTreeMap::new()).unwrap();
        let anonymous = create(&home, None, BTreeMap::new()).unwrap();
        assert_eq!((anonymous.len(), find(&home, &anonymous).unwrap().is_anonymous), (64, true));
        let found = find(&home, "data").unwrap();
        assert_eq!((found.labels, found.is_anonymous, found.users.len()), (labels, false, 0));
        let mut spec = crate::spec::tests::minimal();
        spec.mounts.push(crate::spec::parse_volume("data:/d").unwrap());
        let made = crate::kept::NewSandbox {
            spec,
            root: "alpine".to_owned(),
            image: None,
            command: vec!["true".to_owned()],
            auto_remove: false,
        };
        let kept = registry::create(&home, made).unwrap();
        assert_eq!(find(&home, "data").unwrap().users, [kept.record().id.clone()]);
        assert!(matches!(remove_unused(&home, "data"), Err(Error::VolumeInUse { .. })));
        registry::remove(&home, &kept).unwrap();
        remove_unused(&home, "data").unwrap();
        assert!(matches!(remove_unused(&home, "data"), Err(Error::NoVolume(_))));
        assert!(matches!(find(&home, "../volumes"), Err(Error::NoVolume(_))));
        assert_eq!(list(&home).unwrap().len(), 1);
    }
}
