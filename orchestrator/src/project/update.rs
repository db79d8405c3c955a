//! Changes of a sandbox without a restart: published ports, limits, health checks, labels and the like.

use monocore_spec::PublishedPort;

use super::Member;
use crate::live::{self, LifeSettings, MachineLimits};
use crate::spec::SandboxSpec;
use crate::{ControlClient, Error, Home, KeptSandbox, NetworkRecord, Record, registry};

/// Brings a sandbox to what `spec` says, in the parts that can be changed so. Whatever a killed process has done of it
/// before is found and not done twice.
///
/// # Errors
/// A port is taken, and what was done of it is undone; or the record cannot be written.
pub(super) fn in_place(
    home: &Home,
    member: Option<&Member>,
    kept: &KeptSandbox,
    spec: &SandboxSpec,
) -> Result<(), Error> {
    let old = &kept.record().spec;
    if let Some(running) = member.and_then(|member| member.entry.running.as_ref()) {
        // The guest may refuse, so this comes first.
        live::apply(home, running, old, spec)?;
        let (old, new) = (&old.network.publish, &spec.network.publish);
        let PortChanges { closed, opened } = PortChanges::find(&bound(running), old, new);
        let mut undo = Undo { home, running, closed: Vec::new(), opened: Vec::new() };
        for port in closed {
            client(home, running)?.remove_port(port)?;
            undo.closed.push(port);
        }
        for port in opened {
            let added = client(home, running).and_then(|client| client.add_port(port));
            match added {
                Ok(port) => undo.opened.push(port),
                Err(error) => {
                    undo.undo();
                    return Err(error);
                }
            }
        }
    }
    registry::update(home, kept, |record| {
        record.network.publish.clone_from(&spec.network.publish);
        LifeSettings::of(spec).put(record);
        MachineLimits::of(&spec.machine).put(&mut record.machine);
        record.labels.clone_from(&spec.labels);
    })
}

fn client(home: &Home, running: &Record) -> Result<ControlClient, Error> {
    ControlClient::connect(home, running)
}

fn bound(running: &Record) -> Vec<PublishedPort> {
    match &running.network {
        NetworkRecord::Ours { ports, .. } => ports.clone(),
        NetworkRecord::None | NetworkRecord::Foreign => Vec::new(),
    }
}

/// Ports to close and to open, in this order: one place on this host may lead elsewhere afterwards.
#[derive(Debug, PartialEq, Eq)]
struct PortChanges {
    closed: Vec<PublishedPort>,
    opened: Vec<PublishedPort>,
}

impl PortChanges {
    /// From what is bound, what was described and what is described now. A port that somebody added by hand stays.
    fn find(bound: &[PublishedPort], old: &[PublishedPort], new: &[PublishedPort]) -> Self {
        let closed = bound.iter().filter(|port| old.contains(port) && !new.contains(port));
        let opened = new.iter().filter(|port| !bound.contains(port));
        Self { closed: closed.copied().collect(), opened: opened.copied().collect() }
    }
}

/// What was done, to be undone.
struct Undo<'a> {
    home: &'a Home,
    running: &'a Record,
    closed: Vec<PublishedPort>,
    opened: Vec<PublishedPort>,
}

impl Undo<'_> {
    fn undo(self) {
        let failed = |error: Error| tracing::warn!("ports as they were: {error}");
        for port in self.opened {
            let removed = client(self.home, self.running).and_then(|client| client.remove_port(port));
            removed.unwrap_or_else(failed);
        }
        for port in self.closed {
            let added = client(self.home, self.running).and_then(|client| client.add_port(port));
            added.map(drop).unwrap_or_else(failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::parse_publish;

    #[test]
    fn only_what_is_described_is_closed_and_nothing_is_opened_twice() {
        let ports = |texts: &[&str]| -> Vec<PublishedPort> {
            texts.iter().flat_map(|text| parse_publish(text).unwrap()).collect()
        };
        let changes = |bound: &[&str], old: &[&str], new: &[&str]| {
            PortChanges::find(&ports(bound), &ports(old), &ports(new))
        };
        let of =
            |closed: &[&str], opened: &[&str]| PortChanges { closed: ports(closed), opened: ports(opened) };
        assert_eq!(changes(&["80:80"], &["80:80"], &["81:80"]), of(&["80:80"], &["81:80"]));
        assert_eq!(changes(&["80:80"], &["80:80"], &["80:81"]), of(&["80:80"], &["80:81"]));
        // One was added by hand, and one of an earlier call that was killed is there.
        assert_eq!(changes(&["80:80", "99:9", "81:80"], &["80:80"], &["81:80"]), of(&["80:80"], &[]));
        assert_eq!(changes(&["80:80"], &["80:80"], &["80:80", "80:80/udp"]), of(&[], &["80:80/udp"]));
    }
}
