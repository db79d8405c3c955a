//! What a running machine counts.

use std::sync::Arc;

use monocore_virtio::Counters;

use crate::BusCounts;
use crate::devices::Made;

/// Counters of a machine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Accesses that left the guest for this process.
    pub bus: BusCounts,
    /// Each device's own, in the order of the specification.
    pub devices: Vec<DeviceMetrics>,
}

/// Counters of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceMetrics {
    /// Its position in the specification; a network card comes last.
    pub index: usize,
    /// Its kind, as [`ThreadKind`](crate::ThreadKind) names it.
    pub kind: &'static str,
    /// Names and values, always in the same order; units are in the names.
    pub counters: Vec<(&'static str, u64)>,
}

impl DeviceMetrics {
    /// The counter of a name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.counters.iter().find(|(own, _)| *own == name).map(|(_, value)| *value)
    }
}

/// The devices' counters, read without their locks.
pub(super) struct Counted(Vec<One>);

/// A device's kind and its counters, if it has any.
type One = (&'static str, Option<Arc<dyn Counters>>);

impl Counted {
    pub(super) fn of(devices: &[Made]) -> Self {
        Self(devices.iter().map(|made| (made.kind.name(), made.counters.clone())).collect())
    }

    pub(super) fn read(&self, bus: BusCounts) -> Metrics {
        let read = |(index, (kind, counters)): (usize, &One)| {
            let counters = counters.as_ref().map_or_else(Vec::new, |counters| counters.read());
            DeviceMetrics { index, kind, counters }
        };
        Metrics { bus, devices: self.0.iter().enumerate().map(read).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachments::Attachments;
    use crate::devices::make_all;

    #[test]
    fn every_device_counts_and_is_named() {
        let text = r#"{"version":1,"name":"m","vcpus":1,"ram":{"size_mib":32},"kernel":{"image":{"fd":0}},"devices":[
            "rng",
            {"block":{"serial":"d","backend":{"concat":{"parts":[]}}}},
            {"fs":{"tag":"t","shares":[]}},
            {"console":{"output":"discard"}},
            {"net":{"nat":{"mac":[2,0,0,0,0,1],"proxy":{"resolvers":["127.0.0.1"]}}}}]}"#;
        let spec: monocore_spec::VmSpec = serde_json::from_str(text).unwrap();
        let made = make_all(&spec, &mut Attachments::default()).unwrap();
        let metrics = Counted::of(&made).read(BusCounts::default());
        let kinds: Vec<_> = metrics.devices.iter().map(|device| (device.index, device.kind)).collect();
        assert_eq!(kinds, [(0, "rng"), (1, "block"), (2, "fs"), (3, "console"), (4, "nat")]);
        for device in &metrics.devices {
            assert_eq!(device.get("guest_faults"), Some(0), "{}", device.kind);
            assert_eq!(device.get("no such"), None);
        }
    }
}
