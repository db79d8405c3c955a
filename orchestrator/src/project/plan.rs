//! What `up` has to do: a comparison of descriptions with what there is.

use std::collections::BTreeMap;

use super::{Instance, Member, Need};
use crate::spec::{NetworkSpec, SandboxSpec};

/// What happens to one sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is none yet.
    Create,
    /// The sandbox there is differs in these parts of its description, and is replaced.
    Recreate(Vec<String>),
    /// The sandbox there is differs in these parts only, which are changed without a restart.
    Update(Vec<String>),
    /// The sandbox is as described and does not run.
    Start,
    /// The sandbox is as described and runs.
    Keep,
    /// The description no longer has the sandbox.
    Remove,
}

/// One sandbox and what happens to it.
#[derive(Clone, Debug)]
pub struct PlannedStep {
    /// The service.
    pub service: String,
    /// The sandbox's name.
    pub name: String,
    /// What happens.
    pub change: Change,
    /// As it is to be; nothing for what is removed.
    pub instance: Option<Instance>,
    /// As it is; nothing for what is new.
    pub member: Option<Member>,
}

impl PlannedStep {
    /// What must be ready before the sandbox starts.
    pub(super) fn needs(&self) -> &[Need] {
        self.instance.as_ref().map_or(&[], |instance| &instance.needs)
    }
}

/// All that `up` has to do, in the order of the description; removals come last.
#[derive(Clone, Debug, Default)]
pub struct ProjectPlan {
    /// The steps.
    pub steps: Vec<PlannedStep>,
}

/// What decides about a plan besides the descriptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PlanRules<'a> {
    /// Only these services and what they need; all when empty.
    pub(super) services: &'a [String],
    /// Members that the description no longer has are removed.
    pub(super) remove_orphans: bool,
    /// Every sandbox is replaced.
    pub(super) recreate: bool,
}

impl ProjectPlan {
    /// Compares `wanted` with `members`. `image_of` gives the image that a description leads to now, if it is known
    /// without asking a registry.
    pub(super) fn make(
        wanted: &[Instance],
        members: &[Member],
        rules: PlanRules<'_>,
        image_of: impl Fn(&SandboxSpec) -> Option<String>,
    ) -> Self {
        let chosen = with_needed(wanted, rules.services);
        let mut steps = Vec::new();
        for instance in wanted.iter().filter(|instance| chosen.contains(&instance.service)) {
            let member = members.iter().find(|member| member.entry.name == instance.name());
            let change = match member {
                None => Change::Create,
                Some(member) => {
                    let different = differences(instance, member, &image_of);
                    match (different.is_empty(), rules.recreate, member.is_running()) {
                        (true, true, _) => Change::Recreate(Vec::new()),
                        (false, false, _) if different.iter().all(|part| is_live(part)) => {
                            Change::Update(different)
                        }
                        (false, ..) => Change::Recreate(different),
                        (true, false, false) => Change::Start,
                        (true, false, true) => Change::Keep,
                    }
                }
            };
            steps.push(PlannedStep {
                service: instance.service.clone(),
                name: instance.name().to_owned(),
                change,
                instance: Some(instance.clone()),
                member: member.cloned(),
            });
        }
        let is_wanted = |member: &Member| wanted.iter().any(|instance| instance.name() == member.entry.name);
        for member in members.iter().filter(|member| !is_wanted(member)) {
            // A replica too many goes at once, a service that is no longer described only when that was asked for.
            let is_replica = chosen.contains(&member.service);
            if is_replica || rules.remove_orphans {
                steps.push(PlannedStep {
                    service: member.service.clone(),
                    name: member.entry.name.clone(),
                    change: Change::Remove,
                    instance: None,
                    member: Some(member.clone()),
                });
            }
        }
        Self { steps }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| step.change == Change::Keep)
    }
}

/// `services` and all that they need; every service when none is named.
fn with_needed(wanted: &[Instance], services: &[String]) -> Vec<String> {
    let needs: BTreeMap<&str, &[Need]> =
        wanted.iter().map(|instance| (instance.service.as_str(), instance.needs.as_slice())).collect();
    if services.is_empty() {
        return needs.keys().map(|name| (*name).to_owned()).collect();
    }
    let mut chosen: Vec<String> = services.to_vec();
    let mut next = 0;
    while let Some(service) = chosen.get(next).cloned() {
        for need in needs.get(service.as_str()).copied().unwrap_or_default() {
            if !chosen.contains(&need.service) {
                chosen.push(need.service.clone());
            }
        }
        next += 1;
    }
    chosen
}

/// The parts in which a member differs from what it is to be.
fn differences(
    instance: &Instance,
    member: &Member,
    image_of: impl Fn(&SandboxSpec) -> Option<String>,
) -> Vec<String> {
    let Some(kept) = &member.entry.kept else { return vec!["kind".to_owned()] };
    let record = kept.record();
    let mut parts = record.spec.differing_parts(&instance.spec);
    if only_ports_differ(&record.spec.network, &instance.spec.network)
        && let Some(part) = parts.iter_mut().find(|part| *part == "network")
    {
        PORTS.clone_into(part);
    }
    let image = image_of(&instance.spec);
    if image.is_some() && record.image.is_some() && image != record.image {
        parts.push("image".to_owned());
    }
    parts
}

/// The part of a description that is the published ports alone.
pub(super) const PORTS: &str = "ports";

/// Whether a part can be changed while the sandbox runs. Its supervisor reads the restart policy when it needs it.
fn is_live(part: &str) -> bool {
    [PORTS, "restart", "labels"].contains(&part)
}

/// Whether two networks differ in the ports that are published, each of which says where on this host.
fn only_ports_differ(old: &NetworkSpec, new: &NetworkSpec) -> bool {
    let same_ports = NetworkSpec { publish: new.publish.clone(), ..old.clone() };
    let is_fixed = |spec: &NetworkSpec| spec.publish.iter().all(|port| port.host_port != 0);
    old != new && same_ports == *new && new.mode.is_ours() && is_fixed(old) && is_fixed(new)
}
