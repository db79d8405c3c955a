//! Copies changed files of this host into a sandbox that runs, and removes there what is gone here.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};

use monocore_protocol::ByteString;

use super::watch::Rule;
use crate::copy::Copier;
use crate::session::{Input, Output, Signals, Streams, printable};
use crate::tools::Buffer;
use crate::{ControlClient, Error, ExecCall, Launcher, SandboxEntry};

const BUFFER_BYTES: usize = 128 << 10;
/// Most bytes of a guest's message that are shown.
const MESSAGE_BYTES: usize = 1 << 10;
/// How deep directories are followed.
const MAX_DEPTH: usize = 64;

/// What changed: places in the guest, each with the file of this host that belongs there, or with none.
#[derive(Debug, Default)]
pub(super) struct Batch {
    files: BTreeMap<PathBuf, PathBuf>,
    gone: Vec<PathBuf>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.gone.is_empty()
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> Vec<&Path> {
        self.files.keys().map(PathBuf::as_path).collect()
    }

    /// Adds a path that changed. A directory is taken with all that `rule` takes in it: what was written before the kernel
    /// reported on it was not reported.
    pub(super) fn add(&mut self, rule: &Rule, path: &Path) {
        self.add_at(rule, path, 0);
    }

    fn add_at(&mut self, rule: &Rule, path: &Path, depth: usize) {
        let Ok(there) = std::fs::symlink_metadata(path) else {
            self.gone.push(rule.place(path));
            return;
        };
        self.files.insert(rule.place(path), path.to_owned());
        if !there.is_dir() || depth == MAX_DEPTH {
            return;
        }
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if rule.takes(&entry.path(), is_dir) {
                self.add_at(rule, &entry.path(), depth + 1);
            }
        }
    }
}

/// Brings `batch` into a sandbox that runs; how many files were copied or removed.
///
/// # Errors
/// The guest's, or the sandbox cannot be asked.
pub(super) fn bring(launcher: &Launcher, entry: &SandboxEntry, batch: &Batch) -> Result<usize, Error> {
    let signals = Signals::none()?;
    // What is gone comes first: a file may be where a directory was.
    if !batch.gone.is_empty() {
        remove(launcher, entry, &batch.gone, &signals)?;
    }
    if !batch.files.is_empty() {
        let copier = Copier { launcher, entry, signals: &signals, owners: false };
        let files = batch.files.clone();
        copier.archive_from(b"/", move |out| archive(&files, out))?;
    }
    Ok(batch.gone.len() + batch.files.len())
}

/// Removes files in the guest by its own `rm`, as Compose does.
fn remove(
    launcher: &Launcher,
    entry: &SandboxEntry,
    gone: &[PathBuf],
    signals: &Signals,
) -> Result<(), Error> {
    let Some(record) = &entry.running else { return Ok(()) };
    let words = ["rm", "-rf", "--"].map(ByteString::from).into_iter();
    let command = words.chain(gone.iter().map(|path| path.as_os_str().into())).collect();
    let said = Buffer::new(MESSAGE_BYTES);
    let streams = Streams::Pipes {
        stdin: Input::Empty,
        stdout: Output::Discard,
        stderr: Output::Writer(Box::new(said.clone())),
    };
    let call = ExecCall { user: Some("0".to_owned()), ..ExecCall::new(command) };
    let client = ControlClient::connect(&launcher.home, record)?;
    let ended = client.exec(call, streams)?.run_to_end(signals, None, None)?;
    if ended != crate::session::Outcome::Exited(monocore_protocol::ExitStatus::Code(0)) {
        let text = String::from_utf8_lossy(&said.take()).into_owned();
        return Err(Error::Copy(format!("removing files: {}", printable(text.trim_end(), MESSAGE_BYTES))));
    }
    Ok(())
}

/// Writes the files as a tar archive, each under its place in the guest. One that has gone meanwhile is left out: its end
/// is reported as well.
fn archive(files: &BTreeMap<PathBuf, PathBuf>, out: File) -> io::Result<()> {
    let mut builder = tar::Builder::new(BufWriter::with_capacity(BUFFER_BYTES, out));
    for (place, path) in files {
        let name = place.strip_prefix("/").unwrap_or(place);
        match append(&mut builder, name, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    builder.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error).map(drop)
}

fn append(builder: &mut tar::Builder<impl io::Write>, name: &Path, path: &Path) -> io::Result<()> {
    let there = std::fs::symlink_metadata(path)?;
    if there.is_dir() {
        builder.append_data(&mut header(&there), name, io::empty())
    } else if there.is_symlink() {
        builder.append_link(&mut header(&there), name, std::fs::read_link(path)?)
    } else if there.is_file() {
        let file = File::open(path)?;
        let there = file.metadata()?;
        // The file may grow or shrink meanwhile, and its size in the archive is fixed; then it is reported again.
        let content = file.chain(io::repeat(0)).take(there.len());
        builder.append_data(&mut header(&there), name, content)
    } else {
        // Sockets and pipes belong to programs of this host.
        Ok(())
    }
}

/// Kind, size, mode and time of a file; the owner is root.
fn header(there: &Metadata) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_metadata(there);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_what_is_there_and_leaves_out_what_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("sub")).unwrap();
        std::fs::write(path("sub/file"), "content").unwrap();
        std::os::unix::fs::symlink("file", path("sub/link")).unwrap();
        let names = ["sub", "sub/file", "sub/link", "sub/gone"];
        let files = names.map(|name| (Path::new("/app").join(name), path(name))).into();
        let out = path("out.tar");
        archive(&files, File::create(&out).unwrap()).unwrap();
        let mut archive = tar::Archive::new(File::open(&out).unwrap());
        let read: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                let link = entry.link_name().unwrap().map(|link| link.display().to_string());
                (entry.path().unwrap().display().to_string(), link.unwrap_or(text))
            })
            .collect();
        let expected = [("app/sub", ""), ("app/sub/file", "content"), ("app/sub/link", "file")];
        assert_eq!(read, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }
}
