//! The order in which services start: levels of dependencies.

use std::collections::BTreeMap;

use super::{ConfigError, Monocore, Service};

/// The longest chain of dependencies, services.
pub const MAX_CHAIN: usize = 32;

impl Monocore {
    /// Levels of services: those of one level depend only on earlier levels, so a level can start in parallel. Stopping
    /// goes the other way.
    #[must_use]
    pub fn start_order(&self) -> Vec<Vec<&Service>> {
        let mut levels: Vec<Vec<&Service>> = Vec::new();
        let depths = Depths::of(self);
        for service in &self.services {
            let Some(Depth::Chain(length)) = depths.found.get(service.name.as_str()) else { continue };
            if levels.len() < *length {
                levels.resize(*length, Vec::new());
            }
            levels[length - 1].push(service);
        }
        levels
    }

    /// The services that must run so that those named can, themselves included, in the order of the file.
    #[must_use]
    pub fn with_dependencies(&self, names: &[String]) -> Vec<&Service> {
        let mut open: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut wanted = Vec::new();
        while let Some(name) = open.pop() {
            if let Some(service) = self.service(name)
                && !wanted.contains(&service.name.as_str())
            {
                wanted.push(service.name.as_str());
                open.extend(service.depends_on.keys().map(String::as_str));
            }
        }
        self.services.iter().filter(|service| wanted.contains(&service.name.as_str())).collect()
    }
}

/// Cycles and chains that are too long.
pub(super) fn problems(config: &Monocore) -> Vec<ConfigError> {
    let depths = Depths::of(config);
    let mut errors: Vec<ConfigError> = depths
        .cycles
        .iter()
        .map(|cycle| {
            let first = cycle.first().copied().unwrap_or_default();
            let next = cycle.get(1).copied().unwrap_or(first);
            let path = cycle.iter().chain([&first]).copied().collect::<Vec<_>>().join(" -> ");
            ConfigError::new(
                format!("service.{first}.depends_on.{next}"),
                format!("the services depend on each other: {path}"),
            )
            .text(next)
        })
        .collect();
    // The shortest chain that is too long: longer ones contain it.
    let long = config.services.iter().find(|service| {
        matches!(depths.found.get(service.name.as_str()), Some(Depth::Chain(length)) if *length == MAX_CHAIN + 1)
    });
    errors.extend(long.map(|service| {
        let problem =
            format!("a chain of dependencies has at most {MAX_CHAIN} services; this one ends a longer one");
        ConfigError::new(format!("service.{}.depends_on", service.name), problem).text(&service.name)
    }));
    errors
}

#[derive(Clone, Copy)]
enum Depth {
    /// Being looked at: whoever meets it again has found a cycle.
    Open,
    /// The longest chain that ends here, services.
    Chain(usize),
}

#[derive(Default)]
struct Depths<'a> {
    services: BTreeMap<&'a str, &'a Service>,
    found: BTreeMap<&'a str, Depth>,
    cycles: Vec<Vec<&'a str>>,
}

impl<'a> Depths<'a> {
    fn of(config: &'a Monocore) -> Self {
        let services = config.services.iter().map(|service| (service.name.as_str(), service)).collect();
        let mut depths = Self { services, ..Self::default() };
        for service in &config.services {
            depths.walk(service);
        }
        depths
    }

    /// Depth first with a stack of its own: a hostile chain must not exhaust the thread's.
    fn walk(&mut self, first: &'a Service) {
        if self.found.contains_key(first.name.as_str()) {
            return;
        }
        let mut path = vec![(first, self.dependencies(first), 1)];
        self.found.insert(&first.name, Depth::Open);
        while let Some((service, open, longest)) = path.last_mut() {
            let Some(next) = open.pop() else {
                let (name, length) = (service.name.as_str(), *longest);
                self.found.insert(name, Depth::Chain(length));
                path.pop();
                if let Some((_, _, longest)) = path.last_mut() {
                    *longest = (*longest).max(length + 1);
                }
                continue;
            };
            match self.found.get(next.name.as_str()) {
                Some(Depth::Chain(length)) => *longest = (*longest).max(length + 1),
                Some(Depth::Open) => {
                    let names = path.iter().map(|(service, ..)| service.name.as_str());
                    let cycle = names.skip_while(|name| *name != next.name).collect();
                    self.cycles.push(cycle);
                }
                None => {
                    self.found.insert(&next.name, Depth::Open);
                    path.push((next, self.dependencies(next), 1));
                }
            }
        }
    }

    /// The services that exist and that `service` waits for; the last is looked at first.
    fn dependencies(&self, service: &'a Service) -> Vec<&'a Service> {
        let others = service.depends_on.keys().filter(|name| **name != service.name);
        others.rev().filter_map(|name| self.services.get(name.as_str()).copied()).collect()
    }
}
