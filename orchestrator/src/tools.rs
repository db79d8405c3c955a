//! Work of the agent's own in a sandbox, whether it runs or not.

use monocore_protocol::{ExitStatus, Tool};

use crate::control::ExecCall;
use crate::sandbox::Ended;
use crate::session::{Outcome, Signals, Streams};
use crate::supervise::with_root;
use crate::supervisor::Front;
use crate::{ControlClient, Error, Launcher, SandboxEntry};

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
        let outcome = client.exec(ExecCall::of_agent(tool), streams)?.run_to_end(signals, None)?;
        return Ok(match outcome {
            Outcome::Exited(status) => status,
            Outcome::Insisted(signal) => ExitStatus::Signal(signal),
            Outcome::TimedOut => ExitStatus::Signal(9),
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
