//! What of a running sandbox outlives one run of its machine: directory, control socket and clients,
//! and what is known about restarts, health and use.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use monocore_channel::MachineCounters;
use monocore_oci::ImageConfig;
use monocore_protocol::Exec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::io::Errno;

use crate::control::{ControlReply, ControlSocket};
use crate::events::Journal;
use crate::health::{HealthCheck, HealthMonitor, HealthReport, HealthStatus};
use crate::idle::{Idle, Traffic};
use crate::live::LifeSettings;
use crate::logs::LogWriter;
use crate::restart::Restarts;
use crate::sandbox::Sandbox;
use crate::session::{Session, SignalKind};
use crate::spec::{RestartPolicy, SandboxSpec, StopSpec};
use crate::supervisor::{Clients, Front};
use crate::{Error, Home, NetworkRecord, RunDir, network, process};

/// Why a sandbox is not started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The user stopped it.
    User,
    /// The supervisor was asked to end, as the host does when it shuts down.
    Host,
    /// Nobody used it for as long as its idle timeout.
    Idle,
    /// It lived as long as it may.
    MaxDuration,
}

/// What of a running sandbox outlives one run of its machine.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) clients: Clients,
    pub(crate) control: ControlSocket,
    run_dir: RunDir,
    pub(crate) journal: Journal,
    pub(crate) restarts: Restarts,
    /// What the image says about health checks and the stop signal.
    image: ImageConfig,
    /// When and how the command is made to end.
    pub(crate) stop: StopSpec,
    check: Option<HealthCheck>,
    health: Option<HealthMonitor>,
    /// What was known of its health when its machine ended.
    last_health: Option<HealthReport>,
    pub(crate) idle: Option<Idle>,
    /// How long it may live after its command's first start.
    max_duration: Option<Duration>,
    /// When it has lived as long as it may.
    pub(crate) end_at: Option<Instant>,
    pub(crate) ending: Option<Ending>,
    /// Its output.
    log: Option<LogWriter>,
    /// When its command was started the first time.
    first_start: Option<Instant>,
    /// When its machine was started.
    machine_since: Option<Instant>,
    /// When its command was started, while it runs.
    running_since: Option<Instant>,
    /// How long its command ran the last time.
    pub(crate) ran: Duration,
    /// The guest's kernel ended a process of the last run because memory was out.
    pub(crate) oom_killed: bool,
}

impl Life {
    /// Begins the life of the sandbox that `run_dir` was claimed for: clients can connect from here on.
    ///
    /// # Errors
    /// The control socket cannot be made.
    pub(crate) fn begin(
        home: &Home,
        run_dir: RunDir,
        spec: &SandboxSpec,
        image: &ImageConfig,
    ) -> Result<Self, Error> {
        let now = Instant::now();
        let journal = Journal::new(home, run_dir.record().into());
        Ok(Self {
            check: HealthCheck::resolve(spec.health.as_ref(), image.healthcheck.as_ref()),
            restarts: Restarts::new(spec.restart),
            idle: spec.limits.idle_timeout.map(|timeout| Idle::new(timeout, now)),
            max_duration: spec.limits.max_duration,
            stop: spec.stop.clone(),
            image: image.clone(),
            ..Self::new(run_dir, journal)?
        })
    }

    /// Begins the life of a machine that does a piece of the agent's own work, of which no event tells.
    ///
    /// # Errors
    /// The control socket cannot be made.
    pub(crate) fn of_tool(run_dir: RunDir, stop: StopSpec) -> Result<Self, Error> {
        Ok(Self { stop, ..Self::new(run_dir, Journal::silent())? })
    }

    fn new(run_dir: RunDir, journal: Journal) -> Result<Self, Error> {
        Ok(Self {
            clients: Clients::default(),
            control: ControlSocket::listen(run_dir.path())?,
            run_dir,
            journal,
            restarts: Restarts::new(RestartPolicy::No),
            image: ImageConfig::default(),
            stop: StopSpec::default(),
            check: None,
            health: None,
            last_health: None,
            idle: None,
            max_duration: None,
            end_at: None,
            ending: None,
            log: None,
            first_start: None,
            machine_since: None,
            running_since: None,
            ran: Duration::ZERO,
            oom_killed: false,
        })
    }

    pub(crate) fn run_dir(&self) -> &RunDir {
        &self.run_dir
    }

    /// Output in this log counts as use of the sandbox.
    pub(crate) fn watch_log(&mut self, log: LogWriter) {
        if let Some(idle) = &mut self.idle {
            idle.watch_log(log.clone());
        }
        self.log = Some(log);
    }

    /// What asks a command like `main` to end.
    pub(crate) fn stop_signal(&self, main: &Exec) -> u8 {
        process::stop_signal(&self.stop, &self.image, main).number()
    }

    /// When the command that runs is stopped because its time is up.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.machine_since?.checked_add(self.stop.timeout?)
    }

    /// Follows other settings from `now` on.
    pub(crate) fn follow(&mut self, settings: LifeSettings, now: Instant) {
        let LifeSettings { restart, health, limits, stop } = settings;
        self.restarts.set_policy(restart);
        self.stop = stop;
        self.max_duration = limits.max_duration;
        self.end_at = self.end_of_time();
        match (limits.idle_timeout, &mut self.idle) {
            (Some(timeout), Some(idle)) => idle.set_timeout(timeout),
            (Some(timeout), None) => {
                let mut idle = Idle::new(timeout, now);
                self.log.iter().for_each(|log| idle.watch_log(log.clone()));
                self.idle = Some(idle);
            }
            (None, _) => self.idle = None,
        }
        self.check_otherwise(HealthCheck::resolve(health.as_ref(), self.image.healthcheck.as_ref()));
    }

    /// Checks the health of the command that runs by `check` from here on.
    fn check_otherwise(&mut self, check: Option<HealthCheck>) {
        if check == self.check {
            return;
        }
        self.check = check;
        let Some(since) = self.running_since else { return };
        self.health = match (self.health.take(), self.check.clone()) {
            (Some(monitor), Some(check)) => Some(monitor.with(check, since)),
            (None, Some(check)) => Some(HealthMonitor::new(check, since)),
            (monitor, None) => {
                monitor.into_iter().for_each(HealthMonitor::give_up);
                None
            }
        };
        match &self.health {
            Some(monitor) => monitor.report().write(self.run_dir.path()),
            None => HealthReport::remove(self.run_dir.path()),
        }
        self.answer_waiting();
    }

    fn end_of_time(&self) -> Option<Instant> {
        self.first_start?.checked_add(self.max_duration?)
    }

    /// A machine is there since `now`, and its command about to start.
    pub(crate) fn machine_started(&mut self, now: Instant) {
        self.machine_since = Some(now);
    }

    /// The command runs since `now`.
    pub(crate) fn command_started(&mut self, now: Instant) {
        if self.first_start.is_none() {
            self.first_start = Some(now);
            self.end_at = self.end_of_time();
        }
        self.oom_killed = false;
        self.running_since = Some(now);
        if let Some(idle) = &mut self.idle {
            idle.touch(now);
        }
        self.journal.note("start", &[]);
        self.health = self.check.clone().map(|check| HealthMonitor::new(check, now));
        if let Some(health) = &self.health {
            health.report().write(self.run_dir.path());
        }
        self.answer_waiting();
    }

    /// The command has ended, or could not be started. Its machine is yet to be ended.
    pub(crate) fn command_over(&mut self) {
        self.ran = self.running_since.take().map_or(Duration::ZERO, |since| since.elapsed());
    }

    /// The command has ended with `code`, and its machine is gone.
    pub(crate) fn command_ended(&mut self, code: u8) {
        if self.has_started() {
            self.journal.note("die", &[("exitCode", &code.to_string())]);
        }
        self.last_health = self.health.take().map(HealthMonitor::into_report);
        self.clients.machine_ended(&self.journal, code);
    }

    /// Writes down that the guest's kernel ended a process because memory was out.
    pub(crate) fn notice_memory(&mut self, session: &Session) {
        if session.take_out_of_memory() {
            self.oom_killed = true;
            self.journal.note("oom", &[]);
        }
    }

    /// What was known of the command's health when its machine ended.
    pub(crate) fn last_health(&self) -> Option<&HealthReport> {
        self.last_health.as_ref()
    }

    /// Whether the command has run.
    pub(crate) fn has_started(&self) -> bool {
        self.first_start.is_some()
    }

    /// The health checks, for the loop that waits.
    pub(crate) fn monitor(&self) -> Option<&HealthMonitor> {
        self.health.as_ref()
    }

    /// When to look whether the sandbox is used; nothing before its command runs.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.idle.as_ref().filter(|_| self.has_started()).and_then(Idle::next_time)
    }

    /// Goes on with the health checks of `sandbox`.
    pub(crate) fn check_health(&mut self, sandbox: &Sandbox, now: Instant) {
        let Some(monitor) = &mut self.health else { return };
        let before = monitor.report().status;
        if !monitor.advance(&sandbox.session, &sandbox.main, now) {
            return;
        }
        let report = monitor.report();
        report.write(self.run_dir.path());
        if report.status != before {
            self.journal.note(&format!("health_status: {}", report.status.name()), &[]);
        }
        self.answer_waiting();
    }

    /// What has gone through the network, by the machine's `counters`.
    pub(crate) fn traffic(&self, counters: Option<&MachineCounters>) -> Traffic {
        // The agent's connections go through the device of `tsi`, those of health checks too.
        let is_counted = |kind: &str| match kind {
            "nat" | "tap" | "passt" => true,
            "tsi" => self.check.is_none(),
            _ => false,
        };
        let devices = counters.into_iter().flat_map(|counters| &counters.devices);
        let bytes = devices.filter(|device| is_counted(&device.kind)).flat_map(|device| {
            ["bytes_to_guest", "bytes_from_guest"].map(|name| device.get(name).unwrap_or(0))
        });
        Traffic { bytes: bytes.sum(), receipts: self.receipts() }
    }

    /// The file of the network's decisions: its inode and length.
    fn receipts(&self) -> Option<(u64, u64)> {
        let NetworkRecord::Ours { log, .. } = &self.run_dir.record().network else { return None };
        let own = self.run_dir.path().join(network::LOG);
        let found = log.as_ref().map_or(&own, |log| &log.path).metadata().ok()?;
        Some((found.ino(), found.len()))
    }

    /// No health check is made of a machine that stands still.
    pub(crate) fn hold_health(&mut self, now: Instant) {
        if let Some(monitor) = &mut self.health {
            monitor.hold(now);
        }
    }

    /// Answers clients that wait for what is so now.
    pub(crate) fn answer_waiting(&mut self) {
        let health = match &self.health {
            Some(monitor) => Some(monitor.report().status),
            // Without checks, what runs counts as healthy.
            None => self.has_started().then_some(HealthStatus::Healthy),
        };
        let has_started = self.has_started();
        self.clients.answer_waiting(has_started, health);
    }

    /// Waits before the next start, without a machine; false if the sandbox is to end instead.
    pub(crate) fn rest(&mut self, front: &Front<'_>, delay: Duration) -> bool {
        let until = Instant::now() + delay;
        while self.ending.is_none() {
            let now = Instant::now();
            if self.end_at.is_some_and(|end| end <= now) {
                self.ending = Some(Ending::MaxDuration);
                break;
            }
            if until <= now {
                break;
            }
            let times = [Some(until), self.end_at, self.clients.next_time()];
            let left = times.into_iter().flatten().min().map(|time| time.saturating_duration_since(now));
            if let Err(error) = self.wait(front, left) {
                tracing::warn!(%error, "a sandbox is not started again");
                self.ending = Some(Ending::Host);
                break;
            }
            while let Some(signal) = front.signals().take() {
                if SignalKind::of(signal) == SignalKind::End {
                    self.ending.get_or_insert(Ending::Host);
                }
            }
            self.clients.accept(&self.control);
            let served = self.clients.serve_without_machine();
            if served.is_ended {
                self.ending = Some(Ending::User);
            }
            for (peer, settings) in served.settings {
                self.follow(settings, Instant::now());
                peer.reply(&ControlReply::Done);
            }
            self.answer_waiting();
        }
        self.ending.is_none()
    }

    fn wait(&self, front: &Front<'_>, left: Option<Duration>) -> Result<(), Errno> {
        let mut fds = vec![PollFd::from_borrowed_fd(front.signals().as_fd(), PollFlags::IN)];
        if self.clients.has_room() {
            fds.push(PollFd::from_borrowed_fd(self.control.as_fd(), PollFlags::IN));
        }
        fds.extend(self.clients.sockets().map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends the life: the directory goes, then everybody who waits is told `code`.
    pub(crate) fn end(self, code: u8) {
        let Self { clients, control, run_dir, journal, ending, .. } = self;
        match ending {
            Some(Ending::User) if clients.was_stopped() => journal.note("stop", &[]),
            Some(Ending::Idle) => journal.note("stop", &[("reason", "idle-timeout")]),
            Some(Ending::MaxDuration) => journal.note("stop", &[("reason", "max-duration")]),
            Some(Ending::Host) => journal.note("stop", &[("reason", "supervisor was ended")]),
            _ => {}
        }
        if run_dir.is_ephemeral() {
            journal.note("destroy", &[]);
        }
        drop(run_dir);
        // Whoever connected while the machine ended is answered, too; nobody finds the socket any more.
        clients.into_waiting().join(&control).tell(code);
    }
}
