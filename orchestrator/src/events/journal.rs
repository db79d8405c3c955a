//! Appending events: one file for a state directory, whoever acts.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::reader::{NEW, OLD};
use super::{EventActor, SandboxEvent};
use crate::home::make_private_dir;
use crate::{Home, KeptSandbox, Record};

/// A file of this length is put aside, bytes; one old file is kept.
const FILE_BYTES: u64 = 4 << 20;

/// The sandbox that an event happens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    id: String,
    name: String,
    image: String,
    labels: BTreeMap<String, String>,
}

impl From<&Record> for Subject {
    fn from(record: &Record) -> Self {
        Self {
            id: record.id.clone(),
            name: record.name.clone(),
            image: record.root.clone(),
            labels: record.labels.clone(),
        }
    }
}

impl From<&KeptSandbox> for Subject {
    fn from(kept: &KeptSandbox) -> Self {
        let record = kept.record();
        Self {
            id: record.id.clone(),
            name: record.name.clone(),
            image: record.root.clone(),
            labels: record.spec.labels.clone(),
        }
    }
}

/// Appends an event of now. `more` are attributes beside image, name and labels. An event that cannot
/// be written is no reason to fail what it tells of: that is logged.
pub fn note(home: &Home, subject: &Subject, action: &str, more: &[(&str, &str)]) {
    let line = line(subject, action, more);
    if let Err(error) = append(&home.events(), &line, FILE_BYTES) {
        tracing::warn!(action, %error, "an event is not written");
    }
}

/// The events of one sandbox.
#[derive(Debug)]
pub(crate) struct Journal(Option<(Home, Subject)>);

impl Journal {
    pub(crate) fn new(home: &Home, subject: Subject) -> Self {
        Self(Some((home.clone(), subject)))
    }

    /// One that writes nothing.
    pub(crate) fn silent() -> Self {
        Self(None)
    }

    /// Appends an event of now.
    pub(crate) fn note(&self, action: &str, more: &[(&str, &str)]) {
        if let Some((home, subject)) = &self.0 {
            note(home, subject, action, more);
        }
    }
}

fn line(subject: &Subject, action: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut attributes = subject.labels.clone();
    attributes.insert("image".to_owned(), subject.image.clone());
    attributes.insert("name".to_owned(), subject.name.clone());
    attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let event = SandboxEvent {
        status: action.to_owned(),
        id: subject.id.clone(),
        from: subject.image.clone(),
        kind: "container".to_owned(),
        action: action.to_owned(),
        actor: EventActor { id: subject.id.clone(), attributes },
        scope: "local".to_owned(),
        time: since.as_secs(),
        time_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
    };
    // Plain data into memory: nothing can fail.
    let mut line = serde_json::to_vec(&event).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Appends one line. A lock on the file keeps other writers away for the moment, so that no line is
/// torn and none goes into a file that was put aside.
pub(super) fn append(dir: &Path, line: &[u8], file_bytes: u64) -> io::Result<()> {
    let path = dir.join(NEW);
    loop {
        let mut file = match open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_private_dir(dir).map_err(io::Error::other)?;
                open(&path)?
            }
            other => other?,
        };
        file.lock()?;
        let found = file.metadata()?;
        if std::fs::metadata(&path).map_or(true, |now| now.ino() != found.ino()) {
            continue;
        }
        if found.len() > 0 && found.len() + line.len() as u64 > file_bytes {
            std::fs::rename(&path, dir.join(OLD))?;
            continue;
        }
        let written = file.write_all(line);
        if written.is_err() {
            // A part of a line would spoil the next one.
            file.set_len(found.len())?;
        }
        return written;
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
