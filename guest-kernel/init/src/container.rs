//! What commands run in: a PID namespace and control groups of their own. Nothing in it sees the agent or can end it.
//!
//! Mounts are shared with the agent, so that a file has one path for both. The agent's own procfs lies below its
//! working directory; `/proc` is the namespace's.

use monocore_protocol::GuestLimits;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use crate::error::{Doing, Error};
use crate::setup::{Groups, mounting};
use crate::sys::{self, Forked, Namespace};

/// What commands run in.
#[derive(Debug)]
pub(crate) struct Container {
    groups: Groups,
    /// The agent's own PID namespace.
    own: OwnedFd,
    /// The control group namespace of the commands; made with the first process.
    view: Option<OwnedFd>,
    /// Made with the first process.
    inside: Option<Inside>,
}

/// The PID namespace of the commands.
#[derive(Debug)]
struct Inside {
    pids: OwnedFd,
    /// Process 1 is the agent's, and no command.
    has_reaper: bool,
}

/// Where a process of the agent's starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// As process 1 of the namespace.
    First,
    /// Among the commands.
    Commands,
    /// In the namespace, outside the commands' groups: work of the agent's own.
    Tool,
}

impl Container {
    /// Only where the working directory is the agent's procfs.
    pub(crate) fn new(groups: Groups) -> Result<Self, Error> {
        Ok(Self { groups, own: namespace("self/ns/pid")?, view: None, inside: None })
    }

    /// Whether process 1 is the agent's reaper.
    pub(crate) fn has_reaper(&self) -> bool {
        self.inside.as_ref().is_some_and(|inside| inside.has_reaper)
    }

    /// The file that tells of memory used up by commands; once.
    pub(crate) fn take_memory_events(&mut self) -> Option<OwnedFd> {
        self.groups.memory_events.take()
    }

    /// The group that has the commands' limits.
    pub(crate) fn groups(&self) -> BorrowedFd<'_> {
        self.groups.sandbox.as_fd()
    }

    /// Gives the commands other limits.
    pub(crate) fn limit(&self, limits: &GuestLimits) -> Result<(), Error> {
        self.groups.limit(limits)
    }

    /// Where a command starts: the first one as process 1 if it is an init. Else a reaper is process 1, and started here.
    pub(crate) fn place(&mut self, is_init: bool) -> Result<Place, Error> {
        if self.view.is_none() {
            self.view = Some(self.make_view()?);
        }
        match (&self.inside, is_init) {
            (Some(_), _) => Ok(Place::Commands),
            (None, true) => Ok(Place::First),
            (None, false) => self.start_reaper().map(|()| Place::Commands),
        }
    }

    /// Makes a process at `place`. The child goes on with [`Self::enter`].
    pub(crate) fn fork(&self, place: Place) -> Result<Forked, Errno> {
        let inside = match (place, &self.inside) {
            (Place::First, _) => return sys::fork_into(Some(self.groups.sandbox.as_fd()), true),
            (_, None) => return Err(Errno::SRCH),
            (_, Some(inside)) => inside,
        };
        let group = (place == Place::Commands).then(|| self.groups.commands.as_fd());
        sys::enter_namespace(&inside.pids, Namespace::Pids)?;
        let forked = sys::fork_into(group, false);
        match forked {
            Ok(Forked::Child) => {}
            // It is the agent's own namespace, which it may enter at any time.
            Ok(Forked::Parent(_)) | Err(_) => sys::enter_namespace(&self.own, Namespace::Pids)?,
        }
        forked
    }

    /// What a child made by [`Self::fork`] does first.
    pub(crate) fn enter(&self, place: Place) -> Result<(), Error> {
        if let Some(view) = &self.view {
            sys::enter_namespace(view, Namespace::Groups).doing("enter", "the control groups")?;
        }
        if place == Place::First { mount_processes() } else { Ok(()) }
    }

    /// Learns the namespace that process 1 is in.
    pub(crate) fn adopt(&mut self, first: Pid, has_reaper: bool) -> Result<(), Error> {
        let pids = namespace(&format!("{}/ns/pid", first.as_raw_nonzero()))?;
        self.inside = Some(Inside { pids, has_reaper });
        Ok(())
    }

    /// A namespace whose root is the group that commands see. Only a process in the group can make it, and to move one
    /// there makes every process wait that begins or ends meanwhile; so one is born there, and ends.
    fn make_view(&self) -> Result<OwnedFd, Error> {
        let (ready, report) = pipe_with(PipeFlags::CLOEXEC).doing("make", "a pipe")?;
        let made = sys::fork_into(Some(self.groups.sandbox.as_fd()), false);
        let pid = match made.doing("start", "a process")? {
            Forked::Parent(pid) => pid,
            Forked::Child => {
                sys::block_signals();
                let made = sys::leave_groups().is_ok();
                let _ = rustix::io::write(&report, &[u8::from(made)]);
                if !made {
                    sys::exit(1)
                }
                // Until the agent has seen the namespace and kills it.
                loop {
                    sys::next_signal();
                }
            }
        };
        drop(report);
        let mut answer = [0];
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&ready, &mut answer));
        let view = match (read, answer) {
            (Ok(1), [1]) => namespace(&format!("{}/ns/cgroup", pid.as_raw_nonzero())),
            _ => Err(Error::Refused("cannot make a control group namespace".to_owned())),
        };
        // It is reaped as every child is.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        view
    }

    /// Starts the process that reaps the orphans of the namespace.
    fn start_reaper(&mut self) -> Result<(), Error> {
        let (ready, report) = pipe_with(PipeFlags::CLOEXEC).doing("make", "a pipe")?;
        let made = sys::fork_into(Some(self.groups.commands.as_fd()), true);
        let pid = match made.doing("start", "the commands' init")? {
            Forked::Parent(pid) => pid,
            Forked::Child => {
                let begun = self.enter(Place::First);
                if let Err(error) = &begun {
                    // Less than a pipe's atomic size.
                    let _ = rustix::io::write(&report, error.to_string().as_bytes());
                }
                reap_orphans(report, begun.is_ok())
            }
        };
        drop(report);
        let mut text = [0; 1024];
        match rustix::io::retry_on_intr(|| rustix::io::read(&ready, &mut text)) {
            Ok(0) => self.adopt(pid, true),
            Ok(count) => Err(Error::Refused(String::from_utf8_lossy(&text[..count]).into_owned())),
            Err(errno) => Err(errno).doing("hear of", "the commands' init"),
        }
    }
}

/// Mounts the `/proc` of the namespace that this process is process 1 of.
fn mount_processes() -> Result<(), Error> {
    let safe = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    let proc = mounting::create("proc", "proc", &[], safe)?;
    mounting::attach(&proc, b"/proc")
}

/// Waits for orphans, and passes signals that commands send to process 1 on to the first command. It ends when the agent
/// kills it.
fn reap_orphans(report: OwnedFd, ready: bool) -> ! {
    if !ready {
        sys::exit(1);
    }
    sys::block_signals();
    sys::name_process(c"init");
    drop(report);
    sys::close_all_but(&[] as &[BorrowedFd<'_>]);
    // Not the agent's procfs.
    let _ = rustix::process::chdir("/");
    // Another process has to go when memory is out.
    write("/proc/self/oom_score_adj", b"-1000");
    let first_command = Pid::from_raw(2);
    loop {
        match sys::next_signal() {
            Some(sys::CHILD_ENDED) | None => sys::reap_children(),
            Some(signal) => {
                if let Some(command) = first_command {
                    sys::pass_on(command, signal);
                }
            }
        }
    }
}

fn namespace(path: &str) -> Result<OwnedFd, Error> {
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing("open the namespace", path)
}

/// What cannot be written leaves things as they are.
fn write(path: &str, text: &[u8]) {
    if let Ok(file) = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::io::write(file, text);
    }
}
