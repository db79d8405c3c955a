//! `up`: carries a plan out, in parallel where dependencies allow.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::plan::PlanRules;
use super::{Change, Instance, Member, Need, PlannedStep, ProjectPlan, ProjectRunner, ServiceStep};
use super::{lock, stop, update};
use crate::config::Condition;
use crate::spec::{RootSource, SandboxSpec};
use crate::{
    Awaited, Condition as AwaitedCondition, Error, KeptSandbox, groups, registry, start_in_background,
    wait_for,
};

/// How a project is brought up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpOptions {
    /// Only these services and what they need; all when empty.
    pub services: Vec<String>,
    /// Sandboxes of the project that the description no longer has are removed.
    pub remove_orphans: bool,
    /// Every sandbox is replaced, also one that is as described.
    pub force_recreate: bool,
    /// Returns when every service is healthy (or runs, where it has no health check), not as soon as it runs.
    pub wait: bool,
    /// Sandboxes are written down and not started.
    pub only_create: bool,
}

/// How far the services are; threads wait here for one another.
#[derive(Debug, Default)]
struct Board {
    services: Mutex<BTreeMap<String, Reached>>,
    changed: Condvar,
}

/// How far a service is.
#[derive(Debug, Default)]
struct Reached {
    /// Instances that are not up yet.
    awaited: usize,
    /// The members that are up.
    up: Vec<KeptSandbox>,
    failed: bool,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Reached>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what came of one instance.
    fn settle(&self, service: &str, outcome: Option<KeptSandbox>) {
        if let Some(reached) = self.lock().get_mut(service) {
            reached.awaited -= 1;
            match outcome {
                Some(kept) => reached.up.push(kept),
                None => reached.failed = true,
            }
        }
        self.changed.notify_all();
    }

    /// Waits until every instance of `service` is up; nothing if one failed.
    fn wait_for(&self, service: &str) -> Option<Vec<KeptSandbox>> {
        let mut services = self.lock();
        loop {
            // A service that the plan does not have was not asked for and is not waited for.
            let Some(reached) = services.get(service) else { return Some(Vec::new()) };
            if reached.failed {
                return None;
            }
            if reached.awaited == 0 {
                return Some(reached.up.clone());
            }
            services = self.changed.wait(services).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl ProjectRunner {
    /// What [`up`](Self::up) would do.
    ///
    /// # Errors
    /// The state directory or the image store cannot be read.
    pub fn plan(&self, wanted: &[Instance], options: &UpOptions) -> Result<ProjectPlan, Error> {
        let members = self.members()?;
        let rules = PlanRules {
            services: &options.services,
            remove_orphans: options.remove_orphans,
            recreate: options.force_recreate,
        };
        Ok(ProjectPlan::make(wanted, &members, rules, |spec| self.stored_image(spec)))
    }

    /// Makes the project's sandboxes as `wanted` describes them, and starts them in the order of their needs. What is
    /// as described and runs is not touched. What this call started is stopped again if a part of it fails.
    ///
    /// # Errors
    /// A sandbox cannot be made or started, or what it needs is not ready. [`Error::Cancelled`] after
    /// [`interrupt`](Self::interrupt).
    pub fn up(&self, wanted: &[Instance], options: &UpOptions) -> Result<Vec<Member>, Error> {
        let _alone = lock::lock(&self.launcher.home, &self.project)?;
        let plan = self.plan(wanted, options)?;
        self.check_external_groups(&plan.steps)?;
        let (removals, steps): (Vec<_>, Vec<_>) =
            plan.steps.into_iter().partition(|step| step.change == Change::Remove);
        let board = Board::default();
        for step in &steps {
            board.lock().entry(step.service.clone()).or_default().awaited += 1;
        }
        let failures = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for step in &steps {
                let (board, failures) = (&board, &failures);
                scope.spawn(move || {
                    let result = self.carry_out(step, board, options);
                    board.settle(&step.service, result.as_ref().ok().cloned());
                    if let Err(error) = result {
                        let message = error.to_string();
                        self.tell(&step.service, &step.name, ServiceStep::Failed { message });
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(error);
                    }
                });
            }
        });
        let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        let failure =
            failures.into_iter().reduce(|first, next| if first.is_consequence() { next } else { first });
        if let Some(error) = failure {
            self.stop_started(&steps)?;
            return Err(error);
        }
        let gone: Vec<_> = removals.into_iter().filter_map(|step| step.member).collect();
        stop::remove(self, &gone)?;
        if options.wait {
            self.wait_until_ready(&steps)?;
        }
        self.members()
    }

    /// Groups that are not of the project must be there: nobody would know their members by another name.
    fn check_external_groups(&self, steps: &[PlannedStep]) -> Result<(), Error> {
        let specs = steps.iter().filter_map(|step| Some(&step.instance.as_ref()?.spec));
        let joined = specs.flat_map(|spec| &spec.network.groups).filter(|group| group.project.is_none());
        for membership in joined {
            groups::find(&self.launcher.home, None, &membership.group)
                .map_err(|_| Error::NoExternalGroup(membership.group.clone()))?;
        }
        Ok(())
    }

    /// The image that `spec` leads to, if the store has one.
    fn stored_image(&self, spec: &SandboxSpec) -> Option<String> {
        let RootSource::Image(image) = &spec.root.source else { return None };
        let store = crate::images::open_store(&self.launcher.home).ok()?;
        store.find(&image.reference).ok().map(|found| found.id.to_string())
    }

    fn carry_out(
        &self,
        step: &PlannedStep,
        board: &Board,
        options: &UpOptions,
    ) -> Result<KeptSandbox, Error> {
        let kept = step.member.as_ref().and_then(|member| member.entry.kept.clone());
        match (&step.change, kept, &step.instance) {
            (Change::Keep, Some(kept), _) => {
                self.tell(&step.service, &step.name, ServiceStep::Kept);
                Ok(kept)
            }
            (Change::Update(_), Some(kept), Some(instance)) => {
                let is_running = step.member.as_ref().is_some_and(Member::is_running);
                update::in_place(&self.launcher.home, step.member.as_ref(), &kept, &instance.spec)?;
                self.tell(&step.service, &step.name, ServiceStep::Updated);
                if !is_running && !options.only_create {
                    self.wait_for_needs(step, board)?;
                    self.start(step, &kept)?;
                }
                Ok(kept)
            }
            (Change::Restart(_), Some(kept), Some(instance)) => {
                if let Some(member) = &step.member {
                    stop::stop(self, std::slice::from_ref(member))?;
                }
                update::in_place(&self.launcher.home, None, &kept, &instance.spec)?;
                self.tell(&step.service, &step.name, ServiceStep::Updated);
                if !options.only_create {
                    self.wait_for_needs(step, board)?;
                    self.start(step, &kept)?;
                }
                Ok(kept)
            }
            (Change::Start, Some(kept), _) if options.only_create => Ok(kept),
            (Change::Start, Some(kept), _) => {
                self.wait_for_needs(step, board)?;
                self.start(step, &kept)?;
                Ok(kept)
            }
            (_, _, Some(instance)) => {
                // The image is fetched while others start.
                self.prepare(instance)?;
                if !options.only_create {
                    self.wait_for_needs(step, board)?;
                }
                if let Some(member) = &step.member {
                    stop::remove(self, std::slice::from_ref(member))?;
                }
                self.tell(&step.service, &step.name, ServiceStep::Creating);
                let kept = self.launcher.create(instance.spec.clone(), &self.images, false)?;
                self.tell(&step.service, &step.name, ServiceStep::Created);
                if !options.only_create {
                    self.start(step, &kept)?;
                }
                Ok(kept)
            }
            // Removals are not carried out here.
            (_, _, None) => Err(Error::NoSandbox(step.name.clone())),
        }
    }

    fn prepare(&self, instance: &Instance) -> Result<(), Error> {
        match &instance.spec.root.source {
            RootSource::Image(image) => self.images.find(image).map(|_| ()),
            RootSource::Directory(_) => Ok(()),
        }
    }

    fn start(&self, step: &PlannedStep, kept: &KeptSandbox) -> Result<(), Error> {
        self.check_cancelled()?;
        self.tell(&step.service, &step.name, ServiceStep::Starting);
        match start_in_background(&self.launcher, kept) {
            // Somebody else started it meanwhile.
            Ok(()) | Err(Error::AlreadyRunning(_)) => {}
            Err(error) => {
                return Err(Error::Service { service: step.service.clone(), problem: error.to_string() });
            }
        }
        self.tell(&step.service, &step.name, ServiceStep::Started);
        Ok(())
    }

    fn wait_for_needs(&self, step: &PlannedStep, board: &Board) -> Result<(), Error> {
        for need in step.needs() {
            match self.wait_for_need(step, need, board) {
                Err(Error::NeededService { .. }) if !need.required => {}
                result => result?,
            }
        }
        Ok(())
    }

    fn wait_for_need(&self, step: &PlannedStep, need: &Need, board: &Board) -> Result<(), Error> {
        if board.lock().get(&need.service).is_some_and(|reached| reached.awaited > 0) {
            let needed = need.service.clone();
            self.tell(&step.service, &step.name, ServiceStep::Waiting { needed });
        }
        let not_ready = |problem: String| Error::NeededService {
            service: step.service.clone(),
            needed: need.service.clone(),
            problem,
        };
        let needed = board.wait_for(&need.service).ok_or_else(|| not_ready("it failed".to_owned()))?;
        self.check_cancelled()?;
        for kept in needed {
            self.wait_for_condition(need, &kept).map_err(|error| not_ready(error.to_string()))?;
        }
        Ok(())
    }

    /// Waits until `kept` is as `need` says.
    fn wait_for_condition(&self, need: &Need, kept: &KeptSandbox) -> Result<(), Error> {
        match need.condition {
            Condition::Started => Ok(()),
            Condition::Healthy => self.wait_until_healthy(&need.service, kept),
            Condition::Completed => {
                match wait_for(&self.launcher.home, &kept.record().id, AwaitedCondition::Completed, None)? {
                    Awaited::Ended { code: 0 } => {
                        self.tell(&need.service, &kept.record().name, ServiceStep::Completed);
                        Ok(())
                    }
                    other => Err(not_reached(&need.service, other)),
                }
            }
        }
    }

    fn wait_until_healthy(&self, service: &str, kept: &KeptSandbox) -> Result<(), Error> {
        match wait_for(&self.launcher.home, &kept.record().id, AwaitedCondition::Healthy, None)? {
            Awaited::Reached => {
                self.tell(service, &kept.record().name, ServiceStep::Healthy);
                Ok(())
            }
            other => Err(not_reached(service, other)),
        }
    }

    /// Waits until what `steps` started is healthy. A command that has done its work and ended is ready as well.
    fn wait_until_ready(&self, steps: &[PlannedStep]) -> Result<(), Error> {
        for step in steps {
            let entry = registry::find(&self.launcher.home, &step.name)?;
            let Some(kept) = &entry.kept else { continue };
            if entry.running.is_some() || entry.state.exit_code != Some(0) {
                self.wait_until_healthy(&step.service, kept)?;
            }
        }
        Ok(())
    }

    /// Stops what a failed call started.
    fn stop_started(&self, steps: &[PlannedStep]) -> Result<(), Error> {
        let started = |member: &Member| {
            let step = steps.iter().find(|step| step.name == member.entry.name);
            step.is_some_and(|step| match step.change {
                Change::Keep => false,
                // One that ran before runs on.
                Change::Update(_) | Change::Restart(_) => {
                    !step.member.as_ref().is_some_and(Member::is_running)
                }
                _ => true,
            })
        };
        let members: Vec<_> = self.members()?.into_iter().filter(started).collect();
        stop::stop(self, &members)
    }

    fn check_cancelled(&self) -> Result<(), Error> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// Why `service` is not as it is needed.
fn not_reached(service: &str, awaited: Awaited) -> Error {
    let problem = match awaited {
        Awaited::Unhealthy => "its health check fails".to_owned(),
        Awaited::Ended { code } => format!("its command ended with status {code}"),
        // Nobody waits for a limited time here, and a condition that was reached is no failure.
        Awaited::TimedOut | Awaited::Reached => "it is not ready".to_owned(),
    };
    Error::Service { service: service.to_owned(), problem }
}
