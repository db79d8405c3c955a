//! How much has gone through a machine's network, for `--idle-timeout`.

use monocore_channel::{MachineCounters, MachineReply, MachineRequest};

use super::stats::STATS_GRACE;
use super::{Jobs, News, Work};

impl Jobs {
    /// Asks the machine for its counters; [`Self::take_traffic`] gives what comes of it.
    pub(in crate::supervisor) fn count_traffic(&mut self) {
        let id = self.begin(None, STATS_GRACE, Work::Traffic);
        self.ask_machine(id, &MachineRequest::Metrics, &[]);
    }

    /// The counters that were asked for, once they have come; nothing in them if they did not come in time.
    pub(in crate::supervisor) fn take_traffic(&mut self) -> Option<Option<MachineCounters>> {
        self.traffic.take()
    }

    pub(super) fn traffic_came(&mut self, news: News) {
        self.traffic = Some(match news {
            News::Machine(Ok(MachineReply::Counters(counters))) => Some(counters),
            News::Machine(_) | News::Guest(_) | News::Late => None,
        });
    }
}
