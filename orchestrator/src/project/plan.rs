//! What `up` has to do: a comparison of descriptions with what there is.

use std::collections::BTreeMap;

use super::{Instance, Member, Need};
use crate::live::{MachineLimits, MachineSize};
use crate::spec::{MachineSpec, NetworkSpec, SandboxSpec};

/// What happens to one sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is none yet.
    Create,
    /// The sandbox there is differs in these parts of its description, and is replaced.
    Recreate(Vec<String>),
    /// The sandbox there is differs in these parts only, which are changed without a restart.
    Update(Vec<String>),
    /// The sandbox there is differs in parts that are changed without a restart and in these, for which its machine is
    /// too small: it is stopped and started again with its disk.
    Restart(Vec<String>),
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
                    let is_live = different.iter().all(|part| LIVE.contains(&part.as_str()));
                    let too_large = too_large(instance, member);
                    match (different.is_empty(), rules.recreate, member.is_running()) {
                        (true, true, _) => Change::Recreate(Vec::new()),
                        (false, false, true) if is_live && !too_large.is_empty() => {
                            Change::Restart(too_large)
                        }
                        (false, false, _) if is_live => Change::Update(different),
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
    if let Some(limits) = differing_limits(&record.spec.machine, &instance.spec.machine)
        && let Some(place) = parts.iter().position(|part| part == "machine")
    {
        parts.splice(place..=place, limits);
    }
    let image = image_of(&instance.spec);
    if image.is_some() && record.image.is_some() && image != record.image {
        parts.push("image".to_owned());
    }
    parts
}

/// The part of a description that is the published ports alone.
pub(super) const PORTS: &str = "ports";

/// The parts of a machine that its guest can give its commands less of.
const CPUS: &str = "cpus";
const MEMORY: &str = "memory";
const PIDS: &str = "pids_limit";

/// The parts that can be changed while the sandbox runs.
const LIVE: [&str; 9] = [PORTS, CPUS, MEMORY, PIDS, "restart", "labels", "health", "limits", "stop"];

/// The limits in which two machines differ, if they differ in nothing else.
fn differing_limits(old: &MachineSpec, new: &MachineSpec) -> Option<Vec<String>> {
    let (ours, theirs) = (MachineLimits::of(old), MachineLimits::of(new));
    let mut changed = old.clone();
    theirs.put(&mut changed);
    let differing = [
        (CPUS, (ours.vcpus, ours.cpu_millis) != (theirs.vcpus, theirs.cpu_millis)),
        (MEMORY, ours.ram_mib != theirs.ram_mib),
        (PIDS, ours.pids_limit != theirs.pids_limit),
    ];
    let names = differing.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned());
    (changed == *new).then(|| names.collect())
}

/// What of the description the machine that runs has too little of.
fn too_large(instance: &Instance, member: &Member) -> Vec<String> {
    let Some(running) = &member.entry.running else { return Vec::new() };
    let wanted = MachineSize::of(&instance.spec.machine);
    let size = running.size.unwrap_or(MachineSize { vcpus: 0, ram_mib: 0 });
    let too_large = [(CPUS, wanted.vcpus > size.vcpus), (MEMORY, wanted.ram_mib > size.ram_mib)];
    too_large.into_iter().filter(|(_, too_large)| *too_large).map(|(name, _)| name.to_owned()).collect()
}

/// Whether two networks differ in the ports that are published, each of which says where on this host.
fn only_ports_differ(old: &NetworkSpec, new: &NetworkSpec) -> bool {
    let same_ports = NetworkSpec { publish: new.publish.clone(), ..old.clone() };
    let is_fixed = |spec: &NetworkSpec| spec.publish.iter().all(|port| port.host_port != 0);
    old != new && same_ports == *new && new.mode.is_ours() && is_fixed(old) && is_fixed(new)
}
