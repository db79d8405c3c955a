//! Projects for programs: the functions of `up`, `down`, `status` and `remove`, asynchronous.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::{Monocore, Project};
use crate::project::{DownOptions, Member, ProjectEvent, ProjectRunner, UpOptions, instances};
use crate::{Error, Home, Images, Launcher};

/// Name of a project that has none.
const UNNAMED: &str = "monocore";
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long logs that were rotated are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogRetentionPolicy {
    max_age: Option<Duration>,
}

impl LogRetentionPolicy {
    /// Rotated logs are kept for `age`.
    #[must_use]
    pub fn with_max_age(age: Duration) -> Self {
        Self { max_age: Some(age) }
    }

    /// Rotated logs are kept for so many weeks.
    #[must_use]
    pub fn with_max_age_weeks(weeks: u32) -> Self {
        Self::with_max_age(WEEK * weeks)
    }
}

/// Brings projects up and down below one state directory.
#[derive(Clone, Debug)]
pub struct Orchestrator {
    launcher: Launcher,
    images: Images,
    retention: LogRetentionPolicy,
}

impl Orchestrator {
    /// Sandboxes in the state directory `home`, run by the program `monocore`. Logs are bounded by their size only.
    ///
    /// # Errors
    /// The state directory cannot be made.
    pub async fn new(home: impl Into<PathBuf>, monocore: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::with_log_retention_policy(home, monocore, LogRetentionPolicy::default()).await
    }

    /// The same; rotated logs are kept as `retention` says.
    ///
    /// # Errors
    /// The state directory cannot be made.
    pub async fn with_log_retention_policy(
        home: impl Into<PathBuf>,
        monocore: impl Into<PathBuf>,
        retention: LogRetentionPolicy,
    ) -> Result<Self, Error> {
        let home = home.into();
        let home = Home::at(std::path::absolute(&home).map_err(Error::file("find", &home))?);
        let launcher = Launcher { home, program: monocore.into() };
        let images = Images::new(&launcher.home);
        blocking(move || {
            launcher.home.create()?;
            Ok(Self { launcher, images, retention })
        })
        .await
    }

    /// Sets how images are found and fetched.
    #[must_use]
    pub fn with_images(mut self, images: Images) -> Self {
        self.images = images;
        self
    }

    /// Makes the sandboxes of `config` and starts them in the order of their needs. Services that the project no longer
    /// has are stopped and removed.
    ///
    /// # Errors
    /// As [`ProjectRunner::up`].
    pub async fn up(&mut self, config: impl Into<ProjectSource>) -> Result<Vec<Member>, Error> {
        let project = config.into().project()?;
        let runner = self.runner(&project.name);
        let retention = self.retention;
        blocking(move || {
            let options = UpOptions { remove_orphans: true, ..UpOptions::default() };
            let members = runner.up(&instances(&project)?, &options)?;
            remove_old_logs(&members, retention)?;
            Ok(members)
        })
        .await
    }

    /// Stops and removes the sandboxes of `project`, in reverse order of their needs.
    ///
    /// # Errors
    /// As [`ProjectRunner::down`].
    pub async fn down(&mut self, project: &str) -> Result<(), Error> {
        let runner = self.runner(project);
        blocking(move || runner.down(&DownOptions::default())).await
    }

    /// The sandboxes of `project`.
    ///
    /// # Errors
    /// The state directory cannot be read.
    pub async fn status(&self, project: &str) -> Result<Vec<Member>, Error> {
        let runner = self.runner(project);
        blocking(move || runner.members()).await
    }

    /// Stops and removes the sandboxes of some services of `project`.
    ///
    /// # Errors
    /// As [`ProjectRunner::down`].
    pub async fn remove(&mut self, project: &str, services: &[String]) -> Result<(), Error> {
        if services.is_empty() {
            return Ok(());
        }
        let (runner, services) = (self.runner(project), services.to_vec());
        blocking(move || runner.down(&DownOptions { services, ..DownOptions::default() })).await
    }

    /// Work on `project`, with someone to tell of each step.
    #[must_use]
    pub fn runner_with_observer(
        &self,
        project: &str,
        observer: Arc<dyn Fn(&ProjectEvent) + Send + Sync>,
    ) -> ProjectRunner {
        self.runner(project).with_observer(observer)
    }

    fn runner(&self, project: &str) -> ProjectRunner {
        ProjectRunner::new(self.launcher.clone(), self.images.clone(), project)
    }
}

/// A configuration with or without a place of its own.
#[derive(Clone, Debug)]
pub enum ProjectSource {
    /// One that was loaded from files.
    Loaded(Box<Project>),
    /// One that a program built; relative paths begin at the current directory.
    Built(Box<Monocore>),
}

impl From<Monocore> for ProjectSource {
    fn from(config: Monocore) -> Self {
        Self::Built(Box::new(config))
    }
}

impl From<Project> for ProjectSource {
    fn from(project: Project) -> Self {
        Self::Loaded(Box::new(project))
    }
}

impl ProjectSource {
    fn project(self) -> Result<Project, Error> {
        match self {
            Self::Loaded(project) => Ok(*project),
            Self::Built(config) => {
                let name = config.name.clone().unwrap_or_else(|| UNNAMED.to_owned());
                Ok(Project::new(name, ".", *config)?)
            }
        }
    }
}

/// Runs what blocks beside the asynchronous threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => Err(Error::Cancelled),
        },
    }
}

/// Removes rotated logs of `members` that are older than `retention` allows.
fn remove_old_logs(members: &[Member], retention: LogRetentionPolicy) -> Result<(), Error> {
    let Some(oldest) = retention.max_age.and_then(|age| SystemTime::now().checked_sub(age)) else {
        return Ok(());
    };
    members
        .iter()
        .filter_map(|member| member.entry.kept.as_ref())
        .try_for_each(|kept| crate::logs::remove_rotated_before(&kept.log(), oldest))
}
