//! Work of the agent's own in a sandbox, whether it runs or not.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use monocore_protocol::{ExitStatus, Tool};

use crate::control::ExecCall;
use crate::sandbox::Ended;
use crate::session::{Input, Outcome, Output, Signals, Streams, printable};
use crate::supervise::with_root;
use crate::supervisor::Front;
use crate::{ControlClient, Error, Launcher, SandboxEntry};

/// Most bytes of a tool's output that are taken.
const MAX_OUTPUT_BYTES: usize = 64 << 20;
/// Most bytes of its messages.
const MAX_MESSAGE_BYTES: usize = 8 << 10;

/// What `tool` writes to its standard output, as [`run_tool`] does it.
///
/// # Errors
/// The tool's own, the output is too long, or the sandbox cannot be asked or started.
pub fn tool_output(
    launcher: &Launcher,
    entry: &SandboxEntry,
    tool: Tool,
    signals: &Signals,
) -> Result<Vec<u8>, Error> {
    let (out, words) = (Buffer::new(MAX_OUTPUT_BYTES), Buffer::new(MAX_MESSAGE_BYTES));
    let streams = Streams::Pipes {
        stdin: Input::Empty,
        stdout: Output::Writer(Box::new(out.clone())),
        stderr: Output::Writer(Box::new(words.clone())),
    };
    let status = run_tool(launcher, entry, tool, streams, signals)?;
    if status.code() != 0 || out.is_full() {
        let text = String::from_utf8_lossy(&words.take()).into_owned();
        let text = if text.is_empty() { format!("it ended with {}", status.code()) } else { text };
        return Err(Error::Copy(printable(text.trim_end(), MAX_MESSAGE_BYTES)));
    }
    Ok(out.take())
}

/// The first bytes of what a guest writes.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    bytes: Arc<Mutex<Vec<u8>>>,
    most: usize,
}

impl Buffer {
    pub(crate) fn new(most: usize) -> Self {
        Self { bytes: Arc::default(), most }
    }

    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_full(&self) -> bool {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).len() >= self.most
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut held = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.most.saturating_sub(held.len()).min(bytes.len());
        held.extend_from_slice(&bytes[..room]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Does `tool` in the sandbox and waits for its end; its exit status. A sandbox that does not run is started on its own
/// disk for this alone, without its command, and ended afterwards.
///
/// # Errors
/// The sandbox cannot be asked or started.
pub fn run_tool(
    launcher: &Launcher,
    entry: &SandboxEntry,
    tool: Tool,
    streams: Streams,
    signals: &Signals,
) -> Result<ExitStatus, Error> {
    if let Some(record) = &entry.running {
        let client = ControlClient::connect(&launcher.home, record)?;
        let outcome = client.exec(ExecCall::of_agent(tool), streams)?.run_to_end(signals, None, None)?;
        return Ok(match outcome {
            Outcome::Exited(status) => status,
            Outcome::Insisted(signal) => ExitStatus::Signal(signal),
            Outcome::TimedOut | Outcome::Left => ExitStatus::Signal(9),
        });
    }
    let kept = entry.kept.as_ref().ok_or_else(|| Error::NotRunning(entry.name.clone()))?;
    let sandbox = with_root(&launcher.home, kept, |root| launcher.start_tool(kept, root, tool, streams))?;
    match sandbox.run(Front::Foreground { signals, terminal: None }, |_| ())? {
        Ended::Command(status) => Ok(status),
        Ended::NotStarted(code, message) => Err(Error::NotStarted { code, message }),
        ended => Ok(ExitStatus::Code(ended.code())),
    }
}
