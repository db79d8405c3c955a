//! Projects: several sandboxes that are described, started and removed together.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use monocore_orchestrator::config::Condition;
use monocore_orchestrator::spec::{self, GroupMembership, HealthSpec, HealthTest, NetworkMode};
use monocore_orchestrator::{
    DownOptions, Images, Instance, LABEL_GROUPS, LABEL_PROJECT, Member, Need, ProjectEvent, ProjectRunner,
    ServiceStep, UpOptions,
};
use rustix::event::{PollFd, PollFlags, poll};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::watch;

use super::create::Wish;
use super::{Kind, McpTool, show};
use crate::context::Context;
use crate::error::ToolError;
use crate::images;
use crate::policy::Policy;
use crate::work::{Call, Interrupt};

/// The group of all services of a project.
const GROUP: &str = "default";

pub(super) fn tools() -> Vec<McpTool> {
    vec![
        McpTool::new(
            "project_up",
            "Start a project",
            Kind::Runs,
            "Starts several sandboxes that belong together, such as a web server and its database, in the order of their \
             needs. Services reach each other by their names. Called again with another description, it changes what \
             differs. If a part fails, what this call started is stopped.",
            up,
        ),
        McpTool::new(
            "project_down",
            "Remove a project",
            Kind::Destroys,
            "Stops the sandboxes of a project, or of some of its services, in reverse order of their needs, and removes \
             them with their files.",
            down,
        ),
        McpTool::new(
            "project_status",
            "Show a project",
            Kind::Reads,
            "Lists the sandboxes of a project, or of all projects, by service, one JSON object a line, with status, exit code \
             and ports.",
            status,
        ),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Up {
    /// Name of the project
    #[schemars(length(min = 1, max = 63))]
    project: String,
    /// Its services
    #[schemars(length(min = 1, max = 16))]
    services: Vec<Service>,
    /// Wait until services with a health check are healthy
    #[serde(default)]
    wait: bool,
}

/// A service of a project.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Service {
    /// Its name, by which other services reach it
    #[schemars(length(min = 1, max = 63))]
    service: String,
    /// Its sandbox. Without `command` it runs the image's own command
    sandbox: Wish,
    /// Services that must be ready before it starts
    #[serde(default)]
    #[schemars(length(max = 16))]
    depends_on: Vec<Dependency>,
    /// Script for sh -c that tells by exit code 0 that the service is healthy
    #[schemars(length(min = 1, max = 16_384))]
    health_script: Option<String>,
    /// Seconds between health checks; default 30
    #[schemars(range(min = 1, max = 3_600))]
    health_interval_seconds: Option<u64>,
}

/// A service that must be ready first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Dependency {
    /// The other service
    #[schemars(length(min = 1, max = 63))]
    service: String,
    /// started: it runs; healthy: its health check says so; completed: it ended with exit code 0
    #[serde(default)]
    condition: ReadyWhen,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ReadyWhen {
    #[default]
    Started,
    Healthy,
    Completed,
}

impl Service {
    fn instance(mut self, project: &str, policy: &Policy) -> Result<Instance, ToolError> {
        let at = format!("services.{}", self.service);
        let name = |text: &str| spec::parse_name(text).map_err(|error| ToolError::value(&at, error));
        let service = name(&self.service)?;
        let sandbox = match &self.sandbox.name {
            Some(own) => name(own)?,
            None => format!("{project}-{service}-1"),
        };
        // A service runs what its image is made for.
        self.sandbox.command.get_or_insert_default();
        let mut made =
            self.sandbox.spec(policy).map_err(|error| ToolError::new(format!("{at}: {}", error.0)))?;
        if made.network.mode == NetworkMode::None {
            made.network.mode = NetworkMode::Nat;
            made.network.policy.reach = monocore_spec::Reach::Group;
        }
        made.network.groups = vec![GroupMembership {
            project: Some(project.to_owned()),
            aliases: vec![service.clone()],
            ..GroupMembership::new(GROUP)
        }];
        made.labels.insert(LABEL_GROUPS.to_owned(), GROUP.to_owned());
        made.health = self.health_script.map(|script| HealthSpec {
            test: Some(HealthTest::Shell(script)),
            interval: self.health_interval_seconds.map(Duration::from_secs),
            ..HealthSpec::default()
        });
        // Services of a project go on though nobody asks for them.
        made.limits.idle_timeout = self.sandbox.idle_timeout_seconds.map(Duration::from_secs);
        let need = |dependency: Dependency| Need {
            service: dependency.service,
            condition: match dependency.condition {
                ReadyWhen::Started => Condition::Started,
                ReadyWhen::Healthy => Condition::Healthy,
                ReadyWhen::Completed => Condition::Completed,
            },
            required: true,
        };
        let needs = self.depends_on.into_iter().map(need).collect();
        Ok(Instance::new(project, &service, 1, needs, made, sandbox)?)
    }
}

/// Judges what services need: others that are there, and no circle.
fn check_needs(instances: &[Instance]) -> Result<(), ToolError> {
    let mut ready: Vec<&str> = Vec::new();
    let mut left: Vec<&Instance> = instances.iter().collect();
    for (index, instance) in instances.iter().enumerate() {
        if instances[..index].iter().any(|other| other.service == instance.service) {
            return Err(ToolError::value("services", format!("{} is named twice", instance.service)));
        }
        let is_known = |need: &&Need| !instances.iter().any(|other| other.service == need.service);
        if let Some(need) = instance.needs.iter().find(is_known) {
            let problem = format!("no such service: {}", need.service);
            return Err(ToolError::value(&format!("services.{}.depends_on", instance.service), problem));
        }
    }
    while !left.is_empty() {
        let before = left.len();
        left.retain(|instance| {
            let is_ready = instance.needs.iter().all(|need| ready.contains(&need.service.as_str()));
            if is_ready {
                ready.push(&instance.service);
            }
            !is_ready
        });
        if left.len() == before {
            let names: Vec<_> = left.iter().map(|instance| instance.service.as_str()).collect();
            let problem = format!("services that need each other: {}", names.join(", "));
            return Err(ToolError::value("services", problem));
        }
    }
    Ok(())
}

async fn up(call: Call, wanted: Up) -> Result<String, ToolError> {
    let project = spec::parse_name(&wanted.project).map_err(|error| ToolError::value("project", error))?;
    let policy = &call.context.policy;
    let names: Vec<_> = wanted.services.iter().map(|service| service.sandbox.image.clone()).collect();
    let instances = wanted.services.into_iter().map(|service| service.instance(&project, policy));
    let instances = instances.collect::<Result<Vec<_>, _>>()?;
    check_needs(&instances)?;
    for image in &names {
        images::ensure(&call, image).await?;
    }
    let (told, seen) = watch::channel(0);
    let step = Arc::new(Mutex::new(String::new()));
    let last = Arc::clone(&step);
    let _told = call.tell(seen, move |_| last.lock().unwrap_or_else(PoisonError::into_inner).clone());
    let work = move |context: &Context, interrupt: &Interrupt| {
        let observer = move |event: &ProjectEvent| {
            *step.lock().unwrap_or_else(PoisonError::into_inner) = describe(event);
            told.send_modify(|steps| *steps += 1);
        };
        let runner = runner(context, &project).with_observer(Arc::new(observer));
        let known = own_members(context, &runner)?;
        let is_new = |instance: &&Instance| !known.iter().any(|member| member.service == instance.service);
        let _room = context.room_for(instances.iter().filter(is_new).count())?;
        let options = UpOptions { wait: wanted.wait, remove_orphans: true, ..UpOptions::default() };
        let members = interruptible(interrupt, &runner, || Ok(runner.up(&instances, &options)?))?;
        listed(&project, members)
    };
    call.blocking(None, work).await
}

/// Does `work`, and interrupts the runner when the call is over.
fn interruptible<T>(
    interrupt: &Interrupt,
    runner: &ProjectRunner,
    work: impl FnOnce() -> Result<T, ToolError>,
) -> Result<T, ToolError> {
    let over = interrupt.descriptor()?;
    let (working, done) = UnixStream::pair()?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut fds = [PollFd::new(&over, PollFlags::IN), PollFd::new(&done, PollFlags::IN)];
            while let Err(rustix::io::Errno::INTR) = poll(&mut fds, None) {}
            if !fds[0].revents().is_empty()
                && fds[1].revents().is_empty()
                && let Err(error) = runner.interrupt(true)
            {
                tracing::warn!(%error, "a project of a cancelled call is not stopped");
            }
        });
        let result = work();
        drop(working);
        result
    })
}

fn describe(event: &ProjectEvent) -> String {
    let step = match &event.step {
        ServiceStep::Kept => "unchanged".to_owned(),
        ServiceStep::Waiting { needed } => format!("waits for {needed}"),
        ServiceStep::Failed { message } => format!("failed: {message}"),
        step => format!("{step:?}").to_lowercase(),
    };
    format!("{}: {step}", event.service)
}

fn runner(context: &Context, project: &str) -> ProjectRunner {
    let images = Images::new(context.home()).with_check_before_pull(context.host.before_pull);
    ProjectRunner::new(context.host.launcher.clone(), images, project)
}

/// The members of a project that tools see as a whole.
fn own_members(context: &Context, runner: &ProjectRunner) -> Result<Vec<Member>, ToolError> {
    let members = runner.members()?;
    if members.iter().any(|member| !context.sees(&member.entry)) {
        let problem =
            format!("{} is taken by a project of somebody else: choose another name", runner.project());
        return Err(ToolError::value("project", problem));
    }
    Ok(members)
}

fn listed(project: &str, members: Vec<Member>) -> Result<String, ToolError> {
    let entries: Vec<_> = members.into_iter().map(|member| member.entry).collect();
    show::listing(&entries, &format!("project {project} has no sandboxes"))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Down {
    /// Name of the project
    #[schemars(length(min = 1, max = 63))]
    project: String,
    /// Only these services
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    services: Vec<String>,
}

async fn down(call: Call, wanted: Down) -> Result<String, ToolError> {
    let project = spec::parse_name(&wanted.project).map_err(|error| ToolError::value("project", error))?;
    let work = move |context: &Context, _: &Interrupt| {
        let runner = runner(context, &project);
        if own_members(context, &runner)?.is_empty() {
            return Ok(format!("project {project} has no sandboxes"));
        }
        let services = wanted.services;
        runner.down(&DownOptions { services, ..DownOptions::default() })?;
        let left = runner.members()?;
        if left.is_empty() {
            return Ok(format!("project {project} is removed"));
        }
        listed(&project, left)
    };
    call.blocking(None, work).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Status {
    /// Name of the project; all if absent
    #[schemars(length(min = 1, max = 63))]
    project: Option<String>,
}

async fn status(call: Call, wanted: Status) -> Result<String, ToolError> {
    let work = move |context: &Context, _: &Interrupt| {
        let mut entries = context.list()?;
        entries.retain(|entry| match (entry.labels.get(LABEL_PROJECT), &wanted.project) {
            (Some(found), Some(project)) => found == project,
            (found, None) => found.is_some(),
            (None, Some(_)) => false,
        });
        show::listing(&entries, "no sandboxes of projects")
    };
    call.blocking(None, work).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn instances(services: serde_json::Value) -> Result<Vec<Instance>, String> {
        let services: Vec<Service> = serde_json::from_value(services).unwrap();
        let policy = Policy::default();
        let made = services.into_iter().map(|service| service.instance("p", &policy));
        let made = made.collect::<Result<Vec<_>, _>>().map_err(|error| error.0)?;
        check_needs(&made).map_err(|error| error.0)?;
        Ok(made)
    }

    #[test]
    fn services_are_sandboxes_in_one_group() {
        let made = instances(json!([
            {"service": "db", "sandbox": {"image": "a", "network": {"reach": "none"}}, "health_script": "true"},
            {"service": "web", "sandbox": {"image": "b"}, "depends_on": [{"service": "db", "condition": "healthy"}]},
        ]))
        .unwrap();
        let [db, web] = &made[..] else { panic!() };
        assert_eq!((db.name(), web.name()), ("p-db-1", "p-web-1"));
        assert_eq!(
            db.spec.network.policy.reach,
            monocore_spec::Reach::Group,
            "it must be reached by the other"
        );
        assert_eq!(web.spec.network.groups[0].aliases, ["web"]);
        assert_eq!(
            (web.needs[0].condition, db.spec.process.entrypoint.is_none()),
            (Condition::Healthy, true)
        );
        assert!(db.spec.labels.contains_key(crate::LABEL_MCP));
    }

    #[test]
    fn circles_strangers_and_doubles_are_refused() {
        let service = |name: &str, needs: &[&str]| {
            let needs: Vec<_> = needs.iter().map(|need| json!({"service": need})).collect();
            json!({"service": name, "sandbox": {"image": "a"}, "depends_on": needs})
        };
        let cases = [
            (
                json!([service("a", &["b"]), service("b", &["a"])]),
                "services: services that need each other: a, b",
            ),
            (json!([service("a", &["x"])]), "services.a.depends_on: no such service: x"),
            (json!([service("a", &[]), service("a", &[])]), "services: a is named twice"),
            (json!([service("../a", &[])]), "services.../a: "),
        ];
        for (services, expected) in cases {
            let error = instances(services).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
