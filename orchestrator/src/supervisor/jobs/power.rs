//! Pausing the machine and letting it go on.

use std::fs::{File, remove_file};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use monocore_channel::{MachineReply, MachineRequest};

use super::{Jobs, News, Next, Work};
use crate::control::{Conflict, ControlPeer, ControlReply};

/// How long the machine may take to pause or to go on. A device that waits for a slow disk has to finish first.
const POWER_GRACE: Duration = Duration::from_secs(30);
/// A file in the run directory of a sandbox that is paused.
pub(crate) const PAUSED: &str = "paused";

/// Whether the machine is to stand still.
#[derive(Debug)]
pub(super) struct Power {
    paused: bool,
    /// What happened since it was last asked, in the words of events.
    events: Vec<&'static str>,
    /// There for listings while the machine is paused.
    marker: PathBuf,
}

/// What the machine was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PowerWork {
    Pause,
    Resume,
}

impl Power {
    pub(super) fn new(run_dir: &Path) -> Self {
        let power = Self { paused: false, events: Vec::new(), marker: run_dir.join(PAUSED) };
        // A machine before this one may have ended while it was paused.
        power.show();
        power
    }

    /// Shows listings how it is. A failure there changes nothing for the machine.
    fn show(&self) {
        let shown =
            if self.paused { File::create(&self.marker).map(drop) } else { remove_file(&self.marker) };
        match shown {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "listings do not show whether the sandbox is paused");
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

    /// What happened since the last call, in the words of events.
    pub(in crate::supervisor) fn take_events(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.power.events)
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
                self.power.show();
                self.power.events.push(if work == PowerWork::Pause { "pause" } else { "unpause" });
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
