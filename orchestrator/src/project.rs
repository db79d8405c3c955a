//! Projects: several sandboxes that are described, started and removed together.
//!
//! A project keeps no state of its own. Each of its sandboxes is a kept sandbox whose labels name the project, the
//! service, the number of the replica and the services that it needs. Which sandboxes are to change is found by
//! comparing descriptions, so a process that was killed half-way leaves nothing that the next one cannot read.

mod desired;
mod event;
mod execute;
mod labels;
mod lock;
mod member;
mod plan;
mod stop;
mod sync;
mod update;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use desired::instances;
pub use event::{ProjectEvent, ServiceStep};
pub use execute::UpOptions;
pub use labels::{LABEL_GROUPS, LABEL_PROJECT, LABEL_SERVICE};
pub use member::{Instance, Member, Need, find_service};
pub use plan::{Change, PlannedStep, ProjectPlan};
pub use stop::DownOptions;
pub use watch::{ProjectWatch, WatchObserver, WatchStop};

use crate::{Error, Images, Launcher};

/// The sandboxes of one project.
#[derive(Clone)]
pub struct ProjectRunner {
    launcher: Launcher,
    images: Images,
    project: String,
    observer: Arc<dyn Fn(&ProjectEvent) + Send + Sync>,
    cancelled: Arc<AtomicBool>,
}

impl ProjectRunner {
    /// The project with this name. Nobody is told how work on it proceeds.
    #[must_use]
    pub fn new(launcher: Launcher, images: Images, project: impl Into<String>) -> Self {
        Self {
            launcher,
            images,
            project: project.into(),
            observer: Arc::new(|_| ()),
            cancelled: Arc::default(),
        }
    }

    /// Sets who is told of each step. It is called from several threads and must not block for long.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Fn(&ProjectEvent) + Send + Sync>) -> Self {
        self.observer = observer;
        self
    }

    /// The project's name.
    #[must_use]
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The project's sandboxes, by service and number.
    ///
    /// # Errors
    /// The state directory cannot be read.
    pub fn members(&self) -> Result<Vec<Member>, Error> {
        member::of_project(&self.launcher.home, &self.project)
    }

    fn tell(&self, service: &str, sandbox: &str, step: ServiceStep) {
        (self.observer)(&ProjectEvent { service: service.to_owned(), sandbox: sandbox.to_owned(), step });
    }
}

impl std::fmt::Debug for ProjectRunner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProjectRunner").field("project", &self.project).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
