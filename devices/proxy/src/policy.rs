//! What may be reached: rules in order, then the reach, over what an address is.
//!
//! Private addresses, this host and cloud metadata are guarded: only a rule that names them and nothing public opens them,
//! so that `allow` for everything, or for a name that resolves to them, never does.

mod class;
pub(crate) mod translators;

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use monocore_spec::{Action, Direction, NetRule, NetTarget, PolicySpec, Protocol, Reach};

use crate::host::HostAddresses;
pub use class::Class;
use class::Guard;
use translators::{Prefix, Translators};

/// What is to be decided.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who connects to whom.
    pub direction: Direction,
    /// How.
    pub protocol: Protocol,
    /// The address outside the guest.
    pub address: IpAddr,
    /// The port that is connected to; 0 for ICMP.
    pub port: u16,
    /// Whether `address` is the stack's own, which stands for this host.
    pub to_host: bool,
    /// Whether `address` is a member's of one of the guest's groups.
    pub is_peer: bool,
    /// The names that resolved to `address` and are still good.
    pub names: &'a [String],
    /// Names that stood in the answers beside them. They count for rules that deny and for no others: whoever answers for a name
    /// may call any other name its alias.
    pub aliases: &'a [String],
}

/// A decision, and what it goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
}

/// What a decision goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The rule of this number, from 0.
    Rule(usize),
    /// No rule fits; the reach decides.
    Reach,
    /// The address is guarded and no rule opens it.
    Guarded(Class),
    /// A published port lets everybody in.
    Published,
    /// The other end is a member of the same group.
    Group,
    /// The guest has as many connections as it may have.
    Limit,
    /// A name let the connection be, and its client asks for the server of another one.
    Sni,
}

/// Rules, and what is known of this host.
#[derive(Debug, Default)]
pub struct Policy {
    reach: Reach,
    rules: Vec<NetRule>,
    host_addresses: HostAddresses,
    translators: Translators,
    /// Whether the translators are to be looked for, for the first time or anew.
    looks: bool,
}

impl Policy {
    /// `spec` on a host that has the addresses `host_addresses`. Names in rules are compared without regard to case.
    pub fn new(spec: &PolicySpec, host_addresses: HostAddresses) -> Self {
        let mut rules = spec.rules.clone();
        for rule in &mut rules {
            if let NetTarget::Domain(name) | NetTarget::Suffix(name) = &mut rule.target {
                *name = name.trim_matches('.').to_ascii_lowercase();
            }
        }
        Self { reach: spec.reach, rules, host_addresses, translators: Translators::default(), looks: true }
    }

    /// What is readable when an address of this host has changed.
    pub(crate) fn host_changes(&self) -> Option<BorrowedFd<'_>> {
        self.host_addresses.changes()
    }

    /// Takes in what has changed of this host's addresses; says whether anything has. Where they cannot be known any more, nothing
    /// is allowed out.
    pub(crate) fn refresh(&mut self) -> bool {
        let changed = self.host_addresses.refresh().unwrap_or_else(|error| {
            tracing::error!(%error, "this host's addresses are not known any more: the guest reaches nothing");
            self.reach = Reach::None;
            self.rules.retain(|rule| rule.direction == Direction::In);
            self.host_addresses = HostAddresses::default();
            true
        });
        self.looks |= changed;
        changed
    }

    /// Whether the network's translators are to be looked for: this host is reached by IPv6, and the guest may reach something.
    /// What was known of them holds meanwhile; where nothing was, no public address of IPv6 is reached until
    /// [`found_translators`](Self::found_translators).
    pub(crate) fn looks_for_translators(&mut self) -> bool {
        let leads_out = |rule: &NetRule| rule.action == Action::Allow && rule.direction == Direction::Out;
        let reaches = matches!(self.reach, Reach::Public | Reach::Any) || self.rules.iter().any(leads_out);
        std::mem::take(&mut self.looks) && reaches && self.host_addresses.has_public_v6()
    }

    /// Nobody will answer what was asked about translators.
    pub(crate) fn look_again(&mut self) {
        self.looks = true;
    }

    /// The name server's answer: the IPv6 addresses of a name that has none (RFC 7050). Nothing where it gave no answer.
    pub(crate) fn found_translators(&mut self, addresses: Option<&[IpAddr]>) {
        if addresses.is_some() || self.translators == Translators::Unknown {
            self.translators = Translators::Known(Prefix::all(addresses.unwrap_or_default()));
        }
    }

    /// Decides about a connection, a datagram's flow or an echo request.
    pub fn decide(&self, question: &Question<'_>) -> Decision {
        let guard = self.guard(question);
        if guard.is_some_and(|guard| guard.class == Class::Unroutable) {
            return deny(Reason::Guarded(Class::Unroutable));
        }
        for (number, rule) in self.rules.iter().enumerate() {
            if !matches(rule, question) {
                continue;
            }
            match rule.action {
                Action::Deny => return deny(Reason::Rule(number)),
                Action::Allow if guard.is_none_or(|guard| opens(&rule.target, guard)) => {
                    return allow(Reason::Rule(number));
                }
                Action::Allow => {}
            }
        }
        match (question.direction, self.reach, guard.map(|guard| guard.class)) {
            (Direction::In, ..) if question.is_peer => allow(Reason::Group),
            (Direction::In, ..) => allow(Reason::Published),
            (Direction::Out, Reach::Group | Reach::Public | Reach::Any, _) if question.is_peer => {
                allow(Reason::Group)
            }
            (Direction::Out, Reach::None | Reach::Group, _) => deny(Reason::Reach),
            (Direction::Out, Reach::Public | Reach::Any, None)
            | (Direction::Out, Reach::Any, Some(Class::Private)) => allow(Reason::Reach),
            (Direction::Out, _, Some(class)) => deny(Reason::Guarded(class)),
        }
    }

    /// Whether `decision`, which allowed what `question` asks, could be another one if the address had other names: a name
    /// let it be, or a name that it is not known by would have been denied before.
    pub fn depends_on_names(&self, question: &Question<'_>, decision: Decision) -> bool {
        let number = if let Reason::Rule(number) = decision.reason { number } else { self.rules.len() };
        self.rules.iter().take(number.saturating_add(1)).enumerate().any(|(index, rule)| {
            matches!(rule.target, NetTarget::Domain(_) | NetTarget::Suffix(_))
                && (index == number || rule.action == Action::Deny)
                && speaks_of(rule, question)
        })
    }

    /// Whether a question for `name` is answered at all, or its answer passed on, in which the names `aliases` stand too. These
    /// count for rules that deny only.
    pub fn decide_name(&self, name: &str, aliases: &[String]) -> Decision {
        for (number, rule) in self.rules.iter().enumerate() {
            if rule.direction != Direction::Out {
                continue;
            }
            let fits = match &rule.target {
                NetTarget::Any => true,
                target => {
                    let denied = || aliases.iter().any(|alias| names_target(target, alias));
                    names_target(target, name) || rule.action == Action::Deny && denied()
                }
            };
            match rule.action {
                // A name some of whose ports are denied is still looked up.
                Action::Deny if fits && rule.ports.is_none() && rule.protocol.is_none() => {
                    return deny(Reason::Rule(number));
                }
                Action::Allow if fits => return allow(Reason::Rule(number)),
                _ => {}
            }
        }
        match self.reach {
            Reach::None | Reach::Group => deny(Reason::Reach),
            Reach::Public | Reach::Any => allow(Reason::Reach),
        }
    }

    /// Whether an answer may carry `address`: it is public, or something other than a name opens it. So a name that
    /// begins to resolve to the inside leads nowhere.
    pub fn may_resolve_to(&self, address: IpAddr) -> bool {
        let guard = match self.guard_of(address) {
            None if !self.is_own(address) => return true,
            Some(guard) if guard.class == Class::Unroutable => return false,
            Some(guard) => guard,
            None => Guard::own(address),
        };
        if guard.class == Class::Private && self.reach == Reach::Any && !self.is_own(address) {
            return true;
        }
        self.rules.iter().any(|rule| {
            rule.action == Action::Allow
                && rule.direction == Direction::Out
                && opens(&rule.target, guard)
                && matches!(&rule.target, NetTarget::Network(network) if network.contains(address))
        })
    }

    /// Why the address of `question` needs a rule that names it; nothing for a public one.
    fn guard(&self, question: &Question<'_>) -> Option<Guard> {
        // A member's address leads to that member and nowhere else, whatever it is on this host's network.
        if question.direction == Direction::In || question.is_peer {
            return None;
        }
        if question.to_host || self.is_own(question.address) {
            return Some(Guard::own(question.address));
        }
        let guard = self.guard_of(question.address);
        let is_known = matches!(self.translators, Translators::Known(_));
        if guard.is_none() && !is_known && self.host_addresses.has_public_v6() {
            return class::not_yet_known(question.address);
        }
        guard
    }

    /// What guards an address that is not this host's.
    fn guard_of(&self, address: IpAddr) -> Option<Guard> {
        self.translators.inner(address).find_map(class::guard_behind).or_else(|| class::guard(address))
    }

    /// Whether `address` is one of this host's, or leads to one through a translator.
    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        let behind = self.translators.inner(address).map(IpAddr::from);
        self.host_addresses.contains(address)
            || class::inner(address)
                .into_iter()
                .chain(behind)
                .any(|inner| self.host_addresses.contains(inner))
    }
}

fn allow(reason: Reason) -> Decision {
    Decision { allowed: true, reason }
}

fn deny(reason: Reason) -> Decision {
    Decision { allowed: false, reason }
}

fn matches(rule: &NetRule, question: &Question<'_>) -> bool {
    let target = match &rule.target {
        NetTarget::Any => true,
        NetTarget::Host => question.to_host,
        NetTarget::Network(network) => !question.to_host && network.contains(question.address),
        target => {
            let aliases = if rule.action == Action::Deny { question.aliases } else { &[] };
            question.names.iter().chain(aliases).any(|name| names_target(target, name))
        }
    };
    target && speaks_of(rule, question)
}

/// Whether direction, port and protocol are those of `rule`.
fn speaks_of(rule: &NetRule, question: &Question<'_>) -> bool {
    rule.direction == question.direction
        && rule.ports.is_none_or(|ports| ports.contains(question.port))
        && rule.protocol.is_none_or(|protocol| protocol == question.protocol)
}

/// Whether an allowance for `target` opens what `guard` guards: only one that speaks of nothing wider.
fn opens(target: &NetTarget, guard: Guard) -> bool {
    match target {
        NetTarget::Network(network) => network.prefix >= guard.prefix,
        NetTarget::Host => guard.class == Class::Host,
        NetTarget::Any | NetTarget::Domain(_) | NetTarget::Suffix(_) => false,
    }
}

/// Whether `target` speaks of `name`, which has no dot at its end and is in lower case.
fn names_target(target: &NetTarget, name: &str) -> bool {
    match target {
        NetTarget::Domain(domain) => domain == name,
        NetTarget::Suffix(suffix) => {
            name.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with('.'))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
