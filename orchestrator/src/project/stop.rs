//! `down`: stops and removes a project's sandboxes, those that need others first.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::{Member, ProjectRunner, ServiceStep, lock};
use crate::spec::MountSource;
use crate::{ControlClient, Error, registry, start_in_background, volume};

const SIGKILL: u8 = 9;

/// How a project is taken down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DownOptions {
    /// Only these services; all when empty.
    pub services: Vec<String>,
    /// The project's named volumes are removed as well.
    pub volumes: bool,
    /// Grace period before SIGKILL, milliseconds; else as each sandbox says.
    pub grace_ms: Option<u64>,
}

impl ProjectRunner {
    /// Stops the project's sandboxes in reverse order of their needs and removes them.
    ///
    /// # Errors
    /// A sandbox cannot be stopped or removed; the others are nevertheless.
    pub fn down(&self, options: &DownOptions) -> Result<(), Error> {
        let _alone = lock::lock(&self.launcher.home, &self.project)?;
        let members = self.chosen(&options.services)?;
        stop_with(self, &members, options.grace_ms)?;
        remove(self, &members)?;
        if options.volumes {
            self.remove_volumes(&members)?;
        }
        Ok(())
    }

    /// Stops the project's sandboxes in reverse order of their needs. They are kept.
    ///
    /// # Errors
    /// A sandbox cannot be stopped; the others are nevertheless.
    pub fn stop(&self, services: &[String], grace_ms: Option<u64>) -> Result<(), Error> {
        let _alone = lock::lock(&self.launcher.home, &self.project)?;
        stop_with(self, &self.chosen(services)?, grace_ms)
    }

    /// Removes `members`, after stopping those that run.
    ///
    /// # Errors
    /// A sandbox cannot be stopped or removed.
    pub fn remove(&self, members: &[Member]) -> Result<(), Error> {
        let _alone = lock::lock(&self.launcher.home, &self.project)?;
        remove(self, members)
    }

    /// Starts those of the project's sandboxes that do not run, in the order of their needs. Nothing is waited for but the
    /// start itself.
    ///
    /// # Errors
    /// A sandbox cannot be started; those that do not need it are nevertheless.
    pub fn start_members(&self, services: &[String]) -> Result<(), Error> {
        let _alone = lock::lock(&self.launcher.home, &self.project)?;
        let members = self.chosen(services)?;
        levels(&members)
            .iter()
            .rev()
            .try_for_each(|level| for_each(level, |member| self.start_member(member)))
    }

    fn start_member(&self, member: &Member) -> Result<(), Error> {
        let Some(kept) = member.entry.kept.as_ref().filter(|_| !member.is_running()) else { return Ok(()) };
        let name = &member.entry.name;
        self.tell(&member.service, name, ServiceStep::Starting);
        match start_in_background(&self.launcher, kept) {
            Ok(()) | Err(Error::AlreadyRunning(_)) => {
                self.tell(&member.service, name, ServiceStep::Started);
                Ok(())
            }
            Err(error) => {
                self.tell(&member.service, name, ServiceStep::Failed { message: error.to_string() });
                Err(Error::Service { service: member.service.clone(), problem: error.to_string() })
            }
        }
    }

    /// Makes a call of [`up`](Self::up) in another thread end soon, and stops what runs; with `kill` by SIGKILL. It does
    /// not wait for the project's lock, which the other call has.
    ///
    /// # Errors
    /// A sandbox cannot be stopped; the others are nevertheless.
    pub fn interrupt(&self, kill: bool) -> Result<(), Error> {
        self.cancelled.store(true, Ordering::Relaxed);
        let members = self.members()?;
        if kill {
            return for_each(&members, |member| {
                let Some(record) = &member.entry.running else { return Ok(()) };
                let client = ControlClient::connect(&self.launcher.home, record)?;
                client.stop(Some(SIGKILL), Some(0)).map(|_| ())
            });
        }
        stop_with(self, &members, None)
    }

    fn chosen(&self, services: &[String]) -> Result<Vec<Member>, Error> {
        let is_chosen = |member: &Member| services.is_empty() || services.contains(&member.service);
        Ok(self.members()?.into_iter().filter(is_chosen).collect())
    }

    /// Removes the volumes of `members` whose names begin with the project's.
    fn remove_volumes(&self, members: &[Member]) -> Result<(), Error> {
        let prefix = format!("{}_", self.project);
        let mut names = BTreeSet::new();
        for kept in members.iter().filter_map(|member| member.entry.kept.as_ref()) {
            for mount in &kept.record().spec.mounts {
                if let MountSource::Volume(name) = &mount.source
                    && name.starts_with(&prefix)
                {
                    names.insert(name.clone());
                }
            }
        }
        names.iter().try_for_each(|name| volume::remove(&self.launcher.home, name))
    }
}

/// Stops `members`, level by level: a sandbox is stopped when nothing that needs it runs any more.
pub(super) fn stop(runner: &ProjectRunner, members: &[Member]) -> Result<(), Error> {
    stop_with(runner, members, None)
}

fn stop_with(runner: &ProjectRunner, members: &[Member], grace_ms: Option<u64>) -> Result<(), Error> {
    // All levels are tried, whatever fails.
    let results: Vec<_> =
        levels(members).iter().map(|level| for_each(level, |m| stop_one(runner, m, grace_ms))).collect();
    results.into_iter().collect()
}

/// Does `action` for all of `members` at once; the first error.
fn for_each<M: Borrow<Member> + Sync>(
    members: &[M],
    action: impl Fn(&Member) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = members.iter().map(|member| scope.spawn(|| action(member.borrow()))).collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let results: Vec<_> = joined.collect();
        results.into_iter().collect()
    })
}

fn stop_one(runner: &ProjectRunner, member: &Member, grace_ms: Option<u64>) -> Result<(), Error> {
    let Some(record) = &member.entry.running else { return Ok(()) };
    let name = &member.entry.name;
    runner.tell(&member.service, name, ServiceStep::Stopping);
    let stopped = ControlClient::connect(&runner.launcher.home, record)
        .and_then(|client| client.stop(None, grace_ms).map(|_| ()));
    match stopped {
        // It ended meanwhile.
        Ok(()) | Err(Error::NotRunning(_)) => {
            runner.tell(&member.service, name, ServiceStep::Stopped);
            Ok(())
        }
        Err(error) => {
            runner.tell(&member.service, name, ServiceStep::Failed { message: error.to_string() });
            Err(error)
        }
    }
}

/// Removes `members`, after stopping those that run.
pub(super) fn remove(runner: &ProjectRunner, members: &[Member]) -> Result<(), Error> {
    stop(runner, members)?;
    for member in members {
        if let Some(kept) = &member.entry.kept {
            match registry::remove(&runner.launcher.home, kept) {
                Ok(()) => {}
                // It was to be removed at its end, or somebody else was faster.
                Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        runner.tell(&member.service, &member.entry.name, ServiceStep::Removed);
    }
    Ok(())
}

/// `members` in groups: what needs others comes before what is needed.
pub(super) fn levels(members: &[Member]) -> Vec<Vec<&Member>> {
    let mut left: Vec<&Member> = members.iter().collect();
    let mut levels = Vec::new();
    while !left.is_empty() {
        let needed: BTreeSet<&str> =
            left.iter().flat_map(|member| member.needs.iter().map(|need| need.service.as_str())).collect();
        let (level, rest): (Vec<_>, Vec<_>) =
            left.iter().copied().partition(|member| !needed.contains(member.service.as_str()));
        if level.is_empty() {
            // Labels that the user changed can make a circle: then all are equal.
            levels.push(rest);
            break;
        }
        levels.push(level);
        left = rest;
    }
    levels
}
