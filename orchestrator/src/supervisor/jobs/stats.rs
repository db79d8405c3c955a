//! What guest and machine use.

use std::sync::Arc;
use std::time::Duration;

use monocore_channel::{MachineReply, MachineRequest};
use monocore_protocol::{Answer, Request};

use super::{Jobs, News, Next, Work};
use crate::control::{ControlPeer, ControlReply, SandboxStats};
use crate::session::{Session, SessionError};

/// How long guest and machine may take for their figures.
pub(super) const STATS_GRACE: Duration = Duration::from_secs(2);

/// Figures that have come, and how many are still to come.
#[derive(Debug)]
pub(super) struct StatsWork {
    pub(super) stats: SandboxStats,
    pub(super) missing: u8,
}

impl Jobs {
    /// Tells `peer` what guest and machine use. A guest that is paused is not asked.
    pub(in crate::supervisor) fn stats(
        &mut self,
        peer: Arc<ControlPeer>,
        session: &Session,
        machine_memory_bytes: Option<u64>,
    ) {
        let paused = self.is_paused();
        let stats = SandboxStats { machine_memory_bytes, ..SandboxStats::default() };
        let work = StatsWork { stats, missing: if paused { 1 } else { 2 } };
        let id = self.begin(Some(peer), STATS_GRACE, Work::Stats(work));
        if !paused {
            self.ask_guest(id, session, Request::Stats);
        }
        self.ask_machine(id, &MachineRequest::Metrics, &[]);
    }
}

impl StatsWork {
    /// A figure that does not come is left out; without any, there is nothing to show.
    pub(super) fn next(mut self, news: News) -> Next {
        self.missing = self.missing.saturating_sub(1);
        match news {
            News::Guest(Ok(Answer::Stats(guest))) => self.stats.guest = Some(guest),
            News::Machine(Ok(MachineReply::Counters(counters))) => self.stats.machine = Some(counters),
            News::Guest(_) | News::Machine(_) => {}
            News::Late => self.missing = 0,
        }
        match self.missing {
            0 if self.stats.guest.is_none() && self.stats.machine.is_none() => {
                Next::Done(ControlReply::Refused(SessionError::Timeout.to_string()))
            }
            0 => Next::Done(ControlReply::Stats(Box::new(self.stats))),
            _ => Next::Wait(Work::Stats(self)),
        }
    }
}
