//! Clients' requests that wait for the guest's agent or for the machine's process. Nothing here blocks: each job is
//! advanced by what arrives, and given up at its deadline.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use monocore_channel::{Asked, Asker, MachineReply, MachineRequest};
use monocore_protocol::{Answer, Request, RequestId};
use rustix::event::{EventfdFlags, eventfd};

use crate::Error;
use crate::control::{ControlPeer, ControlReply, SandboxStats};
use crate::session::{Reply, Session, SessionError};

/// How long guest and machine may take for their figures.
const STATS_GRACE: Duration = Duration::from_secs(2);

type JobId = u64;

/// All jobs that are not done.
#[derive(Debug)]
pub(crate) struct Jobs {
    /// Gone once the machine's process is.
    machine: Option<Asker<MachineRequest, MachineReply, JobId>>,
    answers: Receiver<(JobId, Reply)>,
    sender: Sender<(JobId, Reply)>,
    wake: Arc<OwnedFd>,
    running: BTreeMap<JobId, Job>,
    next: JobId,
}

/// What a client waits for.
#[derive(Debug)]
struct Job {
    peer: Arc<ControlPeer>,
    deadline: Option<Instant>,
    work: Work,
}

/// What a job has come to.
#[derive(Debug)]
enum Work {
    /// Figures of guest and machine, and how many of them are still to come.
    Stats(SandboxStats, u8),
}

/// What a job waits for.
#[derive(Debug)]
enum News {
    Guest(Reply),
    Machine(Result<MachineReply, String>),
    /// The time is up.
    Late,
}

/// Whether a job goes on.
#[derive(Debug)]
enum Next {
    Wait(Work),
    Reply(ControlReply),
}

impl Jobs {
    /// No job yet; `channel` is the way to the machine's process.
    ///
    /// # Errors
    /// No descriptor is free.
    pub(crate) fn new(channel: Option<OwnedFd>) -> Result<Self, Error> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::Spawn(errno.into()))?;
        let (sender, answers) = mpsc::channel();
        Ok(Self {
            machine: channel.map(Asker::new),
            answers,
            sender,
            wake: Arc::new(wake),
            running: BTreeMap::new(),
            next: 0,
        })
    }

    /// Readable when a job can be advanced.
    pub(super) fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.machine.iter().map(AsFd::as_fd).chain([self.wake.as_fd()])
    }

    /// The earliest deadline.
    pub(super) fn next_time(&self) -> Option<Instant> {
        self.running.values().filter_map(|job| job.deadline).min()
    }

    /// Tells `peer` what guest and machine use.
    pub(super) fn stats(&mut self, peer: Arc<ControlPeer>, session: &Session) {
        let id = self.begin(peer, STATS_GRACE, Work::Stats(SandboxStats::default(), 2));
        self.ask_guest(id, session, Request::Stats);
        self.ask_machine(id, &MachineRequest::Metrics, &[]);
    }

    /// Advances every job for which something has arrived.
    pub(super) fn advance(&mut self) {
        // A failure to clear costs another look.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        while let Ok((id, reply)) = self.answers.try_recv() {
            self.news(id, News::Guest(reply));
        }
        while let Some(machine) = &mut self.machine {
            match machine.reply() {
                Asked::Nothing => break,
                Asked::Closed => self.machine_gone(),
                Asked::Reply(reply) => {
                    let message = reply.message.map_err(|malformed| malformed.to_string());
                    self.news(reply.key, News::Machine(message));
                }
            }
        }
        let now = Instant::now();
        let is_late = |job: &Job| job.deadline.is_some_and(|deadline| deadline <= now);
        let late: Vec<_> = self.running.iter().filter(|(_, job)| is_late(job)).map(|(id, _)| *id).collect();
        for id in late {
            if let Some(machine) = &mut self.machine {
                machine.give_up(|waiting| *waiting == id);
            }
            self.news(id, News::Late);
        }
    }

    fn begin(&mut self, peer: Arc<ControlPeer>, grace: Duration, work: Work) -> JobId {
        let id = self.next;
        self.next += 1;
        self.running.insert(id, Job { peer, deadline: Instant::now().checked_add(grace), work });
        id
    }

    fn ask_guest(&mut self, id: JobId, session: &Session, request: impl FnOnce(RequestId) -> Request) {
        let (sender, wake) = (self.sender.clone(), Arc::clone(&self.wake));
        let then = move |reply| {
            // The loop may have ended; a counter that is full has long woken it.
            let _ = sender.send((id, reply));
            let _ = rustix::io::write(&wake, &1u64.to_ne_bytes());
        };
        if let Err(error) = session.ask_then(request, then) {
            self.news(id, News::Guest(Err(error)));
        }
    }

    fn ask_machine(&mut self, id: JobId, request: &MachineRequest, descriptors: &[BorrowedFd<'_>]) {
        let asked = match &mut self.machine {
            Some(machine) => machine.ask(request, descriptors, id).map_err(|(_, error)| error.to_string()),
            None => Err(GONE.to_owned()),
        };
        if let Err(problem) = asked {
            self.news(id, News::Machine(Err(problem)));
        }
    }

    /// No reply will come any more.
    fn machine_gone(&mut self) {
        let Some(machine) = self.machine.take() else { return };
        let waiting: Vec<_> = machine.waiting().copied().collect();
        for id in waiting {
            self.news(id, News::Machine(Err(GONE.to_owned())));
        }
    }

    /// Something has come for a job; one that is done already does not hear it.
    fn news(&mut self, id: JobId, news: News) {
        let Some(Job { peer, deadline, work }) = self.running.remove(&id) else { return };
        match work.next(news) {
            Next::Reply(reply) => peer.reply(&reply),
            Next::Wait(work) => {
                self.running.insert(id, Job { peer, deadline, work });
            }
        }
    }
}

/// Why a request cannot be sent to the machine.
const GONE: &str = "the machine has ended";

impl Work {
    fn next(self, news: News) -> Next {
        match self {
            Self::Stats(stats, missing) => stats_next(stats, missing, news),
        }
    }
}

/// A figure that does not come is left out; without any, there is nothing to show.
fn stats_next(mut stats: SandboxStats, missing: u8, news: News) -> Next {
    let mut missing = missing.saturating_sub(1);
    match news {
        News::Guest(Ok(Answer::Stats(guest))) => stats.guest = Some(guest),
        News::Machine(Ok(MachineReply::Counters(counters))) => stats.machine = Some(counters),
        News::Guest(_) | News::Machine(_) => {}
        News::Late => missing = 0,
    }
    match missing {
        0 if stats == SandboxStats::default() => {
            Next::Reply(ControlReply::Refused(SessionError::Timeout.to_string()))
        }
        0 => Next::Reply(ControlReply::Stats(Box::new(stats))),
        _ => Next::Wait(Work::Stats(stats, missing)),
    }
}

#[cfg(test)]
mod tests;
