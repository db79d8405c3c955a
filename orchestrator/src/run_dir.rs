//! `run/<id>/`: one directory per running sandbox, held by a lock on its record.
//!
//! The record's lock lives as long as the process that supervises the sandbox, so a directory whose record nobody
//! holds belongs to a process that died; whoever comes next removes it. Process ids are shown, never trusted.
//! Directories are made and looked at under one lock (`run/.lock`), so none is ever seen half made. The records are not
//! synced to disk: no sandbox survives its host.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use monocore_spec::PublishedPort;
use serde::{Deserialize, Serialize};

use crate::home::{Home, make_private_dir};
use crate::kept::{self, KeptSandbox};
use crate::live::MachineSize;
use crate::spec::{GroupMembership, NetworkMode, NetworkSpec};
use crate::{Error, JoinedGroup, Published, groups, names, registry, state};

pub(crate) const RECORD: &str = "sandbox.json";
/// The ports, where they are others than the record says: the record is locked and stays as it was written.
const PORTS: &str = "ports.json";
/// The machine's size, where it is another than the record says.
const SIZE: &str = "size.json";
/// The groups, where they are others than the record says.
const GROUPS: &str = "groups.json";
/// The largest record read, bytes.
const MAX_RECORD: u64 = 1 << 20;

/// What is written down about a running sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its identity.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image as the user wrote it, or the root directory.
    pub root: String,
    /// The command line, for listings.
    #[serde(default)]
    pub command: Vec<String>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The named volumes it uses.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// Its network.
    #[serde(default)]
    pub network: NetworkRecord,
    /// The groups that it is a member of.
    #[serde(default)]
    pub groups: Vec<JoinedGroup>,
    /// What its machine was started with.
    #[serde(default)]
    pub size: Option<MachineSize>,
    /// The supervising process, to show.
    pub pid: u32,
    /// When it was made, seconds since 1970.
    pub created: u64,
}

impl Record {
    /// When it was made, milliseconds since 1970.
    #[must_use]
    pub fn created_ms(&self) -> u64 {
        self.created.saturating_mul(1000)
    }
}

/// What is written down about a sandbox's network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkRecord {
    /// It has none.
    #[default]
    None,
    /// Monocore makes its connections and publishes its ports.
    Ours {
        /// Its ports, as they are bound on this host.
        ports: Vec<PublishedPort>,
        /// The file its decisions are written to, where it is not one beside this record.
        #[serde(default)]
        log: Option<LogRecord>,
    },
    /// Another program does.
    Foreign,
}

/// A file of the user's that decisions are appended to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Where it is.
    pub path: PathBuf,
    /// What of it is older than the sandbox, bytes.
    pub start_bytes: u64,
}

impl LogRecord {
    fn new(path: &Path) -> Self {
        Self {
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            start_bytes: path.metadata().map_or(0, |metadata| metadata.len()),
        }
    }
}

impl NetworkRecord {
    /// That of a sandbox with the network `spec` and these ports.
    #[must_use]
    pub fn new(spec: &NetworkSpec, published: &Published) -> Self {
        match &spec.mode {
            NetworkMode::None => Self::None,
            NetworkMode::Nat | NetworkMode::Tsi => {
                Self::Ours { ports: published.ports(), log: spec.log.as_deref().map(LogRecord::new) }
            }
            NetworkMode::Tap(_) | NetworkMode::Passt(_) => Self::Foreign,
        }
    }
}

/// A running sandbox's directory; dropping it removes it.
#[derive(Debug)]
pub struct RunDir {
    home: Home,
    path: PathBuf,
    record: Record,
    /// The name goes with the directory: no kept sandbox has it.
    owns_name: bool,
    /// Locked; the lock goes with the process.
    _held: File,
}

/// What a running sandbox's record says beside its identity.
#[derive(Clone, Debug, Default)]
pub struct RunRecord {
    /// The image as the user wrote it, or the root directory.
    pub root: String,
    /// The command line, for listings.
    pub command: Vec<String>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The named volumes it uses.
    pub volumes: Vec<String>,
    /// Its network.
    pub network: NetworkRecord,
    /// The groups that it is to be a member of.
    pub groups: Vec<GroupMembership>,
    /// What its machine is started with.
    pub size: Option<MachineSize>,
}

impl RunDir {
    /// Removes what dead processes left, then makes a directory for a sandbox that ends with its command.
    ///
    /// # Errors
    /// The name is taken, or the directory cannot be made.
    pub fn claim(home: &Home, name: Option<&str>, run: RunRecord) -> Result<Self, Error> {
        let _alone = registry::lock(home)?;
        reconcile(home)?;
        let (id, name) = registry::new_identity(home, name)?;
        // The name comes first: a directory that is dropped takes the registry's lock, which is held here.
        names::assign(home, &name, &id)?;
        Self::make(home, id.as_str(), &name, run, true)
    }

    /// Makes a directory for a kept sandbox that is to run.
    ///
    /// # Errors
    /// It runs already, is gone, or the directory cannot be made.
    pub fn claim_kept(home: &Home, kept: &KeptSandbox, network: NetworkRecord) -> Result<Self, Error> {
        let _alone = registry::lock(home)?;
        let record = kept.record();
        let path = home.run().join(&record.id);
        if is_held(&path) {
            return Err(Error::AlreadyRunning(record.name.clone()));
        }
        // It may have been removed before the lock was ours.
        registry::open_kept(home, &record.id)?;
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(Error::file("remove", &path))?;
        }
        let run = RunRecord {
            root: record.root.clone(),
            command: record.command.clone(),
            labels: record.spec.labels.clone(),
            volumes: crate::volume::names(&record.spec),
            network,
            groups: record.spec.network.groups.clone(),
            size: Some(MachineSize::of(&record.spec.machine)),
        };
        Self::make(home, &record.id, &record.name, run, false)
    }

    fn make(home: &Home, id: &str, name: &str, run: RunRecord, owns_name: bool) -> Result<Self, Error> {
        let groups = groups::join(home, (id, name), &run.groups)?;
        let record = Record {
            id: id.to_owned(),
            name: name.to_owned(),
            root: run.root,
            command: run.command,
            labels: run.labels,
            volumes: run.volumes,
            network: run.network,
            groups,
            size: run.size,
            pid: std::process::id(),
            created: kept::now_ms() / 1000,
        };
        let path = home.run().join(id);
        make_private_dir(&path)?;
        let held = write_record(&path.join(RECORD), &record)?;
        Ok(Self { home: home.clone(), path, record, owns_name, _held: held })
    }

    /// Where files of this sandbox lie.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sandbox is not kept: it goes with this directory.
    pub(crate) fn is_ephemeral(&self) -> bool {
        self.owns_name
    }

    /// The groups that it is a member of now.
    pub(crate) fn groups(&self) -> Vec<JoinedGroup> {
        let changed = (!self.owns_name).then(|| changed_groups(&self.path)).flatten();
        changed.unwrap_or_else(|| self.record.groups.clone())
    }

    /// What is written down about it.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let alone = registry::lock(&self.home);
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a run directory stays; the next command removes it");
        }
        if self.owns_name {
            let joined = self.record.groups.iter();
            let joined = joined.map(|group| (group.project.as_deref(), group.group.as_str()));
            if let Err(error) = groups::leave(&self.home, &self.record.id, joined) {
                tracing::warn!(%error, "a group still has the sandbox as a member");
            }
            let released = registry::release_name(&self.home, &self.record.name, &self.record.id);
            if let Err(error) = alone.and(released) {
                tracing::warn!(%error, "the sandbox's name is still taken");
            }
        }
    }
}

/// Removes the directories nobody holds; returns the records of those that are held. The caller holds the lock.
pub(crate) fn reconcile(home: &Home) -> Result<Vec<Record>, Error> {
    let run = home.run();
    let mut alive = Vec::new();
    for entry in std::fs::read_dir(&run).map_err(Error::file("read", &run))? {
        let path = entry.map_err(Error::file("read", &run))?.path();
        if path.file_name().is_some_and(|name| name == ".lock") {
            continue;
        }
        if let Some(record) = held_record(&path) {
            alive.push(record);
            continue;
        }
        if let Some(record) = read_record(&path)
            && !home.sandboxes().join(&record.id).exists()
        {
            registry::release_name(home, &record.name, &record.id)?;
        }
        if let Err(error) = std::fs::remove_dir_all(&path) {
            tracing::warn!(path = %path.display(), %error, "a dead sandbox's directory cannot be removed");
        }
    }
    Ok(alive)
}

/// Whether a process holds the record in `dir`.
pub(crate) fn is_held(dir: &Path) -> bool {
    File::open(dir.join(RECORD))
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The record in `dir`, if a process holds it.
pub(crate) fn held_record(dir: &Path) -> Option<Record> {
    is_held(dir).then(|| read_record(dir)).flatten()
}

fn read_record(dir: &Path) -> Option<Record> {
    let mut record: Record =
        serde_json::from_slice(&state::read_bounded(&dir.join(RECORD), MAX_RECORD).ok()?).ok()?;
    if let NetworkRecord::Ours { ports, .. } = &mut record.network
        && let Ok(text) = state::read_bounded(&dir.join(PORTS), MAX_RECORD)
        && let Ok(changed) = serde_json::from_slice(&text)
    {
        *ports = changed;
    }
    if let Ok(text) = state::read_bounded(&dir.join(SIZE), MAX_RECORD)
        && let Ok(changed) = serde_json::from_slice(&text)
    {
        record.size = Some(changed);
    }
    if let Some(changed) = changed_groups(dir) {
        record.groups = changed;
    }
    Some(record)
}

/// The ports of the sandbox in `dir` as they are bound now.
pub(crate) fn ports(dir: &Path) -> Vec<PublishedPort> {
    match read_record(dir).map(|record| record.network) {
        Some(NetworkRecord::Ours { ports, .. }) => ports,
        _ => Vec::new(),
    }
}

fn changed_groups(dir: &Path) -> Option<Vec<JoinedGroup>> {
    serde_json::from_slice(&state::read_bounded(&dir.join(GROUPS), MAX_RECORD).ok()?).ok()
}

/// Writes down that the sandbox in `dir` is a member of other groups than at its start.
///
/// # Errors
/// The file cannot be written; the old one is untouched.
pub(crate) fn write_groups(dir: &Path, groups: &[JoinedGroup]) -> Result<(), Error> {
    let path = dir.join(GROUPS);
    let text = serde_json::to_vec(groups).map_err(|error| Error::file("write", &path)(error.into()))?;
    state::write_whole(&path, &text)
}

/// Writes down that the ports of the sandbox in `dir` are others than at its start.
///
/// # Errors
/// The file cannot be written; the old one is untouched.
pub(crate) fn write_ports(dir: &Path, ports: &[PublishedPort]) -> Result<(), Error> {
    let path = dir.join(PORTS);
    let text = serde_json::to_vec(ports).map_err(|error| Error::file("write", &path)(error.into()))?;
    state::write_whole(&path, &text)
}

/// Writes down that the machine of the sandbox in `dir` was started with another size than the first one.
///
/// # Errors
/// The file cannot be written; the old one is untouched.
pub(crate) fn write_size(dir: &Path, size: MachineSize) -> Result<(), Error> {
    let path = dir.join(SIZE);
    let text = serde_json::to_vec(&size).map_err(|error| Error::file("write", &path)(error.into()))?;
    state::write_whole(&path, &text)
}

fn write_record(path: &Path, record: &Record) -> Result<File, Error> {
    let write = || {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
        file.lock()?;
        file.write_all(&serde_json::to_vec(record)?)?;
        Ok(file)
    };
    write().map_err(Error::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(home: &Home, name: Option<&str>) -> Result<RunDir, Error> {
        RunDir::claim(home, name, RunRecord { root: "alpine".to_owned(), ..RunRecord::default() })
    }

    fn running(home: &Home) -> Vec<Record> {
        registry::list(home).unwrap().into_iter().filter_map(|entry| entry.running).collect()
    }

    #[test]
    fn a_dropped_directory_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let run = claim(&home, Some("web")).unwrap();
        let path = run.path().to_owned();
        assert_eq!(running(&home), [run.record().clone()]);
        drop(run);
        assert!(!path.exists());
        assert!(running(&home).is_empty());
        assert_eq!(std::fs::read_dir(home.names()).unwrap().count(), 0, "the name is free again");
    }

    #[test]
    fn a_name_that_cannot_be_written_down_is_an_error_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        std::fs::write(home.names(), "no directory").unwrap();
        assert!(claim(&home, Some("web")).is_err());
        assert!(running(&home).is_empty());
        std::fs::remove_file(home.names()).unwrap();
        claim(&home, Some("web")).unwrap();
    }

    #[test]
    fn a_record_of_before_there_were_networks_is_read() {
        let text = r#"{"id":"0123456789ab","name":"web","root":"alpine","labels":{},"pid":1,"created":2}"#;
        let record = serde_json::from_str::<Record>(text).unwrap();
        assert_eq!((record.network, record.command), (NetworkRecord::None, Vec::<String>::new()));
    }

    #[test]
    fn a_taken_name_is_refused_until_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let first = claim(&home, Some("web")).unwrap();
        let refused = claim(&home, Some("web")).unwrap_err().to_string();
        assert!(refused.contains(&first.record().id), "{refused}");
        claim(&home, None).unwrap();
        drop(first);
        claim(&home, Some("web")).unwrap();
    }

    #[test]
    fn what_a_dead_process_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let stale = home.run().join("0123456789ab");
        std::fs::create_dir_all(&stale).unwrap();
        std::fs::write(stale.join(RECORD), "{}").unwrap();
        let broken = home.run().join("no-record");
        std::fs::create_dir_all(&broken).unwrap();
        let alive = claim(&home, None).unwrap();
        assert!(!stale.exists() && !broken.exists() && alive.path().exists());
    }
}
