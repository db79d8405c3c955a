//! Mounts that come and go while the sandbox runs: a share of the machine's, then a mount in the guest, and back.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use monocore_channel::{MachineReply, MachineRequest};
use monocore_protocol::{Mount, MountSource};

use super::{GuestAsk, Jobs, News, Next, Work};
use crate::control::{Conflict, ControlPeer, ControlReply, LiveMount, LiveMountCall};
use crate::session::Session;

/// How long all of it may take. The host's file system may be slow, and an empty volume is filled first.
const MOUNT_GRACE: Duration = Duration::from_secs(60);
/// How long the machine may take to remove a share after that.
const REMOVE_GRACE: Duration = Duration::from_secs(10);

/// What is mounted now.
#[derive(Debug, Default)]
pub(super) struct LiveMounts {
    all: Vec<(LiveMount, String)>,
    /// How many shares there were; a name is not used twice.
    shares: u64,
}

/// How far a wish has come. Each share has a name of the machine's.
#[derive(Debug)]
pub(super) enum MountWork {
    /// The machine adds the share.
    Share(LiveMountCall, String),
    /// The guest mounts it.
    Mount(LiveMountCall, String),
    /// The machine removes a share that the guest could not mount, and why.
    Undo(String),
    /// The guest unmounts it.
    Unmount(LiveMount, String),
    /// The machine removes the share.
    Unshare(LiveMount, String),
}

impl Jobs {
    /// What is mounted now.
    pub(in crate::supervisor) fn mounts(&self) -> Vec<LiveMount> {
        self.mounts.all.iter().map(|(mount, _)| mount.clone()).collect()
    }

    /// Mounts `root`, and tells `peer` when it is there.
    pub(in crate::supervisor) fn add_mount(
        &mut self,
        peer: Arc<ControlPeer>,
        call: LiveMountCall,
        root: &OwnedFd,
    ) {
        let target = &call.mount.target;
        let is_taken = self.mounts.all.iter().any(|(mount, _)| mount.target == *target)
            || self.running.values().any(|job| matches!(&job.work, Work::Mount(work) if work.is_at(target)));
        if is_taken {
            return peer.reply(&ControlReply::Refused(format!("something is mounted at {target} already")));
        }
        let name = format!("live{}", self.mounts.shares);
        self.mounts.shares += 1;
        let request = MachineRequest::AddShare { name: name.clone(), read_only: call.mount.read_only };
        let id = self.begin(Some(peer), MOUNT_GRACE, Work::Mount(MountWork::Share(call, name)));
        self.ask_machine(id, &request, &[root.as_fd()]);
    }

    /// Unmounts what is at `target`, and tells `peer` when nothing of it is served any more.
    pub(in crate::supervisor) fn remove_mount(
        &mut self,
        peer: Arc<ControlPeer>,
        target: &str,
        session: &Session,
    ) {
        let Some(index) = self.mounts.all.iter().position(|(mount, _)| mount.target == target) else {
            return peer.reply(&ControlReply::Conflict(Conflict::NoMount));
        };
        let (mount, name) = self.mounts.all.remove(index);
        let ask = GuestAsk::Unmount(mount.target.clone().into());
        let id = self.begin(Some(peer), MOUNT_GRACE, Work::Mount(MountWork::Unmount(mount, name)));
        self.ask_guest(id, session, |id| ask.request(id));
    }

    pub(super) fn mount_next(&mut self, work: MountWork, news: News) -> Next {
        match (work, news) {
            (MountWork::Share(call, name), News::Machine(Ok(MachineReply::Done))) => {
                let ask = GuestAsk::Mount(request(&call, &name));
                Next::AskGuest(Work::Mount(MountWork::Mount(call, name)), ask)
            }
            (MountWork::Share(_, _), News::Machine(Ok(MachineReply::Refused(problem)) | Err(problem))) => {
                Next::Done(ControlReply::Refused(problem))
            }
            (MountWork::Mount(call, name), News::Guest(Ok(_))) => {
                self.mounts.all.push((call.mount, name));
                Next::Done(ControlReply::Done)
            }
            (MountWork::Share(_, name) | MountWork::Mount(_, name), news) => {
                let work = Work::Mount(MountWork::Undo(problem(news)));
                Next::AskMachine(work, MachineRequest::RemoveShare { name }, REMOVE_GRACE)
            }
            (MountWork::Undo(problem), _) => Next::Done(ControlReply::Refused(problem)),
            // Whatever the guest says or does not: nothing of the directory is served any more.
            (MountWork::Unmount(mount, name), _) => {
                let request = MachineRequest::RemoveShare { name: name.clone() };
                Next::AskMachine(Work::Mount(MountWork::Unshare(mount, name)), request, REMOVE_GRACE)
            }
            (MountWork::Unshare(_, _), News::Machine(Ok(MachineReply::Done))) => {
                Next::Done(ControlReply::Done)
            }
            (MountWork::Unshare(mount, name), news) => {
                // It may still be served, so it stays in the list.
                self.mounts.all.push((mount, name));
                Next::Done(ControlReply::Refused(problem(news)))
            }
        }
    }
}

impl MountWork {
    fn is_at(&self, target: &str) -> bool {
        match self {
            Self::Share(call, _) | Self::Mount(call, _) => call.mount.target == target,
            Self::Unmount(mount, _) | Self::Unshare(mount, _) => mount.target == target,
            Self::Undo(_) => false,
        }
    }
}

/// What the guest is asked to mount.
fn request(call: &LiveMountCall, name: &str) -> Mount {
    let name = name.to_owned();
    Mount {
        source: match call.is_file {
            true => MountSource::SharedFile { name },
            false => MountSource::Share { name, populate: call.populate },
        },
        target: call.mount.target.clone().into(),
        read_only: call.mount.read_only,
    }
}

fn problem(news: News) -> String {
    match news {
        News::Guest(Err(error)) => error.to_string(),
        News::Machine(Ok(MachineReply::Refused(problem)) | Err(problem)) => problem,
        News::Guest(Ok(_)) | News::Machine(Ok(_)) => "the wrong answer came".to_owned(),
        News::Late => "no answer in time".to_owned(),
    }
}
