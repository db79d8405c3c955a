//! Rules of a project as a whole, all broken ones at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use monocore_spec::{Protocol, PublishedPort};

use super::suggest::did_you_mean;
use super::texts::{self, names_an_address};
use super::{ConfigError, ConfigErrors, Group, Monocore, Service, order, watch};
use crate::spec::{ParseError, parse_name};

/// The most sandboxes of one service.
const MAX_REPLICAS: u16 = 1000;
/// The longest project name, bytes: it is a part of sandbox and volume names.
const MAX_PROJECT_NAME: usize = 63;

impl Monocore {
    /// Checks every rule of the project.
    ///
    /// # Errors
    /// Every broken rule.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        ConfigErrors::check(self.problems())
    }

    /// Every broken rule; [`ConfigError::key`] says where.
    pub(crate) fn problems(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        if let Some(name) = &self.name
            && let Err(error) = check_project_name(name)
        {
            errors.push(ConfigError::new("name", error.problem()).text(name));
        }
        unique("service", self.services.iter().map(|service| &service.name), &mut errors);
        unique("group", self.groups.iter().map(|group| &group.name), &mut errors);
        unique("volume", self.volumes.iter().map(|volume| &volume.name), &mut errors);
        unique("secret", self.secrets.iter().map(|secret| &secret.name), &mut errors);
        for group in &self.groups {
            check_group(group, &mut errors);
        }
        for service in &self.services {
            self.check_service(service, &mut errors);
        }
        for secret in self.secrets.iter().filter(|secret| secret.file.is_empty()) {
            errors.push(ConfigError::new(format!("secret.{}", secret.name), "`file` is missing"));
        }
        self.check_ports(&mut errors);
        self.check_sandbox_names(&mut errors);
        errors.extend(order::problems(self));
        errors
    }

    fn check_service(&self, service: &Service, errors: &mut Vec<ConfigError>) {
        let key = |field: &str| format!("service.{}.{field}", service.name);
        if service.base.is_empty() {
            errors.push(
                ConfigError::new(format!("service.{}", service.name), "the image is missing")
                    .suggest("set `base` (`image` in a Compose file)"),
            );
        }
        if service.command.is_some() && service.entrypoint.is_some() {
            errors.push(ConfigError::new(key("command"), "`command` and `entrypoint` exclude each other"));
        }
        if service.command.as_deref() == Some("") {
            errors.push(ConfigError::new(key("command"), "the command is empty"));
        }
        if service.replicas > MAX_REPLICAS {
            errors.push(
                ConfigError::new(key("replicas"), format!("at most {MAX_REPLICAS}"))
                    .text(service.replicas.to_string()),
            );
        }
        let parsed = texts::parse(service, errors);
        if !parsed.mode.is_ours() && !parsed.ports.is_empty() {
            errors.push(ConfigError::new(
                key("ports"),
                "ports are published with the network modes nat and tsi only",
            ));
        }
        watch::check(service, errors);
        self.check_groups(service, errors);
        self.check_references(service, errors);
    }

    /// Groups, and what a service uses of them.
    fn check_groups(&self, service: &Service, errors: &mut Vec<ConfigError>) {
        let key = |field: String| format!("service.{}.{field}", service.name);
        let mut groups = Vec::new();
        for (index, name) in service.groups.iter().enumerate() {
            match self.group(name) {
                Some(group) => groups.push(group),
                None => errors.push(unknown(
                    key(format!("group[{index}]")),
                    "group",
                    name,
                    self.groups.iter().map(|group| &group.name),
                )),
            }
        }
        for (index, name) in service.group_envs.iter().enumerate() {
            let known = groups.iter().flat_map(|group| &group.envs).map(|env| &env.name);
            errors.extend(
                of_a_group(service, &groups, "environment set", name, known)
                    .map(|error| ConfigError { key: key(format!("group_envs[{index}]")), ..error }),
            );
        }
        for (index, mount) in service.group_volumes.iter().enumerate() {
            let key = key(format!("group_volumes[{index}]"));
            let known = groups.iter().flat_map(|group| &group.volumes).map(|volume| &volume.name);
            match of_a_group(service, &groups, "volume", &mount.name, known) {
                Some(error) => errors.push(ConfigError { key, ..error }),
                None => {
                    let mut volumes = groups.iter().flat_map(|group| &group.volumes);
                    if let Some(volume) = volumes.find(|volume| volume.name == mount.name) {
                        errors.extend(
                            texts::group_mount(volume, &mount.path)
                                .err()
                                .map(|error| ConfigError::new(key, error.problem()).text(&mount.path)),
                        );
                    }
                }
            }
        }
        let local = !groups.is_empty() && groups.iter().all(|group| group.local_only);
        for (index, text) in service.ports.iter().enumerate().filter(|_| local) {
            let open = crate::spec::parse_publish(text)
                .is_ok_and(|ports| ports.iter().any(|port| !port.address.is_loopback()));
            if open && names_an_address(text) {
                let problem = format!("group {} is local_only: its ports are on loopback", groups[0].name);
                errors.push(
                    ConfigError::new(key(format!("ports[{index}]")), problem)
                        .text(text)
                        .suggest("set local_only = false in the group to publish on other addresses"),
                );
            }
        }
    }

    /// Services and secrets that a service names.
    fn check_references(&self, service: &Service, errors: &mut Vec<ConfigError>) {
        let key = |field: String| format!("service.{}.{field}", service.name);
        let services = || self.services.iter().map(|service| &service.name);
        for (name, dependency) in &service.depends_on {
            if *name == service.name {
                errors.push(
                    ConfigError::new(key(format!("depends_on.{name}")), "a service cannot depend on itself")
                        .text(name),
                );
            } else if dependency.required && self.service(name).is_none() {
                errors.push(unknown(key(format!("depends_on.{name}")), "service", name, services()));
            }
        }
        for (index, link) in service.links.iter().enumerate() {
            let name = link.split_once(':').map_or(link.as_str(), |(name, _)| name);
            let key = key(format!("links[{index}]"));
            match self.service(name) {
                None => errors.push(unknown(key, "service", name, services())),
                Some(other) if !other.groups.iter().any(|group| service.groups.contains(group)) => {
                    let error = ConfigError::new(key, "the two services share no group").text(link);
                    errors.push(error.suggest("set the same `group` in both"));
                }
                Some(_) => {}
            }
        }
        for (index, secret) in service.secrets.iter().enumerate() {
            if !self.secrets.iter().any(|known| known.name == secret.source) {
                let known = self.secrets.iter().map(|secret| &secret.name);
                errors.push(unknown(key(format!("secrets[{index}]")), "secret", &secret.source, known));
            }
        }
    }

    /// No two services that may run together have the same port of the host.
    fn check_ports(&self, errors: &mut Vec<ConfigError>) {
        let mut taken: Vec<(&Service, PublishedPort)> = Vec::new();
        for service in &self.services {
            for (index, text) in service.ports.iter().enumerate() {
                let key = format!("service.{}.ports[{index}]", service.name);
                let Ok(ports) = texts::publish(text, self.publishes_openly(service)) else { continue };
                for port in ports.into_iter().filter(|port| port.host_port != 0) {
                    let clash = taken.iter().find(|(other, other_port)| {
                        same_port(&port, other_port) && may_run_together(service, other)
                    });
                    if let Some((other, _)) = clash {
                        let problem = format!(
                            "port {}/{} of this host is published by service {} already",
                            port.host_port,
                            port.protocol.name(),
                            other.name
                        );
                        errors.push(ConfigError::new(&key, problem).text(text));
                        break;
                    }
                    if service.replicas > 1 {
                        let problem =
                            format!("{} replicas cannot share one port of this host", service.replicas);
                        errors.push(
                            ConfigError::new(&key, problem)
                                .text(text)
                                .suggest(format!("write \"0:{}\" to give each a free port", port.guest_port)),
                        );
                        break;
                    }
                    taken.push((service, port));
                }
            }
        }
    }

    /// Names of sandboxes that services choose themselves.
    fn check_sandbox_names(&self, errors: &mut Vec<ConfigError>) {
        let mut seen = BTreeMap::new();
        for service in &self.services {
            let Some(name) = &service.container_name else { continue };
            let key = format!("service.{}.container_name", service.name);
            if service.replicas > 1 {
                let problem = format!("{} replicas cannot share one name", service.replicas);
                errors.push(ConfigError::new(&key, problem).text(name));
            }
            if let Some(other) = seen.insert(name, service)
                && may_run_together(service, other)
            {
                let problem = format!("service {} has this name already", other.name);
                errors.push(ConfigError::new(&key, problem).text(name));
            }
        }
    }

    /// Whether a port of the service that names no address is published on every address.
    pub(crate) fn publishes_openly(&self, service: &Service) -> bool {
        service.groups.iter().filter_map(|name| self.group(name)).any(|group| !group.local_only)
    }
}

/// A name of a project: lower-case letters, digits, `-` and `_`, beginning with a letter or digit.
pub(crate) fn check_project_name(name: &str) -> Result<(), ParseError> {
    let mut bytes = name.bytes();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let valid = bytes.next().is_some_and(plain)
        && bytes.all(|b| plain(b) || matches!(b, b'-' | b'_'))
        && name.len() <= MAX_PROJECT_NAME;
    if valid {
        return Ok(());
    }
    let rule = format!(
        "a project's name has lower-case letters, digits, '-' and '_', begins with a letter or digit, and has at most \
         {MAX_PROJECT_NAME} of them"
    );
    Err(ParseError::new(name, rule))
}

fn check_group(group: &Group, errors: &mut Vec<ConfigError>) {
    let prefix = format!("group.{}", group.name);
    unique(&format!("{prefix}.volume"), group.volumes.iter().map(|volume| &volume.name), errors);
    unique(&format!("{prefix}.env"), group.envs.iter().map(|env| &env.name), errors);
    for volume in group.volumes.iter().filter(|volume| volume.path.is_empty()) {
        errors.push(ConfigError::new(format!("{prefix}.volume.{}", volume.name), "`path` is missing"));
    }
    for env in &group.envs {
        texts::check_envs(&format!("{prefix}.env.{}.envs", env.name), &env.envs, errors);
    }
}

/// Names that are valid and stand once.
fn unique<'a>(what: &str, names: impl Iterator<Item = &'a String>, errors: &mut Vec<ConfigError>) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        if name.is_empty() {
            errors.push(ConfigError::new(format!("{what}[{index}]"), "`name` is missing"));
        } else if let Err(error) = parse_name(name) {
            errors.push(ConfigError::new(format!("{what}.{name}.name"), error.problem()).text(name));
        } else if !seen.insert(name) {
            let noun = what.rsplit('.').next().unwrap_or(what);
            errors.push(
                ConfigError::new(format!("{what}[{index}].name"), format!("two {noun}s have this name"))
                    .text(name),
            );
        }
    }
}

fn unknown<'a>(
    key: String,
    noun: &str,
    name: &str,
    known: impl Iterator<Item = &'a String> + Clone,
) -> ConfigError {
    let error = ConfigError::new(key, format!("no {noun} has this name")).text(name);
    match did_you_mean(name, known.clone().map(String::as_str)) {
        Some(suggestion) => error.suggest(suggestion),
        None => {
            let known: Vec<&str> = known.map(String::as_str).collect();
            match known[..] {
                [] => error.suggest(format!("the project has no {noun}s")),
                _ => error.suggest(format!("there are {}", known.join(", "))),
            }
        }
    }
}

/// The problem with a name that must be of one of the service's groups.
fn of_a_group<'a>(
    service: &Service,
    groups: &[&Group],
    noun: &str,
    name: &str,
    known: impl Iterator<Item = &'a String> + Clone,
) -> Option<ConfigError> {
    if service.groups.is_empty() {
        let problem = format!("the service is in no group, so it has no group's {noun}s");
        return Some(ConfigError::new("", problem).text(name).suggest("set `group`"));
    }
    if groups.is_empty() || known.clone().any(|known| known == name) {
        // An unknown group is a problem of its own.
        return None;
    }
    Some(unknown(String::new(), noun, name, known))
}

fn same_port(a: &PublishedPort, b: &PublishedPort) -> bool {
    let everywhere = |address: IpAddr| address.is_unspecified();
    let meet = a.address == b.address || everywhere(a.address) || everywhere(b.address);
    let protocol: (Protocol, Protocol) = (a.protocol, b.protocol);
    a.host_port == b.host_port && protocol.0 == protocol.1 && meet
}

/// Whether one choice of profiles can activate both.
fn may_run_together(a: &Service, b: &Service) -> bool {
    a.profiles.is_empty()
        || b.profiles.is_empty()
        || a.profiles.iter().any(|profile| b.profiles.contains(profile))
}
