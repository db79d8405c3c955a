//! Groups that a running sandbox joins and leaves.

use std::sync::Arc;
use std::time::Duration;

use monocore_protocol::Request;

use super::{Jobs, Work};
use crate::control::{ControlPeer, ControlReply};
use crate::sandbox::Sandbox;
use crate::{JoinedGroup, run_dir};

/// How long the guest may take.
const ADDRESS_GRACE: Duration = Duration::from_secs(10);
/// The most groups of a running sandbox: the message that names them all has a bound.
const MAX_GROUPS: usize = 64;

impl Jobs {
    /// Makes the machine a member of `group` and gives the guest its address, and tells `peer`.
    pub(in crate::supervisor) fn join_group(
        &mut self,
        peer: Arc<ControlPeer>,
        sandbox: &Sandbox,
        group: JoinedGroup,
    ) {
        let mut groups = sandbox.peers.as_ref().map(|line| line.groups()).unwrap_or_default();
        groups.retain(|other| !is_it(other, group.project.as_deref(), &group.group));
        if groups.len() >= MAX_GROUPS {
            return peer.reply(&ControlReply::Refused(format!("it is in {MAX_GROUPS} groups")));
        }
        groups.push(group.clone());
        self.regroup(peer, sandbox, groups, &group, true);
    }

    /// Takes the machine out of a group and its address from the guest, and tells `peer`.
    pub(in crate::supervisor) fn leave_group(
        &mut self,
        peer: Arc<ControlPeer>,
        sandbox: &Sandbox,
        (project, group): (Option<&str>, &str),
    ) {
        let mut groups = sandbox.peers.as_ref().map(|line| line.groups()).unwrap_or_default();
        let Some(at) = groups.iter().position(|other| is_it(other, project, group)) else {
            // Its membership begins with its next start.
            return peer.reply(&ControlReply::Done);
        };
        let left = groups.remove(at);
        self.regroup(peer, sandbox, groups, &left, false);
    }

    fn regroup(
        &mut self,
        peer: Arc<ControlPeer>,
        sandbox: &Sandbox,
        groups: Vec<JoinedGroup>,
        changed: &JoinedGroup,
        is_wanted: bool,
    ) {
        let Some(line) = &sandbox.peers else {
            let problem = "groups need the network nat or tsi".to_owned();
            return peer.reply(&ControlReply::Refused(problem));
        };
        // The file first: a machine that is started again has what it says.
        let done = run_dir::write_groups(&self.run_dir, &groups).map_err(|error| error.to_string());
        if let Err(problem) = done.and_then(|()| line.regroup(groups).map_err(|error| error.to_string())) {
            return peer.reply(&ControlReply::Refused(problem));
        }
        let (interface, address) = (line.interface().to_owned(), changed.address());
        let work = if is_wanted { Work::Joining } else { Work::Leaving };
        let id = self.begin(Some(peer), ADDRESS_GRACE, work);
        self.ask_guest(id, &sandbox.session, |id| Request::SetAddress {
            id,
            interface,
            address: address.address.into(),
            prefix: address.prefix,
            is_wanted,
        });
    }
}

fn is_it(joined: &JoinedGroup, project: Option<&str>, group: &str) -> bool {
    (joined.project.as_deref(), joined.group.as_str()) == (project, group)
}
