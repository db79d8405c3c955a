//! Waiting for what becomes of a sandbox, without polling.

use std::time::{Duration, Instant};

use crate::kept::SandboxStatus;
use crate::{Condition, ControlClient, Error, Home, registry};

/// The exit code of a sandbox that went without a word: 128 and SIGKILL's number.
const KILLED: u8 = 137;

/// What came of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The condition holds.
    Reached,
    /// The sandbox is unhealthy, so it is not the healthy one that was waited for.
    Unhealthy,
    /// The sandbox has ended and is not started again. For [`Condition::Completed`] this is what was
    /// waited for, whatever the code.
    Ended {
        /// Its exit code.
        code: u8,
    },
    /// The time was up first.
    TimedOut,
}

/// Waits until `condition` holds for the sandbox with this name, id or unique beginning of an id, or
/// cannot hold any more; at most for `timeout`. Blocks the calling thread, which sleeps meanwhile.
///
/// A sandbox that runs without health checks counts as healthy.
///
/// # Errors
/// There is no such sandbox; [`Error::NotRunning`] if it was created and never started; the
/// connection to its supervisor failed.
pub fn wait_for(
    home: &Home,
    wanted: &str,
    condition: Condition,
    timeout: Option<Duration>,
) -> Result<Awaited, Error> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let entry = registry::find(home, wanted)?;
    if let Some(record) = &entry.running {
        let client = ControlClient::connect(home, record);
        match client.and_then(|client| client.wait_for(condition, deadline)) {
            // It ended meanwhile, or its supervisor was killed: then the state is put right and read.
            Err(Error::NotRunning(_)) => {}
            other => return other,
        }
    }
    match registry::find(home, &entry.id) {
        Ok(entry) if entry.state.status == SandboxStatus::Exited => {
            Ok(Awaited::Ended { code: entry.state.exit_code.unwrap_or(KILLED) })
        }
        Ok(entry) => Err(Error::NotRunning(entry.name)),
        // It went with its command.
        Err(Error::NoSandbox(_)) if entry.running.is_some() => Ok(Awaited::Ended { code: KILLED }),
        Err(error) => Err(error),
    }
}
