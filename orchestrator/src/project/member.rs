//! The sandboxes of a project: as they are to be, and as they are.

use super::labels::{LABEL_NEEDS, LABEL_NUMBER, LABEL_PROJECT, LABEL_SERVICE, read_needs, write_needs};
use crate::config::Condition;
use crate::spec::SandboxSpec;
use crate::{Error, Home, SandboxEntry, registry};

/// One sandbox of a project as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The service.
    pub service: String,
    /// The number of the replica, from 1.
    pub number: u32,
    /// What must be ready before it starts.
    pub needs: Vec<Need>,
    /// The sandbox. Its name and the labels of the project are set by [`Instance::new`].
    pub spec: SandboxSpec,
}

/// A service that must be ready before another one starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The service that is needed.
    pub service: String,
    /// When it is ready.
    pub condition: Condition,
    /// Whether the other service fails with this one.
    pub required: bool,
}

impl Instance {
    /// The replica `number` of `service` in `project`, as the sandbox of `spec` with the name `name`.
    ///
    /// # Errors
    /// The current directory is gone, and `spec` has relative paths.
    pub fn new(
        project: &str,
        service: &str,
        number: u32,
        needs: Vec<Need>,
        mut spec: SandboxSpec,
        name: String,
    ) -> Result<Self, Error> {
        spec.make_absolute()?;
        spec.name = Some(name);
        let label = |key: &str, value: String| (key.to_owned(), value);
        spec.labels.extend([
            label(LABEL_PROJECT, project.to_owned()),
            label(LABEL_SERVICE, service.to_owned()),
            label(LABEL_NUMBER, number.to_string()),
            label(LABEL_NEEDS, write_needs(&needs)),
        ]);
        Ok(Self { service: service.to_owned(), number, needs, spec })
    }

    /// The sandbox's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.spec.name.as_deref().unwrap_or_default()
    }
}

/// One sandbox of a project as it is.
#[derive(Clone, Debug)]
pub struct Member {
    /// The service.
    pub service: String,
    /// The number of the replica, from 1.
    pub number: u32,
    /// What it needed when it was made.
    pub needs: Vec<Need>,
    /// The sandbox.
    pub entry: SandboxEntry,
}

impl Member {
    /// What `entry` is in its project; nothing if it belongs to none.
    fn new(entry: SandboxEntry) -> Option<Self> {
        let service = entry.labels.get(LABEL_SERVICE)?.clone();
        let number = entry.labels.get(LABEL_NUMBER).and_then(|text| text.parse().ok()).unwrap_or(1);
        Some(Self { service, number, needs: read_needs(&entry.labels), entry })
    }

    /// Whether its command runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.entry.running.is_some()
    }
}

/// The members of `project`, by service and number.
pub(super) fn of_project(home: &Home, project: &str) -> Result<Vec<Member>, Error> {
    let is_member =
        |entry: &SandboxEntry| entry.labels.get(LABEL_PROJECT).is_some_and(|name| name == project);
    let all = registry::list(home)?.into_iter().filter(is_member);
    let mut members: Vec<_> = all.filter_map(Member::new).collect();
    members.sort_by(|a, b| (&a.service, a.number).cmp(&(&b.service, b.number)));
    Ok(members)
}

/// The only sandbox of `service` in `project`, if there is one.
///
/// # Errors
/// The service has several; or the state directory cannot be read.
pub fn find_service(home: &Home, project: &str, service: &str) -> Result<Option<SandboxEntry>, Error> {
    let mut members = of_project(home, project)?;
    members.retain(|member| member.service == service);
    if members.len() > 1 {
        let names: Vec<_> = members.into_iter().map(|member| member.entry.name).collect();
        return Err(Error::Replicas { service: service.to_owned(), names: names.join(", ") });
    }
    Ok(members.pop().map(|member| member.entry))
}
