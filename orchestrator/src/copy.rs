//! Files between this machine and a sandbox: a tar stream of the agent's, packed on one side and unpacked on the other.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread::JoinHandle;

use monocore_archive::{PackOptions, Placement, UnpackOptions, pack, unpack};
use monocore_protocol::{ByteString, Tool, ToolPlacement};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::session::{Input, Output, Signals, Streams, printable};
use crate::tools::Buffer;
use crate::{Error, Launcher, SandboxEntry, run_tool};

const BUFFER_BYTES: usize = 128 << 10;
/// Most bytes of a guest's messages that are kept.
const MESSAGE_BYTES: usize = 8 << 10;

/// A file or directory to copy, as the user named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path.
    pub path: ByteString,
    /// What it is called where it arrives in a directory.
    pub name: ByteString,
    /// Only its content is meant: it was named as `DIRECTORY/.`.
    pub contents: bool,
    /// Where it is a symbolic link, what that leads to is copied.
    pub follow: bool,
}

/// What a copy carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of content; nothing where they were not counted.
    pub bytes: u64,
    /// What was left out, and why.
    pub warnings: Vec<String>,
}

/// A sandbox and who asks it.
#[derive(Clone, Copy, Debug)]
pub struct Copier<'a> {
    /// Where sandboxes are.
    pub launcher: &'a Launcher,
    /// The sandbox; it need not run.
    pub entry: &'a SandboxEntry,
    /// This process's signals.
    pub signals: &'a Signals,
    /// Files keep their owners.
    pub owners: bool,
}

impl Source {
    /// A source by its path, with `docker cp`'s meaning of a trailing `/.`.
    #[must_use]
    pub fn new(path: &[u8], follow: bool) -> Self {
        let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let contents = parts.last().is_some_and(|last| *last == b"." || *last == b"..");
        let name = parts.iter().rev().find(|part| !matches!(part, [] | [b'.'] | [b'.', b'.']));
        let name = name.map_or(&b""[..], |name| *name);
        Self { path: path.into(), name: name.into(), contents: contents || name.is_empty(), follow }
    }
}

impl Copier<'_> {
    /// Copies out of the sandbox to `target` on this machine. Whatever the guest sends, nothing outside of `target` is
    /// made or changed.
    ///
    /// # Errors
    /// Either side's.
    pub fn to_host(&self, source: &Source, target: &Path) -> Result<Copied, Error> {
        let (reads, writes) = pipe()?;
        let (target, source_name, contents, owners) =
            (target.to_owned(), source.name.clone(), source.contents, self.owners);
        let unpacker = spawn("unpack", move || {
            let placement = Placement::Copy { name: source_name.as_bytes(), contents };
            let options = UnpackOptions { placement, owners, is_own: false };
            let mut copied = Copied::default();
            let mut warn = |text: String| copied.warnings.push(printable(&text, MESSAGE_BYTES));
            let input = BufReader::with_capacity(BUFFER_BYTES, File::from(reads));
            let bytes = unpack(input, &target, options, &mut warn)?;
            Ok(Copied { bytes, ..copied })
        })?;
        let tool = pack_tool(source, b".");
        let said = self.run(tool, Input::Empty, Output::Fd(writes));
        settle(said, unpacker)
    }

    /// Copies from this machine to `target` in the sandbox.
    ///
    /// # Errors
    /// Either side's.
    pub fn to_guest(&self, source: &Source, target: &[u8]) -> Result<Copied, Error> {
        let (reads, writes) = pipe()?;
        let tool = Tool::Unpack {
            path: target.into(),
            placement: ToolPlacement::Copy { name: source.name.clone(), contents: source.contents },
            owners: self.owners,
        };
        let source = source.clone();
        let packer = spawn("pack", move || {
            let options = PackOptions { name: b".", follow: source.follow };
            let out = BufWriter::with_capacity(BUFFER_BYTES, File::from(writes));
            let mut copied = Copied::default();
            let mut warn = |text: String| copied.warnings.push(printable(&text, MESSAGE_BYTES));
            let bytes = pack(Path::new(source.path.as_os_str()), options, out, &mut warn)?;
            Ok(Copied { bytes, ..copied })
        })?;
        let said = self.run(tool, Input::Fd(reads), Output::Discard);
        settle(said, packer)
    }

    /// Writes the source as a tar archive to `out`, under its own name.
    ///
    /// # Errors
    /// The guest's, or the sandbox cannot be asked.
    pub fn archive_out(&self, source: &Source, out: OwnedFd) -> Result<Copied, Error> {
        let name = if source.contents { b"." } else { source.name.as_bytes() };
        let said = self.run(pack_tool(source, name), Input::Empty, Output::Fd(out))?;
        said.into_copied()
    }

    /// Makes the files of the tar archive `input` below a directory of the sandbox.
    ///
    /// # Errors
    /// The guest's, or the sandbox cannot be asked.
    pub fn archive_in(&self, input: OwnedFd, target: &[u8]) -> Result<Copied, Error> {
        let placement = ToolPlacement::Into;
        let tool = Tool::Unpack { path: target.into(), placement, owners: self.owners };
        self.run(tool, Input::Fd(input), Output::Discard)?.into_copied()
    }

    /// Makes the files of the tar archive that `write` writes below a directory of the sandbox.
    ///
    /// # Errors
    /// Either side's.
    pub(crate) fn archive_from(
        &self,
        target: &[u8],
        write: impl FnOnce(File) -> io::Result<()> + Send + 'static,
    ) -> Result<Copied, Error> {
        let (reads, writes) = pipe()?;
        let packer = spawn("pack", move || write(File::from(writes)).map(|()| Copied::default()))?;
        let tool = Tool::Unpack { path: target.into(), placement: ToolPlacement::Into, owners: self.owners };
        let said = self.run(tool, Input::Fd(reads), Output::Discard);
        settle(said, packer)
    }

    fn run(&self, tool: Tool, stdin: Input, stdout: Output) -> Result<Said, Error> {
        let words = Buffer::new(MESSAGE_BYTES);
        let stderr = Output::Writer(Box::new(words.clone()));
        let streams = Streams::Pipes { stdin, stdout, stderr };
        let status = run_tool(self.launcher, self.entry, tool, streams, self.signals)?;
        Ok(Said { code: status.code(), text: String::from_utf8_lossy(&words.take()).into_owned() })
    }
}

fn pack_tool(source: &Source, name: &[u8]) -> Tool {
    Tool::Pack { path: source.path.clone(), name: name.into(), follow: source.follow }
}

/// What the guest said in the end.
#[derive(Debug)]
struct Said {
    code: u8,
    text: String,
}

impl Said {
    fn into_copied(self) -> Result<Copied, Error> {
        let lines = self.text.lines().map(|line| printable(line, MESSAGE_BYTES));
        let (warnings, errors): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("warning: "));
        if self.code != 0 {
            let message = errors.join("; ");
            let message =
                if message.is_empty() { format!("the copy ended with {}", self.code) } else { message };
            return Err(Error::Copy(message));
        }
        let warnings = warnings.iter().filter_map(|line| line.strip_prefix("warning: "));
        Ok(Copied { bytes: 0, warnings: warnings.map(str::to_owned).collect() })
    }

    /// It only says that the other side has given up.
    fn is_echo(&self) -> bool {
        self.text.contains("Broken pipe")
            || self.text.contains("archive ends")
            || self.text.contains("no file came")
    }
}

/// The result of both sides; the reason counts, not what followed from it.
fn settle(said: Result<Said, Error>, local: JoinHandle<io::Result<Copied>>) -> Result<Copied, Error> {
    let local = local.join().unwrap_or_else(|_| Err(io::Error::other("a thread of the copy panicked")));
    let said = said?;
    match local {
        Ok(copied) => {
            let theirs = said.into_copied()?;
            Ok(Copied { warnings: [copied.warnings, theirs.warnings].concat(), ..copied })
        }
        Err(_) if said.code != 0 && !said.is_echo() => said.into_copied(),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            said.into_copied().and(Err(Error::Copy(error.to_string())))
        }
        Err(error) => Err(Error::Copy(printable(&error.to_string(), MESSAGE_BYTES))),
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Error::Spawn(errno.into()))
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(Error::Spawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_a_name_and_perhaps_only_content() {
        for (path, name, contents) in [
            ("/etc", "etc", false),
            ("/etc/", "etc", false),
            ("/etc/.", "etc", true),
            ("a/b", "b", false),
            (".", "", true),
            ("/", "", true),
            ("..", "", true),
        ] {
            let source = Source::new(path.as_bytes(), false);
            assert_eq!((source.name, source.contents), (name.into(), contents), "{path}");
        }
    }

    #[test]
    fn the_reason_is_told_and_not_what_followed_from_it() {
        let said = |code, text: &str| Ok(Said { code, text: text.to_owned() });
        let local = |result: Result<(), io::Error>| {
            std::thread::spawn(move || result.map(|()| Copied { bytes: 7, warnings: Vec::new() }))
        };
        let text = |result: Result<Copied, Error>| result.unwrap_err().to_string();
        assert_eq!(settle(said(0, ""), local(Ok(()))).unwrap().bytes, 7);
        let full = || Err(io::Error::other("disk full"));
        assert_eq!(text(settle(said(1, "Broken pipe (os error 32)\n"), local(full()))), "disk full");
        let cut = || Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no file came"));
        assert_eq!(text(settle(said(1, "/x: not there\n"), local(cut()))), "/x: not there");
        let gone = || Err(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(text(settle(said(1, "/x: not a directory\n"), local(gone()))), "/x: not a directory");
    }
}
