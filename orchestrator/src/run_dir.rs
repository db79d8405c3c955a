//! `run/<id>/`: one directory per running sandbox, held by a lock on its record.
//!
//! The record's lock lives as long as the process that supervises the sandbox, so a directory whose record nobody
//! holds belongs to a process that died; whoever comes next removes it. Process ids are shown, never trusted.
//! Directories are made and looked at under one lock (`run/.lock`), so none is ever seen half made. The records are not
//! synced to disk: no sandbox survives its host.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use monocore_spec::PublishedPort;
use serde::{Deserialize, Serialize};

use crate::home::{Home, make_private_dir};
use crate::id::SandboxId;
use crate::spec::{NetworkMode, NetworkSpec};
use crate::{Error, Published};

pub(crate) const RECORD: &str = "sandbox.json";
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
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// Its network.
    #[serde(default)]
    pub network: NetworkRecord,
    /// The supervising process, to show.
    pub pid: u32,
    /// When it was made, seconds since 1970.
    pub created: u64,
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
    path: PathBuf,
    record: Record,
    /// Locked; the lock goes with the process.
    _held: File,
}

impl RunDir {
    /// Removes what dead processes left, then makes a directory for a new sandbox.
    ///
    /// # Errors
    /// The name is taken, or the directory cannot be made.
    pub fn claim(
        home: &Home,
        name: Option<&str>,
        root: &str,
        labels: &BTreeMap<String, String>,
        network: NetworkRecord,
    ) -> Result<Self, Error> {
        let run = home.run();
        let _guard = lock(&run)?;
        let alive = reconcile(&run)?;
        let (id, made_up) = SandboxId::generate()?;
        if let Some(name) = name {
            refuse_taken(&alive, name)?;
        }
        let record = Record {
            id: id.as_str().to_owned(),
            name: name.map_or(made_up, str::to_owned),
            root: root.to_owned(),
            labels: labels.clone(),
            network,
            pid: std::process::id(),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        };
        let path = run.join(&record.id);
        make_private_dir(&path)?;
        let held = write_record(&path.join(RECORD), &record)?;
        Ok(Self { path, record, _held: held })
    }

    /// Where files of this sandbox lie.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is written down about it.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The sandboxes that run now; what dead processes left is removed.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(home: &Home) -> Result<Vec<Record>, Error> {
        let run = home.run();
        let _guard = lock(&run)?;
        Ok(reconcile(&run)?.iter().filter_map(|path| read_record(path)).collect())
    }

    /// The running sandbox with this name, this id, or the only id that begins so.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn find(home: &Home, wanted: &str) -> Result<Record, Error> {
        let all = Self::list(home)?;
        if let Some(exact) = all.iter().find(|record| record.name == wanted || record.id == wanted) {
            return Ok(exact.clone());
        }
        let mut similar =
            all.into_iter().filter(|record| !wanted.is_empty() && record.id.starts_with(wanted));
        match (similar.next(), similar.next()) {
            (Some(record), None) => Ok(record),
            (Some(_), Some(_)) => Err(Error::Ambiguous(wanted.to_owned())),
            (None, _) => Err(Error::NoSandbox(wanted.to_owned())),
        }
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a run directory stays; the next command removes it");
        }
    }
}

/// Whoever holds the returned file is alone with the directories.
fn lock(run: &Path) -> Result<File, Error> {
    let path = run.join(".lock");
    let open = || OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = match open() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            make_private_dir(run)?;
            open()
        }
        other => other,
    };
    let file = file.map_err(Error::file("open", &path))?;
    file.lock().map_err(Error::file("lock", &path))?;
    Ok(file)
}

/// Removes the directories nobody holds; returns those that are held.
fn reconcile(run: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut alive = Vec::new();
    for entry in std::fs::read_dir(run).map_err(Error::file("read", run))? {
        let path = entry.map_err(Error::file("read", run))?.path();
        if path.file_name().is_some_and(|name| name == ".lock") {
            continue;
        }
        if is_held(&path) {
            alive.push(path);
        } else if let Err(error) = std::fs::remove_dir_all(&path) {
            tracing::warn!(path = %path.display(), %error, "a dead sandbox's directory cannot be removed");
        }
    }
    Ok(alive)
}

fn is_held(dir: &Path) -> bool {
    File::open(dir.join(RECORD))
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn refuse_taken(alive: &[PathBuf], name: &str) -> Result<(), Error> {
    match alive.iter().filter_map(|path| read_record(path)).find(|record| record.name == name) {
        Some(record) => Err(Error::NameInUse { name: name.to_owned(), id: record.id }),
        None => Ok(()),
    }
}

fn read_record(dir: &Path) -> Option<Record> {
    let mut text = Vec::new();
    File::open(dir.join(RECORD)).ok()?.take(MAX_RECORD).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
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
        RunDir::claim(home, name, "alpine", &BTreeMap::new(), NetworkRecord::None)
    }

    #[test]
    fn a_dropped_directory_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let run = claim(&home, Some("web")).unwrap();
        let path = run.path().to_owned();
        assert_eq!(RunDir::list(&home).unwrap(), [run.record().clone()]);
        drop(run);
        assert!(!path.exists());
        assert!(RunDir::list(&home).unwrap().is_empty());
    }

    #[test]
    fn a_sandbox_is_found_by_its_name_or_its_ids_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let (web, other) = (claim(&home, Some("web")).unwrap(), claim(&home, None).unwrap());
        let found = |wanted: &str| RunDir::find(&home, wanted).map(|record| record.id);
        for record in [web.record(), other.record()] {
            assert_eq!(found(&record.name).unwrap(), record.id);
            assert_eq!(found(&record.id).unwrap(), record.id);
        }
        let differ =
            web.record().id.bytes().zip(other.record().id.bytes()).take_while(|(a, b)| a == b).count();
        assert_eq!(found(&web.record().id[..=differ]).unwrap(), web.record().id);
        if differ > 0 {
            assert!(matches!(found(&web.record().id[..differ]), Err(Error::Ambiguous(_))));
        }
        for nobody in ["", "we", "webb", "nobody"] {
            assert!(matches!(found(nobody), Err(Error::NoSandbox(_))), "{nobody}");
        }
    }

    #[test]
    fn a_record_of_before_there_were_networks_is_read() {
        let text = r#"{"id":"0123456789ab","name":"web","root":"alpine","labels":{},"pid":1,"created":2}"#;
        assert_eq!(serde_json::from_str::<Record>(text).unwrap().network, NetworkRecord::None);
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
