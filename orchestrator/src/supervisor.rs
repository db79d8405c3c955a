//! The event loop of whoever supervises a sandbox: the command line for a foreground `run`, `monocore supervise` for
//! one in the background.
//!
//! One thread and one `poll`: the main command's end, this process's signals, the control socket, its clients, and
//! at most one point in time. It wakes up for nothing else.

mod clients;
mod jobs;

use std::time::{Duration, Instant};

use monocore_protocol::ExitStatus;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::io::Errno;

use crate::control::ControlReply;
use crate::health::HealthMonitor;
use crate::life::{Ending, Life};
use crate::peers::PeerLine;
use crate::sandbox::{Ended, Sandbox};
use crate::session::{SessionError, SignalKind, Signals, Terminal};
pub(crate) use clients::Clients;
pub(crate) use jobs::{Jobs, PAUSED};

/// From SIGKILL in the guest to the machine's end.
const KILL_GRACE: Duration = Duration::from_secs(3);
const SIGKILL: u8 = 9;

/// Who supervises.
pub enum Front<'a> {
    /// A process whose signals are the command's; a second request to end ends the machine.
    Foreground {
        /// This process's signals.
        signals: &'a Signals,
        /// The terminal whose size the command's terminal follows.
        terminal: Option<Terminal<'a>>,
    },
    /// A process in the background; a request to end stops the sandbox.
    Background {
        /// This process's signals.
        signals: &'a Signals,
        /// Called once, when the command runs.
        started: &'a mut dyn FnMut(),
    },
}

impl Front<'_> {
    pub(crate) fn signals(&self) -> &Signals {
        match self {
            Self::Foreground { signals, .. } | Self::Background { signals, .. } => signals,
        }
    }
}

impl std::fmt::Debug for Front<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Foreground { .. } => "Foreground",
            Self::Background { .. } => "Background",
        })
    }
}

/// How far the end has come.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Running,
    /// The stop signal was sent.
    Stopping {
        kill_at: Option<Instant>,
    },
    /// SIGKILL was sent.
    Killing {
        end_at: Option<Instant>,
    },
}

/// The state of the loop.
#[derive(Debug)]
pub(crate) struct Supervisor<'a, 'f> {
    sandbox: &'a Sandbox,
    life: &'a mut Life,
    front: &'a mut Front<'f>,
    jobs: Jobs,
    phase: Phase,
    timed_out: bool,
    /// A signal has asked for the end.
    asked: bool,
    /// It was told that the command runs.
    told_start: bool,
}

type Outcome = Result<Ended, SessionError>;

impl<'a, 'f> Supervisor<'a, 'f> {
    pub(crate) fn new(
        sandbox: &'a Sandbox,
        life: &'a mut Life,
        front: &'a mut Front<'f>,
        jobs: Jobs,
    ) -> Self {
        life.machine_started(Instant::now());
        Self {
            sandbox,
            life,
            front,
            jobs,
            phase: Phase::Running,
            timed_out: false,
            asked: false,
            told_start: false,
        }
    }

    /// Runs until the command has ended or the machine is to end without it; then the flag says whether the guest did
    /// not even end the command by SIGKILL.
    pub(crate) fn run(mut self) -> (Outcome, bool) {
        let outcome = loop {
            match self.turn() {
                Ok(None) => {}
                Ok(Some(ended)) => break Ok(ended),
                Err(error) => break Err(error),
            }
        };
        self.jobs.end();
        let is_stuck = matches!((&outcome, self.phase), (Ok(Ended::Killed), Phase::Killing { .. }));
        let outcome = match outcome {
            Ok(_) if self.timed_out => Ok(Ended::TimedOut),
            other => other,
        };
        (outcome, is_stuck)
    }

    fn turn(&mut self) -> Result<Option<Ended>, SessionError> {
        if let Some(result) = self.sandbox.process.result() {
            return result.map(|status: ExitStatus| Some(Ended::Command(status)));
        }
        if let Some(ended) = self.look_at_clock()? {
            return Ok(Some(ended));
        }
        self.wait()?;
        self.notice_start();
        while let Some(signal) = self.front.signals().take() {
            if let Some(ended) = self.signal(signal)? {
                return Ok(Some(ended));
            }
        }
        if let Some(line) = &self.sandbox.peers {
            line.serve();
        }
        self.life.notice_memory(&self.sandbox.session);
        let now = Instant::now();
        self.life.clients.accept(&self.life.control);
        self.jobs.advance(&self.sandbox.session);
        let stop_signal = self.life.stop_signal(&self.sandbox.main);
        let clients = &mut self.life.clients;
        let served = clients.serve((self.sandbox, stop_signal), &mut self.jobs, &self.life.journal);
        for action in self.jobs.take_events() {
            self.life.journal.note(action, &[]);
        }
        if served.was_used
            && let Some(idle) = &mut self.life.idle
        {
            idle.touch(now);
        }
        for (peer, settings) in served.settings {
            self.life.follow(settings, now);
            self.ask_for_traffic();
            peer.reply(&ControlReply::Done);
        }
        if served.is_ended {
            self.life.ending = Some(Ending::User);
        }
        for request in served.stops {
            self.life.ending = Some(Ending::User);
            let grace = request.grace_ms.map_or(self.life.stop.grace, Duration::from_millis);
            self.begin_stop(request.signal.unwrap_or(stop_signal), grace)?;
        }
        self.stop_if_idle(now)?;
        if self.jobs.is_paused() {
            self.life.hold_health(now);
        } else {
            self.life.check_health(self.sandbox, now);
        }
        self.life.answer_waiting();
        Ok(None)
    }

    fn wait(&self) -> Result<(), SessionError> {
        let process = &self.sandbox.process;
        let mut fds = vec![PollFd::from_borrowed_fd(process.ended_fd(), PollFlags::IN)];
        let mut read = |fd| fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        if !self.told_start {
            read(process.started_fd());
        }
        if self.life.clients.has_room() {
            read(self.life.control.as_fd());
        }
        self.sandbox.peers.as_ref().and_then(PeerLine::socket).into_iter().for_each(&mut read);
        read(self.front.signals().as_fd());
        read(self.sandbox.session.out_of_memory());
        self.life.clients.sockets().chain(self.life.clients.commands()).for_each(&mut read);
        self.jobs.sources().for_each(&mut read);
        let health = self.life.monitor().filter(|_| !self.jobs.is_paused());
        health.map(HealthMonitor::fds).into_iter().flatten().for_each(read);
        let times = [
            self.next_time(),
            self.life.clients.next_time(),
            self.jobs.next_time(),
            health.map(HealthMonitor::next_time),
        ];
        let next = times.into_iter().flatten().min();
        let left = next.map(|time| time.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(SessionError::io("waiting for the sandbox", error)),
        }
    }

    fn next_time(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running => {
                [self.life.deadline(), self.life.end_at, self.life.next_look()].into_iter().flatten().min()
            }
            Phase::Stopping { kill_at } => kill_at,
            Phase::Killing { end_at } => end_at,
        }
    }

    /// Does what is due.
    fn look_at_clock(&mut self) -> Result<Option<Ended>, SessionError> {
        let now = Instant::now();
        if self.next_time().is_none_or(|time| time > now) {
            return Ok(None);
        }
        match self.phase {
            Phase::Running => {
                if self.is_time_up(now) {
                    self.begin_own_stop()?;
                }
                Ok(None)
            }
            Phase::Stopping { .. } => self.begin_kill().map(|()| None),
            Phase::Killing { .. } => Ok(Some(Ended::Killed)),
        }
    }

    /// Whether one of the sandbox's time limits is reached.
    fn is_time_up(&mut self, now: Instant) -> bool {
        let is_due = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        if is_due(self.life.end_at) {
            self.life.ending = Some(Ending::MaxDuration);
            self.timed_out = true;
        } else if is_due(self.life.deadline()) {
            self.timed_out = true;
        } else {
            if self.life.next_look().is_none() {
                return false;
            }
            let clients = &self.life.clients;
            if let Some(idle) = &mut self.life.idle
                && idle.is_over(now, || clients.use_the_sandbox())
            {
                self.ask_for_traffic();
            }
            return false;
        }
        true
    }

    /// Asks the machine for the traffic that may be the use of an otherwise idle sandbox.
    fn ask_for_traffic(&mut self) {
        if let Some(idle) = &mut self.life.idle {
            idle.asks();
            self.jobs.count_traffic();
        }
    }

    /// Stops a sandbox that nobody has used, once the machine has said what went through its network.
    fn stop_if_idle(&mut self, now: Instant) -> Result<(), SessionError> {
        let Some(counters) = self.jobs.take_traffic() else { return Ok(()) };
        let traffic = self.life.traffic(counters.as_ref());
        let is_over = self.life.idle.as_mut().is_some_and(|idle| idle.is_over_with(traffic, now));
        if is_over && matches!(self.phase, Phase::Running) && !self.life.clients.use_the_sandbox() {
            self.life.ending = Some(Ending::Idle);
            self.begin_own_stop()?;
        }
        Ok(())
    }

    fn notice_start(&mut self) {
        if self.told_start || self.sandbox.process.pid().is_none() {
            return;
        }
        self.told_start = true;
        self.life.command_started(Instant::now());
        self.ask_for_traffic();
        if let Front::Background { started, .. } = self.front {
            started();
        }
    }

    fn signal(&mut self, signal: u8) -> Result<Option<Ended>, SessionError> {
        let process = &self.sandbox.process;
        match (&*self.front, SignalKind::of(signal)) {
            (Front::Foreground { terminal, .. }, SignalKind::WindowChange) => match terminal {
                Some(terminal) => terminal.size().map_or(Ok(()), |size| process.resize(size))?,
                None => process.signal(signal)?,
            },
            (Front::Foreground { .. }, SignalKind::End) if self.asked => return Ok(Some(Ended::Killed)),
            (Front::Foreground { .. }, kind) => {
                self.asked |= kind == SignalKind::End;
                process.signal(signal)?;
            }
            (Front::Background { .. }, SignalKind::End) => {
                self.life.ending.get_or_insert(Ending::Host);
                self.begin_own_stop()?;
            }
            (Front::Background { .. }, _) => {}
        }
        Ok(None)
    }

    /// Ends the command as the sandbox says.
    fn begin_own_stop(&mut self) -> Result<(), SessionError> {
        self.begin_stop(self.life.stop_signal(&self.sandbox.main), self.life.stop.grace)
    }

    /// Sends `signal` and lets the command have `grace`. Whoever asks again can only shorten that.
    fn begin_stop(&mut self, signal: u8, grace: Duration) -> Result<(), SessionError> {
        if matches!(self.phase, Phase::Killing { .. }) {
            return Ok(());
        }
        // A guest that stands still hears no signal. Its time runs from now on all the same.
        self.jobs.resume(None);
        if signal == SIGKILL || grace.is_zero() {
            return self.begin_kill();
        }
        let earlier = self.next_time().filter(|_| matches!(self.phase, Phase::Stopping { .. }));
        let kill_at = Instant::now().checked_add(grace);
        self.phase = Phase::Stopping { kill_at: [earlier, kill_at].into_iter().flatten().min() };
        self.life.journal.note("kill", &[("signal", &signal.to_string())]);
        self.sandbox.process.signal(signal)
    }

    fn begin_kill(&mut self) -> Result<(), SessionError> {
        self.jobs.resume(None);
        self.phase = Phase::Killing { end_at: Instant::now().checked_add(KILL_GRACE) };
        self.life.journal.note("kill", &[("signal", &SIGKILL.to_string())]);
        self.sandbox.process.signal(SIGKILL)
    }
}
