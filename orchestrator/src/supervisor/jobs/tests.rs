use std::os::fd::OwnedFd;

use monocore_channel::{Answerer, MachineCounters, Question};
use monocore_protocol::{Answer, Configure, Root, Stats, Upper};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};

use super::mounts::MountWork;
use super::stats::STATS_GRACE;
use super::*;
use crate::control::wire::{self, Received};
use crate::control::{Conflict, LiveMount, LiveMountCall, SandboxStats};
use crate::session::{Handoff, SessionError};

/// Jobs, a session whose guest never dials, the machine's end of its channel, and a client.
struct Ground {
    jobs: Jobs,
    session: Session,
    machine: Answerer<MachineRequest, MachineReply>,
    peer: Arc<ControlPeer>,
    client: OwnedFd,
    run_dir: tempfile::TempDir,
    _guest: OwnedFd,
}

fn seqpacket() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

impl Ground {
    fn new() -> Self {
        let (near, far) = monocore_channel::pair().unwrap();
        let (handoff, guest) = seqpacket();
        let root = Root::Share { name: "root".into(), upper: Some(Upper::ReadOnly) };
        let (peer, client) = seqpacket();
        let run_dir = tempfile::tempdir().unwrap();
        Self {
            jobs: Jobs::new(Some(near), run_dir.path()).unwrap(),
            run_dir,
            session: Session::start(Handoff::new(handoff), Configure::new(root)).unwrap(),
            machine: Answerer::new(far),
            peer: Arc::new(ControlPeer::new(peer)),
            client,
            _guest: guest,
        }
    }

    /// What the client was told so far.
    fn told(&self) -> Option<ControlReply> {
        match wire::receive(&self.client, RecvFlags::DONTWAIT).unwrap() {
            Received::Message(reply, _) => Some(reply),
            Received::Nothing | Received::Closed => None,
        }
    }

    /// One turn of the loop.
    fn turn(&mut self) {
        let mut fds: Vec<_> =
            self.jobs.sources().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let left = self.jobs.next_time().map(|time| time.saturating_duration_since(Instant::now()));
        let left = left.map(|left| left.try_into().unwrap());
        poll(&mut fds, left.as_ref()).unwrap();
        self.jobs.advance(&self.session);
    }

    fn answer(&self, reply: &MachineReply) {
        let Question::Asked(number, ..) = self.machine.question() else { panic!("nothing was asked") };
        self.machine.answer(number, reply, &[]).unwrap();
    }
}

#[test]
fn figures_of_a_guest_that_does_not_answer_are_left_out_and_block_nothing() {
    let mut ground = Ground::new();
    let began = Instant::now();
    ground.jobs.stats(Arc::clone(&ground.peer), &ground.session, None);
    ground.jobs.stats(Arc::clone(&ground.peer), &ground.session, None);
    assert!(began.elapsed() < STATS_GRACE);
    assert_eq!(ground.told(), None);
    let counters = MachineCounters { cpu_ns: 7, ..MachineCounters::default() };
    ground.answer(&MachineReply::Counters(counters.clone()));
    while ground.jobs.next_time().is_some() {
        ground.turn();
    }
    let with_machine = SandboxStats { machine: Some(counters), ..SandboxStats::default() };
    let told = [ground.told(), ground.told()];
    assert_eq!(told[0], Some(ControlReply::Stats(Box::new(with_machine))));
    assert!(matches!(told[1], Some(ControlReply::Refused(_))), "{told:?}");
    // A reply after that is dropped.
    ground.answer(&MachineReply::Done);
    ground.turn();
    assert_eq!(ground.told(), None);
}

#[test]
fn a_machine_that_ends_answers_what_it_was_asked() {
    let mut ground = Ground::new();
    ground.jobs.stats(Arc::clone(&ground.peer), &ground.session, None);
    let (near, _) = monocore_channel::pair().unwrap();
    ground.machine = Answerer::new(near);
    ground.turn();
    assert!(ground.jobs.machine.is_none());
    assert!(matches!(
        ground.jobs.running.values().next().unwrap().work,
        Work::Stats(StatsWork { missing: 1, .. })
    ));
    // A request to one that is gone is answered as well.
    ground.jobs.stats(Arc::clone(&ground.peer), &ground.session, None);
    assert_eq!(ground.jobs.running.len(), 2);
}

#[test]
fn all_figures_make_one_reply() {
    let guest = Stats { tasks: 3, ..Stats::default() };
    let work = StatsWork { stats: SandboxStats::default(), missing: 2 };
    let Next::Wait(Work::Stats(work)) = work.next(News::Guest(Ok(Answer::Stats(guest)))) else { panic!() };
    let expected = SandboxStats { guest: Some(guest), ..SandboxStats::default() };
    let next = work.next(News::Machine(Err("no".into())));
    assert!(matches!(next, Next::Done(ControlReply::Stats(stats)) if *stats == expected));
}

impl Ground {
    fn peer(&self) -> Arc<ControlPeer> {
        Arc::clone(&self.peer)
    }

    fn asked(&self) -> (u32, MachineRequest) {
        match self.machine.question() {
            Question::Asked(number, Ok(request), _) => (number, request),
            other => panic!("{other:?}"),
        }
    }

    fn is_shown_paused(&self) -> bool {
        self.run_dir.path().join(power::PAUSED).exists()
    }
}

#[test]
fn a_machine_is_paused_once_and_goes_on_once() {
    let mut ground = Ground::new();
    ground.jobs.resume(Some(ground.peer()));
    assert_eq!(ground.told(), Some(ControlReply::Conflict(Conflict::NotPaused)));
    ground.jobs.pause(ground.peer());
    ground.jobs.pause(ground.peer());
    assert_eq!(ground.told(), Some(ControlReply::Conflict(Conflict::AlreadyPaused)));
    assert!(!ground.is_shown_paused());
    ground.answer(&MachineReply::Done);
    ground.turn();
    assert_eq!(ground.told(), Some(ControlReply::Done));
    assert!(ground.is_shown_paused() && ground.jobs.is_paused());
    // The guest of a paused machine is not waited for.
    ground.jobs.stats(ground.peer(), &ground.session, None);
    ground.answer(&MachineReply::Counters(MachineCounters::default()));
    ground.turn();
    assert!(matches!(ground.told(), Some(ControlReply::Stats(_))));
    ground.jobs.resume(None);
    ground.answer(&MachineReply::Done);
    ground.turn();
    assert_eq!(ground.told(), None);
    assert!(!ground.is_shown_paused() && !ground.jobs.is_paused());
}

#[test]
fn a_machine_that_does_not_pause_is_told_to_go_on() {
    let mut ground = Ground::new();
    ground.jobs.pause(ground.peer());
    let (number, request) = ground.asked();
    assert_eq!(request, MachineRequest::Pause);
    ground.machine.answer(number, &MachineReply::Refused("no".into()), &[]).unwrap();
    ground.turn();
    assert_eq!(ground.told(), Some(ControlReply::Refused("no".into())));
    assert_eq!(ground.asked().1, MachineRequest::Resume);
    assert!(!ground.jobs.is_paused());
}

fn call(target: &str) -> LiveMountCall {
    let mount = LiveMount { source: "/host".into(), target: target.into(), read_only: true };
    LiveMountCall { mount, is_file: false, populate: false }
}

#[test]
fn a_mount_is_listed_once_the_guest_has_it_and_its_share_goes_with_it() {
    let mut ground = Ground::new();
    let root: OwnedFd = std::fs::File::open("/").unwrap().into();
    ground.jobs.add_mount(ground.peer(), call("/a"), &root);
    let (_, asked) = ground.asked();
    assert_eq!(asked, MachineRequest::AddShare { name: "live0".into(), read_only: true });
    // At one place one thing at a time, also while it is under way.
    ground.jobs.add_mount(ground.peer(), call("/a"), &root);
    assert!(matches!(ground.told(), Some(ControlReply::Refused(_))));
    let work = MountWork::Share(call("/b"), "live1".into());
    let next = ground.jobs.mount_next(work, News::Machine(Ok(MachineReply::Done)));
    let Next::AskGuest(Work::Mount(work), GuestAsk::Mount(mount)) = next else { panic!("{next:?}") };
    assert_eq!((mount.target, mount.read_only), ("/b".into(), true));
    let next = ground.jobs.mount_next(work, News::Guest(Ok(Answer::Done)));
    assert!(matches!(next, Next::Done(ControlReply::Done)));
    assert_eq!(ground.jobs.mounts(), [call("/b").mount]);
    ground.jobs.remove_mount(ground.peer(), "/c", &ground.session);
    assert_eq!(ground.told(), Some(ControlReply::Conflict(Conflict::NoMount)));
    ground.jobs.remove_mount(ground.peer(), "/b", &ground.session);
    assert_eq!(ground.jobs.mounts(), []);
}

#[test]
fn a_share_that_the_guest_cannot_mount_is_removed_again() {
    let mut ground = Ground::new();
    for news in [News::Guest(Err(SessionError::Refused("no".into()))), News::Late] {
        let next = ground.jobs.mount_next(MountWork::Mount(call("/a"), "live0".into()), news);
        let Next::AskMachine(Work::Mount(work), request, _) = next else { panic!("{next:?}") };
        assert_eq!(request, MachineRequest::RemoveShare { name: "live0".into() });
        let next = ground.jobs.mount_next(work, News::Machine(Ok(MachineReply::Done)));
        assert!(matches!(next, Next::Done(ControlReply::Refused(_))), "{next:?}");
    }
    assert_eq!(ground.jobs.mounts(), []);
}

#[test]
fn a_guest_that_does_not_unmount_loses_the_share_all_the_same() {
    let mut ground = Ground::new();
    let next = ground.jobs.mount_next(MountWork::Unmount(call("/a").mount, "live0".into()), News::Late);
    let Next::AskMachine(Work::Mount(work), MachineRequest::RemoveShare { name }, _) = next else { panic!() };
    assert_eq!(name, "live0");
    // One that the machine keeps is still listed.
    let next = ground.jobs.mount_next(work, News::Machine(Ok(MachineReply::Refused("no".into()))));
    assert!(matches!(next, Next::Done(ControlReply::Refused(_))), "{next:?}");
    assert_eq!(ground.jobs.mounts(), [call("/a").mount]);
}
