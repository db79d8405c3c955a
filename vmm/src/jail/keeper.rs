//! The thread that starts the file server's threads, where shares may be added to a running machine.
//!
//! It is the only one that Landlock does not hold: what it would be denied, those it starts would be too. It never touches
//! what the guest says: it looks at a share that is added, starts a thread, and waits for the next such wish.

use std::sync::mpsc::sync_channel;
use std::thread;

use seccompiler::BpfProgram;

use super::JailError;
use crate::devices::StartQueue;

/// As much as the waiting thread would need for the same.
const STACK_BYTES: usize = 512 << 10;

/// Starts the thread, which serves `starts` from now on.
///
/// # Errors
/// [`JailError::Keeper`] where there is no thread, [`JailError::Seccomp`] where it cannot be confined.
pub(super) fn spawn(starts: StartQueue, filter: BpfProgram) -> Result<(), JailError> {
    let (report, confined) = sync_channel(1);
    thread::Builder::new()
        .name("fs-keeper".into())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let outcome = seccompiler::apply_filter(&filter);
            let go_on = outcome.is_ok();
            // It is waited for.
            let _ = report.send(outcome);
            if go_on {
                starts.serve_all();
            }
        })
        .map_err(JailError::Keeper)?;
    let outcome = confined.recv().map_err(|error| JailError::Seccomp(error.to_string()))?;
    outcome.map_err(|error| JailError::Seccomp(error.to_string()))
}
