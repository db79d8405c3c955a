//! Commands in a running sandbox, and what came of them.

use std::ffi::OsString;
use std::io::{self, Cursor, Write};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, PoisonError};

use monocore_orchestrator::ExecCall;
use monocore_orchestrator::session::{Input, Output, Streams};
use monocore_protocol::ByteString;

/// Output that is kept of each stream unless the command says otherwise, bytes.
const OUTPUT_BYTES: usize = 16 << 20;

/// A command for a running sandbox. What is not said is as for the sandbox's own command.
#[derive(Clone, Debug)]
pub struct Command {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    workdir: Option<OsString>,
    user: Option<String>,
    stdin: Vec<u8>,
    max_output_bytes: usize,
}

impl Command {
    /// A program, a path in the guest or a name to find in `PATH`, and its arguments.
    #[must_use]
    pub fn new(argv: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            workdir: None,
            user: None,
            stdin: Vec::new(),
            max_output_bytes: OUTPUT_BYTES,
        }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The directory that the command starts in.
    #[must_use]
    pub fn workdir(mut self, path: impl Into<OsString>) -> Self {
        self.workdir = Some(path.into());
        self
    }

    /// The user, as `name|uid[:group|gid]`.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// What the command reads from its standard input; nothing unless it is set.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// The output that is kept of each stream, 16 MiB unless it is set. What is more is dropped.
    #[must_use]
    pub fn max_output_bytes(mut self, most: usize) -> Self {
        self.max_output_bytes = most;
        self
    }

    pub(super) fn into_call(self) -> (ExecCall, Streams, Collecting) {
        let text = |text: &OsString| ByteString::from(text.as_os_str());
        let pair =
            |(name, value): &(OsString, OsString)| [name.as_bytes(), b"=", value.as_bytes()].concat().into();
        let call = ExecCall {
            env: self.env.iter().map(pair).collect(),
            workdir: self.workdir.as_ref().map(text),
            user: self.user,
            ..ExecCall::new(self.argv.iter().map(text).collect())
        };
        let output = Collecting {
            stdout: Collected::new(self.max_output_bytes),
            stderr: Collected::new(self.max_output_bytes),
        };
        let stdin = if self.stdin.is_empty() {
            Input::Empty
        } else {
            Input::Reader(Box::new(Cursor::new(self.stdin)))
        };
        let writer = |stream: &Collected| Output::Writer(Box::new(stream.clone()));
        let streams =
            Streams::Pipes { stdin, stdout: writer(&output.stdout), stderr: writer(&output.stderr) };
        (call, streams, output)
    }
}

impl<const N: usize> From<[&str; N]> for Command {
    fn from(argv: [&str; N]) -> Self {
        Self::new(argv)
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutput {
    /// The exit code, as a shell reports it: 128 and the signal's number if a signal ended the command.
    pub code: u8,
    /// The beginning of the output.
    pub stdout: Vec<u8>,
    /// The beginning of the diagnostics.
    pub stderr: Vec<u8>,
    /// There was more of either than was kept.
    pub is_truncated: bool,
}

/// The output of a command that runs.
pub(super) struct Collecting {
    stdout: Collected,
    stderr: Collected,
}

impl Collecting {
    pub(super) fn taken(&self, code: u8) -> CommandOutput {
        let ((stdout, more_out), (stderr, more_err)) = (self.stdout.take(), self.stderr.take());
        CommandOutput { code, stdout, stderr, is_truncated: more_out || more_err }
    }
}

/// The first bytes of a stream, and whether there were more.
#[derive(Clone)]
struct Collected {
    held: Arc<Mutex<(Vec<u8>, bool)>>,
    most: usize,
}

impl Collected {
    fn new(most: usize) -> Self {
        Self { held: Arc::default(), most }
    }

    fn take(&self) -> (Vec<u8>, bool) {
        std::mem::take(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (held, is_more) = &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.most.saturating_sub(held.len()).min(bytes.len());
        held.extend_from_slice(&bytes[..room]);
        *is_more |= room < bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_beyond_the_bound_is_dropped_and_told_of() {
        let (call, streams, output) = Command::new(["x"]).env("A", "1").max_output_bytes(3).into_call();
        assert_eq!(call.env, ["A=1".into()]);
        let Streams::Pipes { stdin: Input::Empty, stdout: Output::Writer(mut stdout), .. } = streams else {
            panic!("{streams:?}")
        };
        stdout.write_all(b"ab").unwrap();
        stdout.write_all(b"cd").unwrap();
        let taken = output.taken(0);
        assert_eq!((taken.stdout.as_slice(), taken.is_truncated), (&b"abc"[..], true));
    }
}
