//! The canonical tree to the model; every problem is noted with its place.

mod fields;
mod service;

use std::collections::{BTreeMap, BTreeSet};

use super::compose::MARK;
use super::texts::names_an_address;
use super::tree::{Entry, Node, Place, Table};
use super::{ConfigError, Group, GroupEnv, GroupVolume, Monocore, NamedVolume, Secret, Service};
use crate::spec::parse_publish;
use fields::Fields;

/// A model, where its parts are, and what is wrong with it so far.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) config: Monocore,
    pub(super) places: BTreeMap<String, Place>,
    pub(super) errors: Vec<ConfigError>,
    /// Groups that were networks of a compose file.
    pub(super) networks: BTreeSet<String>,
}

/// The model of a canonical tree.
pub(super) fn read(root: &Table) -> Reading {
    let mut reading = Reading::default();
    let mut fields = Fields::new(&mut reading, root, "");
    let name = fields.text("name");
    reading.config.name = name;
    for entry in tables(root, "service") {
        let service = service::read(&mut reading, entry);
        reading.config.services.push(service);
    }
    need_links(&mut reading.config.services);
    for entry in tables(root, "group") {
        let group = group(&mut reading, entry);
        reading.config.groups.push(group);
    }
    for entry in tables(root, "volume") {
        let volume = volume(&mut reading, entry);
        reading.config.volumes.push(volume);
    }
    for entry in tables(root, "secret") {
        let secret = secret(&mut reading, entry);
        reading.config.secrets.push(secret);
    }
    reading
}

impl Reading {
    /// Notes where a key is.
    fn note(&mut self, key: String, at: &Place) {
        self.places.insert(key, at.clone());
    }

    /// Docker publishes a port on the address that is named; the group of such a service cannot be local. Its other ports
    /// stay on loopback, as everywhere.
    pub(super) fn settle_networks(&mut self) {
        let names: Vec<String> = self.networks.iter().cloned().collect();
        for name in names {
            let is_member = |service: &Service| service.groups.contains(&name);
            let open = self.config.services.iter().filter(|service| is_member(service)).any(is_open);
            let Some(group) = self.config.groups.iter_mut().find(|group| group.name == name && open) else {
                continue;
            };
            group.local_only = false;
            for service in self.config.services.iter_mut().filter(|service| is_member(service)) {
                for port in service.ports.iter_mut().filter(|port| !names_an_address(port)) {
                    *port = match port.contains(':') {
                        true => format!("127.0.0.1:{port}"),
                        false => format!("127.0.0.1:{port}:{port}"),
                    };
                }
            }
        }
    }

    /// Gives a problem of the model the place of its key, or of what is around it.
    pub(super) fn locate(&self, error: ConfigError) -> ConfigError {
        let mut key = error.key.as_str();
        loop {
            if let Some(place) = self.places.get(key) {
                return error.clone().at(place);
            }
            match key.rfind(['.', '[']) {
                Some(end) => key = &key[..end],
                None => return error,
            }
        }
    }
}

/// Whether the service publishes a port beyond loopback.
fn is_open(service: &Service) -> bool {
    service.ports.iter().any(|text| {
        names_an_address(text)
            && parse_publish(text).is_ok_and(|ports| ports.iter().any(|port| !port.address.is_loopback()))
    })
}

/// A link says that the other service is needed, as in Compose.
fn need_links(services: &mut [Service]) {
    let names: BTreeSet<String> = services.iter().map(|service| service.name.clone()).collect();
    for service in services {
        for link in &service.links {
            let name = link.split_once(':').map_or(link.as_str(), |(name, _)| name);
            if names.contains(name) {
                service.depends_on.entry(name.to_owned()).or_default();
            }
        }
    }
}

/// The named tables of a kind.
fn tables<'a>(table: &'a Table, kind: &str) -> impl Iterator<Item = &'a Entry> {
    table.get(kind).and_then(Node::as_table).into_iter().flat_map(Table::iter)
}

fn group(reading: &mut Reading, entry: &Entry) -> Group {
    let key = format!("group.{}", entry.key);
    reading.note(key.clone(), &entry.at);
    let Some(table) = entry.node.as_table() else { return Group::default() };
    let mut fields = Fields::new(reading, table, &key);
    let mut group = Group {
        name: entry.key.clone(),
        local_only: fields.flag("local_only").unwrap_or(true),
        internal: fields.flag("internal").unwrap_or(false),
        external: fields.flag("external").unwrap_or(false),
        group_name: fields.text("group_name"),
        ..Group::default()
    };
    let network = fields.flag(MARK).unwrap_or(false);
    fields.known(&["volume", "env"]);
    fields.finish();
    if network {
        reading.networks.insert(entry.key.clone());
    }
    for volume in tables(table, "volume") {
        let key = format!("{key}.volume.{}", volume.key);
        reading.note(key.clone(), &volume.at);
        let Some(table) = volume.node.as_table() else { continue };
        let mut fields = Fields::new(reading, table, &key);
        let path = fields.text("path").unwrap_or_default();
        fields.finish();
        group.volumes.push(GroupVolume { name: volume.key.clone(), path });
    }
    for env in tables(table, "env") {
        let key = format!("{key}.env.{}", env.key);
        reading.note(key.clone(), &env.at);
        let Some(table) = env.node.as_table() else { continue };
        let mut fields = Fields::new(reading, table, &key);
        let envs = fields.texts("envs");
        fields.finish();
        group.envs.push(GroupEnv { name: env.key.clone(), envs });
    }
    group
}

fn volume(reading: &mut Reading, entry: &Entry) -> NamedVolume {
    let key = format!("volume.{}", entry.key);
    reading.note(key.clone(), &entry.at);
    let Some(table) = entry.node.as_table() else { return NamedVolume::default() };
    let mut fields = Fields::new(reading, table, &key);
    let volume = NamedVolume {
        name: entry.key.clone(),
        volume_name: fields.text("volume_name"),
        external: fields.flag("external").unwrap_or(false),
    };
    fields.finish();
    volume
}

fn secret(reading: &mut Reading, entry: &Entry) -> Secret {
    let key = format!("secret.{}", entry.key);
    reading.note(key.clone(), &entry.at);
    let Some(table) = entry.node.as_table() else { return Secret::default() };
    let mut fields = Fields::new(reading, table, &key);
    let secret = Secret { name: entry.key.clone(), file: fields.text("file").unwrap_or_default() };
    fields.finish();
    secret
}
