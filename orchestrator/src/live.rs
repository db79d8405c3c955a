//! What of a sandbox is changed while it runs, without a restart.
//!
//! A change reaches the running sandbox first and its record last. So whoever is killed in between finds the same
//! difference again, and does the same again.

use monocore_protocol::{CpuMax, GuestLimits};
use serde::{Deserialize, Serialize};

use crate::registry::SandboxEntry;
use crate::spec::{HealthSpec, LimitsSpec, MachineSpec, RestartPolicy, SandboxSpec, StopSpec};
use crate::{ControlClient, Error, Home, KeptSandbox, Record, registry};

/// The period of a limit on CPU time, Docker's.
const CPU_PERIOD_US: u32 = 100_000;

/// What a machine was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSize {
    /// Processors.
    pub vcpus: u8,
    /// RAM, MiB.
    pub ram_mib: u32,
}

impl MachineSize {
    /// That of a machine made of `spec`.
    pub(crate) fn of(spec: &MachineSpec) -> Self {
        Self { vcpus: spec.vcpus, ram_mib: spec.ram_mib }
    }

    /// Whether a machine of this size has room for the limits of `spec`.
    pub(crate) fn holds(self, spec: &MachineSpec) -> bool {
        spec.vcpus <= self.vcpus && spec.ram_mib <= self.ram_mib
    }

    /// What the guest is told, so that its commands have as much as `limits` say of a machine of this size.
    pub(crate) fn guest_limits(self, limits: &MachineLimits) -> GuestLimits {
        let fewer = limits.vcpus < self.vcpus;
        let millis = limits.cpu_millis.or_else(|| fewer.then(|| u32::from(limits.vcpus) * 1000));
        let less = limits.ram_mib < self.ram_mib;
        GuestLimits {
            cpu_max: millis.map(cpu_max),
            memory_max_bytes: less.then(|| u64::from(limits.ram_mib) << 20),
            pids_max: limits.pids_limit,
        }
    }
}

/// A limit on CPU time of so many thousandths of one processor.
pub(crate) fn cpu_max(millis: u32) -> CpuMax {
    CpuMax { quota_us: millis * (CPU_PERIOD_US / 1000), period_us: CPU_PERIOD_US }
}

/// What of a machine the guest can give its commands less of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MachineLimits {
    pub(crate) vcpus: u8,
    pub(crate) cpu_millis: Option<u32>,
    pub(crate) ram_mib: u32,
    pub(crate) pids_limit: Option<u64>,
}

impl MachineLimits {
    pub(crate) fn of(spec: &MachineSpec) -> Self {
        let MachineSpec { vcpus, cpu_millis, ram_mib, pids_limit, .. } = *spec;
        Self { vcpus, cpu_millis, ram_mib, pids_limit }
    }

    /// Puts these limits into `spec`.
    pub(crate) fn put(self, spec: &mut MachineSpec) {
        let Self { vcpus, cpu_millis, ram_mib, pids_limit } = self;
        (spec.vcpus, spec.cpu_millis, spec.ram_mib, spec.pids_limit) =
            (vcpus, cpu_millis, ram_mib, pids_limit);
    }
}

/// What of a sandbox is its supervisor's alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LifeSettings {
    pub(crate) restart: RestartPolicy,
    pub(crate) health: Option<HealthSpec>,
    pub(crate) limits: LimitsSpec,
    pub(crate) stop: StopSpec,
}

impl LifeSettings {
    pub(crate) fn of(spec: &SandboxSpec) -> Self {
        Self {
            restart: spec.restart,
            health: spec.health.clone(),
            limits: spec.limits.clone(),
            stop: spec.stop.clone(),
        }
    }

    /// Puts these settings into `spec`.
    pub(crate) fn put(self, spec: &mut SandboxSpec) {
        let Self { restart, health, limits, stop } = self;
        (spec.restart, spec.health, spec.limits, spec.stop) = (restart, health, limits, stop);
    }
}

/// What became of a wish for other limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// All of it holds.
    Now,
    /// The machine has not as many processors or as much memory: its next start has.
    AtNextStart,
}

/// Gives a running sandbox the settings and limits of `new` where they differ from `old`.
///
/// # Errors
/// The sandbox is paused or being started again, its processes use more memory than they may have, or the connection's.
pub(crate) fn apply(
    home: &Home,
    running: &Record,
    old: &SandboxSpec,
    new: &SandboxSpec,
) -> Result<Applied, Error> {
    let limits = MachineLimits::of(&new.machine);
    let differs = MachineLimits::of(&old.machine) != limits;
    let holds = running.size.is_some_and(|size| size.holds(&new.machine));
    if differs && holds {
        ControlClient::connect(home, running)?.set_limits(limits)?;
    }
    let settings = LifeSettings::of(new);
    if LifeSettings::of(old) != settings {
        ControlClient::connect(home, running)?.set_life(settings)?;
    }
    Ok(if differs && !holds { Applied::AtNextStart } else { Applied::Now })
}

/// Changes the description of a kept sandbox. If it runs, it has its new settings and limits at once where its machine
/// has room for them.
///
/// # Errors
/// The description is wrong, the sandbox is paused or being started again, its processes use more memory than they may
/// have, or the record cannot be written.
pub fn update(
    home: &Home,
    entry: &SandboxEntry,
    kept: &KeptSandbox,
    change: impl Fn(&mut SandboxSpec),
) -> Result<Applied, Error> {
    let old = &kept.record().spec;
    let mut new = old.clone();
    change(&mut new);
    new.validate()?;
    let running = entry.running.as_ref();
    let applied = running.map_or(Ok(Applied::Now), |running| apply(home, running, old, &new))?;
    registry::update(home, kept, change)?;
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(vcpus: u8, cpu_millis: Option<u32>, ram_mib: u32) -> MachineLimits {
        MachineLimits { vcpus, cpu_millis, ram_mib, pids_limit: Some(7) }
    }

    #[test]
    fn a_machine_gives_its_commands_as_much_as_it_has_or_less() {
        let size = MachineSize { vcpus: 2, ram_mib: 512 };
        let whole = GuestLimits { pids_max: Some(7), ..GuestLimits::default() };
        assert_eq!(size.guest_limits(&limits(2, None, 512)), whole);
        let cpu = |quota_us| Some(CpuMax { quota_us, period_us: 100_000 });
        assert_eq!(size.guest_limits(&limits(1, None, 512)), GuestLimits { cpu_max: cpu(100_000), ..whole });
        assert_eq!(size.guest_limits(&limits(2, Some(1500), 512)).cpu_max, cpu(150_000));
        assert_eq!(size.guest_limits(&limits(1, Some(250), 512)).cpu_max, cpu(25_000));
        assert_eq!(size.guest_limits(&limits(2, None, 256)).memory_max_bytes, Some(256 << 20));
        let spec = |vcpus, ram_mib| MachineSpec { vcpus, ram_mib, ..MachineSpec::default() };
        assert!(size.holds(&spec(2, 512)) && size.holds(&spec(1, 64)));
        assert!(!size.holds(&spec(3, 64)) && !size.holds(&spec(1, 513)));
    }
}
