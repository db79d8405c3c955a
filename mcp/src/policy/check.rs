//! Whether a sandbox is one that an agent may have.

use std::time::Duration;

use monocore_orchestrator::spec::{
    MountSource, MountSpec, NetworkMode, NetworkSpec, RootSource, SandboxSpec,
};
use monocore_spec::{Action, NetTarget, Reach};

use super::{Policy, Publish};
use crate::LABEL_MCP;
use crate::error::ToolError;

impl Policy {
    /// Judges a sandbox, and gives it the label and the limits that it must have.
    ///
    /// # Errors
    /// The policy forbids a part of it.
    pub(crate) fn admit(&self, spec: &mut SandboxSpec) -> Result<(), ToolError> {
        let RootSource::Image(_) = &spec.root.source else {
            return Err(ToolError::policy("image", "a directory of the host cannot be a root file system"));
        };
        self.machine(spec)?;
        spec.mounts.iter_mut().try_for_each(|mount| self.mount(mount))?;
        self.network(&mut spec.network)?;
        let own = (spec.machine.kernel.is_none() && spec.machine.timeline.is_none())
            && spec.publish_sockets.is_empty();
        if !own {
            return Err(ToolError::new("a sandbox of an MCP client uses no files or sockets of the host"));
        }
        let most = Duration::from_secs(self.time.max_sandbox_seconds);
        spec.limits.max_duration = Some(spec.limits.max_duration.map_or(most, |time| time.min(most)));
        let idle = (self.time.idle_seconds > 0).then(|| Duration::from_secs(self.time.idle_seconds));
        spec.limits.idle_timeout = match (spec.limits.idle_timeout, idle) {
            (Some(wanted), Some(most)) => Some(wanted.min(most)),
            (wanted, most) => wanted.or(most),
        };
        spec.labels.insert(LABEL_MCP.to_owned(), "1".to_owned());
        Ok(())
    }

    fn machine(&self, spec: &SandboxSpec) -> Result<(), ToolError> {
        let limits = &self.sandboxes;
        let machine = &spec.machine;
        if machine.ram_mib > limits.max_memory_mib {
            let problem = format!("{} is more than {}", machine.ram_mib, limits.max_memory_mib);
            return Err(ToolError::policy("memory_mib", problem));
        }
        if machine.vcpus > limits.max_cpus {
            return Err(ToolError::policy(
                "cpus",
                format!("{} is more than {}", machine.vcpus, limits.max_cpus),
            ));
        }
        match spec.root.disk_bytes {
            Some(bytes) if bytes > limits.max_disk_gib << 30 => {
                let problem = format!("{} is more than {}", bytes.div_ceil(1 << 30), limits.max_disk_gib);
                Err(ToolError::policy("disk_gib", problem))
            }
            _ => Ok(()),
        }
    }

    fn mount(&self, mount: &mut MountSpec) -> Result<(), ToolError> {
        let read_only = mount.read_only;
        match &mut mount.source {
            MountSource::Bind { path, create } => {
                let shown = path.display().to_string();
                *path = self.mountable("mounts", &shown, !read_only)?;
                *create = false;
                Ok(())
            }
            MountSource::Volume(name) if !self.volumes.allow.matches(name) => {
                let allowed = self.volumes.allow.list();
                Err(ToolError::policy("mounts", format!("volume {name} does not match {allowed}")))
            }
            MountSource::Socket(path) => {
                let problem = format!("{} is a socket of the host", path.display());
                Err(ToolError::policy("mounts", problem))
            }
            MountSource::Volume(_) | MountSource::Anonymous | MountSource::Tmpfs(_) => Ok(()),
        }
    }

    fn network(&self, network: &mut NetworkSpec) -> Result<(), ToolError> {
        let allowed = &self.network;
        match &network.mode {
            NetworkMode::None => return Ok(()),
            NetworkMode::Nat | NetworkMode::Tsi => {}
            NetworkMode::Tap(_) | NetworkMode::Passt(_) => {
                return Err(ToolError::policy("network", "only monocore's own networks can be used"));
            }
        }
        if rank(network.policy.reach) > rank(allowed.reach) {
            let (wanted, most) = (name(network.policy.reach), name(allowed.reach));
            return Err(ToolError::policy("network.reach", format!("{wanted} is more than {most}")));
        }
        for rule in network.policy.rules.iter().filter(|rule| rule.action == Action::Allow) {
            if rule.target == NetTarget::Host && !allowed.host {
                return Err(ToolError::policy("network.allow", "services of the host cannot be reached"));
            }
            // A rule may reach further than the reach itself: to private addresses, where it names them.
            let needed = if rule.target == NetTarget::Any { Reach::Public } else { Reach::Any };
            if rule.target != NetTarget::Host && rank(needed) > rank(allowed.reach) {
                let problem = format!("a rule that allows needs the reach {}", name(needed));
                return Err(ToolError::policy("network.allow", problem));
            }
        }
        let is_published = !network.publish.is_empty() || network.publish_exposed;
        match allowed.publish {
            Publish::None if is_published => Err(ToolError::policy("ports", "no port can be published")),
            Publish::Loopback if network.publish.iter().any(|port| !port.address.is_loopback()) => {
                Err(ToolError::policy("ports", "ports can be published on loopback only"))
            }
            _ => Ok(()),
        }
    }

    /// What a sandbox reaches that says nothing.
    pub(crate) fn default_reach(&self) -> Reach {
        let most = self.network.reach;
        self.network.default.unwrap_or(if rank(most) < rank(Reach::Public) { most } else { Reach::Public })
    }
}

/// How far a reach goes.
pub(super) fn rank(reach: Reach) -> u8 {
    match reach {
        Reach::None => 0,
        Reach::Group => 1,
        Reach::Public => 2,
        Reach::Any => 3,
    }
}

fn name(reach: Reach) -> &'static str {
    match reach {
        Reach::None => "none",
        Reach::Group => "group",
        Reach::Public => "public",
        Reach::Any => "any",
    }
}
