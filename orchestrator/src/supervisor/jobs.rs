//! Clients' requests that wait for the guest's agent or for the machine's process. Nothing here blocks: each job is
//! advanced by what arrives, and given up at its deadline.

mod groups;
mod limits;
mod mounts;
mod ports;
mod power;
mod stats;
mod traffic;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use monocore_channel::{Asked, Asker, MachineCounters, MachineReply, MachineRequest};
use monocore_protocol::{ByteString, Mount, Request, RequestId};
use rustix::event::{EventfdFlags, eventfd};

use crate::Error;
use crate::control::{ControlPeer, ControlReply};
use crate::session::{Reply, Session};
use mounts::{LiveMounts, MountWork};
use ports::PortWork;
pub(crate) use power::PAUSED;
use power::{Power, PowerWork};
use stats::StatsWork;

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
    power: Power,
    mounts: LiveMounts,
    run_dir: PathBuf,
    /// What the guest is still to be asked.
    asks: Vec<(JobId, GuestAsk)>,
    /// Counters that the supervisor asked for, and whether they came.
    traffic: Option<Option<MachineCounters>>,
}

/// What a client waits for.
#[derive(Debug)]
struct Job {
    peer: Option<Arc<ControlPeer>>,
    deadline: Option<Instant>,
    work: Work,
}

/// What a job has come to.
#[derive(Debug)]
enum Work {
    Stats(StatsWork),
    Power(PowerWork),
    Mount(MountWork),
    Port(PortWork),
    Limits,
    Joining,
    Leaving,
    Traffic,
}

/// What a job waits for.
#[derive(Debug)]
enum News {
    Guest(Reply),
    Machine(Result<MachineReply, String>),
    /// The time is up.
    Late,
}

/// How a job goes on.
#[derive(Debug)]
enum Next {
    Wait(Work),
    AskGuest(Work, GuestAsk),
    /// In at most this time.
    AskMachine(Work, MachineRequest, Duration),
    Done(ControlReply),
}

/// A request to the guest.
#[derive(Debug)]
enum GuestAsk {
    Mount(Mount),
    Unmount(ByteString),
}

impl GuestAsk {
    fn request(self, id: RequestId) -> Request {
        match self {
            Self::Mount(mount) => Request::AddMount { id, mount },
            Self::Unmount(target) => Request::RemoveMount { id, target },
        }
    }
}

impl Jobs {
    /// No job yet; `channel` is the way to the machine's process, `run_dir` the sandbox's directory while it runs.
    ///
    /// # Errors
    /// No descriptor is free.
    pub(crate) fn new(channel: Option<OwnedFd>, run_dir: &Path) -> Result<Self, Error> {
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
            power: Power::new(run_dir),
            mounts: LiveMounts::default(),
            run_dir: run_dir.to_owned(),
            asks: Vec::new(),
            traffic: None,
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

    /// Advances every job for which something has arrived.
    pub(super) fn advance(&mut self, session: &Session) {
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
        while let Some((id, ask)) = self.asks.pop() {
            self.ask_guest(id, session, |id| ask.request(id));
        }
    }

    /// The machine is to end: whoever still waits is told so.
    pub(super) fn end(self) {
        for peer in self.running.into_values().filter_map(|job| job.peer) {
            peer.reply(&ControlReply::Refused(GONE.to_owned()));
        }
    }

    /// A new job, whose result `peer` is told, if anybody.
    fn begin(&mut self, peer: Option<Arc<ControlPeer>>, grace: Duration, work: Work) -> JobId {
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
        let next = match work {
            Work::Stats(work) => work.next(news),
            Work::Power(work) => self.power_next(work, news),
            Work::Mount(work) => self.mount_next(work, news),
            Work::Port(work) => work.next(news, &self.run_dir),
            Work::Limits | Work::Joining => limits::next(news),
            // The machine has left, whatever the guest says.
            Work::Leaving => Next::Done(ControlReply::Done),
            Work::Traffic => return self.traffic_came(news),
        };
        match next {
            Next::Wait(work) => {
                self.running.insert(id, Job { peer, deadline, work });
            }
            Next::AskGuest(work, ask) => {
                self.running.insert(id, Job { peer, deadline, work });
                self.asks.push((id, ask));
            }
            Next::AskMachine(work, request, grace) => {
                let deadline = Instant::now().checked_add(grace);
                self.running.insert(id, Job { peer, deadline, work });
                self.ask_machine(id, &request, &[]);
            }
            Next::Done(reply) => {
                if let Some(peer) = peer {
                    peer.reply(&reply);
                }
            }
        }
    }
}

/// Why a request cannot be sent to the machine.
const GONE: &str = "the machine has ended";

#[cfg(test)]
mod tests;
