//! Pausing the machine and letting it go on.

use std::fs::{File, remove_file};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use monocore_channel::{MachineReply, MachineRequest};

use super::{Jobs, News, Next, Work};
use crate::control::{Conflict, ControlPeer, ControlReply};

/// How long the machine may take to pause or to go on. A device that waits for a slow disk has to finish first.
const POWER_GRACE: Duration = Duration::from_secs(10);
/// A file in the run directory of a sandbox that is paused.
pub(crate) const PAUSED: &str = "paused";

/// Whether the machine is to stand still.
#[derive(Debug)]
pub(super) struct Power {
    paused: bool,
    /// Since when it stands still.
    since: Option<Instant>,
    /// There for listings while the machine is paused.
    marker: PathBuf,
    changes: Vec<PowerChange>,
}

/// What has come of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum PowerChange {
    Paused,
    Resumed { paused_for: Duration },
}

/// What the machine was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PowerWork {
    Pause,
    Resume,
}

impl Power {
    pub(super) fn new(run_dir: &Path) -> Self {
        Self { paused: false, since: None, marker: run_dir.join(PAUSED), changes: Vec::new() }
    }

    fn has_paused(&mut self) {
        self.since = Some(Instant::now());
        self.changes.push(PowerChange::Paused);
        if let Err(error) = File::create(&self.marker) {
            tracing::warn!(%error, "listings do not show that the sandbox is paused");
        }
    }

    fn has_resumed(&mut self) {
        // One that never came to a standstill changed nothing.
        if let Some(since) = self.since.take() {
            self.changes.push(PowerChange::Resumed { paused_for: since.elapsed() });
            self.forget();
        }
    }

    /// Nothing shows that the machine was paused.
    pub(super) fn forget(&self) {
        match remove_file(&self.marker) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "listings show that the sandbox is paused");
            }
            _ => {}
        }
    }
}

impl Jobs {
    /// The machine stands still, or was told to.
    pub(in crate::supervisor) fn is_paused(&self) -> bool {
        self.power.paused
    }

    /// What has changed since the last call.
    pub(in crate::supervisor) fn take_changes(&mut self) -> Vec<PowerChange> {
        std::mem::take(&mut self.power.changes)
    }

    /// Pauses the machine and tells `peer` when it stands still.
    pub(in crate::supervisor) fn pause(&mut self, peer: Arc<ControlPeer>) {
        if self.power.paused {
            return peer.reply(&ControlReply::Conflict(Conflict::AlreadyPaused));
        }
        self.power.paused = true;
        let id = self.begin(Some(peer), POWER_GRACE, Work::Power(PowerWork::Pause));
        self.ask_machine(id, &MachineRequest::Pause, &[]);
    }

    /// Lets the machine go on and tells `peer`, if anybody.
    pub(in crate::supervisor) fn resume(&mut self, peer: Option<Arc<ControlPeer>>) {
        if !self.power.paused {
            if let Some(peer) = peer {
                peer.reply(&ControlReply::Conflict(Conflict::NotPaused));
            }
            return;
        }
        self.power.paused = false;
        let id = self.begin(peer, POWER_GRACE, Work::Power(PowerWork::Resume));
        self.ask_machine(id, &MachineRequest::Resume, &[]);
    }

    pub(super) fn power_next(&mut self, work: PowerWork, news: News) -> Next {
        let problem = match news {
            News::Machine(Ok(MachineReply::Done)) => {
                match work {
                    PowerWork::Pause => self.power.has_paused(),
                    PowerWork::Resume => self.power.has_resumed(),
                }
                return Next::Done(ControlReply::Done);
            }
            News::Machine(Ok(MachineReply::Refused(problem)) | Err(problem)) => problem,
            News::Machine(Ok(_)) | News::Guest(_) => "the machine gave the wrong answer".to_owned(),
            News::Late => "the machine did not answer in time".to_owned(),
        };
        match work {
            // It may still come to a standstill, and must not stay there.
            PowerWork::Pause => self.resume(None),
            PowerWork::Resume => tracing::error!(problem, "the machine does not go on"),
        }
        Next::Done(ControlReply::Refused(problem))
    }
}
