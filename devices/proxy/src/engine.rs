//! The engine: every connection, datagram and name goes through it, whichever front end it comes from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use monocore_spec::{Direction, LinkSpec, Protocol};

use monocore_virtio::{Interest, Poller, ServiceError};

use crate::hello::Hello;
use crate::names::Names;
use crate::peers::Peers;
use crate::policy::{Decision, Policy, Question, Reason};
use crate::receipt::{Receipts, Subject};
use crate::token::{TOKEN_HOST, raw_token};

/// Where what the guest may reach is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// On this host's network.
    pub target: SocketAddr,
    /// It was allowed because of a name that the address has, or others are denied that it may have: what a connection there
    /// begins with is shown to [`Engine::beginning`].
    pub inspected: bool,
    /// The target is a member of one of the guest's groups, which knows the guest by this address.
    pub peer: Option<Ipv4Addr>,
}

/// What is to be done with the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// They are held back until there are more.
    Hold,
    /// They go on, and so does all that follows.
    Pass,
    /// The connection is reset.
    Refuse,
}

/// Policy, names and receipts of one guest.
#[derive(Debug)]
pub struct Engine {
    policy: Policy,
    names: Names,
    /// Names that stood in answers beside the one asked for.
    aliases: Names,
    receipts: Receipts,
    link: LinkSpec,
    connections: u32,
    max_connections: u32,
    /// The other members of the guest's groups.
    pub(crate) peers: Peers,
    /// Where tests have what is not on this host.
    #[cfg(test)]
    pub(crate) detour: Option<SocketAddr>,
}

impl Engine {
    /// An engine for the guest at `link` that may have `max_connections` at a time.
    pub fn new(policy: Policy, receipts: Receipts, link: &LinkSpec, max_connections: u32) -> Self {
        Self {
            policy,
            names: Names::default(),
            aliases: Names::default(),
            receipts,
            link: link.clone(),
            connections: 0,
            max_connections,
            peers: Peers::default(),
            #[cfg(test)]
            detour: None,
        }
    }

    /// Decides whether the guest may reach `target`, and says where on this host's network that is.
    ///
    /// # Errors
    /// The decision against it.
    pub fn outbound(
        &mut self,
        protocol: Protocol,
        target: SocketAddr,
        now: Instant,
    ) -> Result<Route, Decision> {
        self.policy.refresh();
        let (address, port) = (target.ip(), target.port());
        let to_host = self.is_gateway(address);
        let names = self.names.of(address, now);
        let aliases = self.aliases.of(address, now);
        let group = self.peers.group_of(address);
        let is_peer = group.is_some();
        let question =
            Question { direction: Direction::Out, protocol, address, port, to_host, is_peer, names, aliases };
        let mut decision = self.policy.decide(&question);
        if decision.allowed && self.connections >= self.max_connections {
            decision = Decision { allowed: false, reason: Reason::Limit };
        }
        let peer = Some((address, port));
        self.receipts
            .write(Subject { direction: Direction::Out, protocol: protocol.name(), peer, names }, decision);
        if !decision.allowed {
            return Err(decision);
        }
        if group.is_some() {
            return Ok(Route { target, inspected: false, peer: group });
        }
        let inspected = self.policy.depends_on_names(&question, decision);
        let target = if to_host { SocketAddr::new(loopback(address), port) } else { target };
        #[cfg(test)]
        let target = self.detour.filter(|_| !target.ip().to_canonical().is_loopback()).unwrap_or(target);
        Ok(Route { target, inspected, peer: None })
    }

    /// Decides about a connection to `target` that is [inspected](Route::inspected) and begins with `bytes`, `ended` saying that
    /// there will be no more: a TLS client must ask for a name that is allowed there. What is not TLS or says no name may be.
    pub fn beginning(&mut self, target: SocketAddr, bytes: &[u8], ended: bool) -> Beginning {
        let name = match Hello::read(bytes) {
            Hello::Nameless => return Beginning::Pass,
            Hello::Incomplete if bytes.is_empty() && ended => return Beginning::Pass,
            Hello::Incomplete if !ended => return Beginning::Hold,
            Hello::Incomplete | Hello::Malformed => None,
            Hello::Named(name) => Some(name),
        };
        let (address, port) = (target.ip(), target.port());
        let names = name.as_slice();
        let question = Question {
            direction: Direction::Out,
            protocol: Protocol::Tcp,
            address,
            port,
            to_host: self.is_gateway(address),
            is_peer: false,
            names,
            aliases: &[],
        };
        if !names.is_empty() && self.policy.decide(&question).allowed {
            return Beginning::Pass;
        }
        let subject =
            Subject { direction: Direction::Out, protocol: "tcp", peer: Some((address, port)), names };
        self.receipts.write(subject, Decision { allowed: false, reason: Reason::Sni });
        Beginning::Refuse
    }

    /// Decides whether `client` may reach the guest at its port `guest_port`, which is published, and says from which
    /// address the guest sees it come.
    pub fn inbound(&mut self, protocol: Protocol, client: SocketAddr, guest_port: u16) -> Option<SocketAddr> {
        let address = client.ip().to_canonical();
        let seen = SocketAddr::new(self.seen_from_guest(address), client.port());
        self.admits(protocol, address, guest_port, false).then_some(seen)
    }

    /// Decides whether the member at `peer` may reach the guest at its port `guest_port`.
    pub(crate) fn inbound_peer(&mut self, protocol: Protocol, peer: IpAddr, guest_port: u16) -> bool {
        self.admits(protocol, peer, guest_port, true)
    }

    fn admits(&mut self, protocol: Protocol, address: IpAddr, guest_port: u16, is_peer: bool) -> bool {
        let question = Question {
            direction: Direction::In,
            protocol,
            address,
            port: guest_port,
            to_host: false,
            is_peer,
            names: &[],
            aliases: &[],
        };
        let mut decision = self.policy.decide(&question);
        if decision.allowed && self.connections >= self.max_connections {
            decision = Decision { allowed: false, reason: Reason::Limit };
        }
        let peer = Some((address, guest_port));
        let subject = Subject { direction: Direction::In, protocol: protocol.name(), peer, names: &[] };
        self.receipts.write(subject, decision);
        decision.allowed
    }

    /// Decides whether a question for `name` (lower case, no dot at its end) is answered.
    pub fn ask(&mut self, name: &str) -> bool {
        let decision = self.policy.decide_name(name, &[]);
        self.asked(&[name.to_owned()], decision);
        decision.allowed
    }

    /// Decides whether an answer about `name` is passed on in which the names `aliases` stand too.
    pub fn may_answer(&mut self, name: &str, aliases: &[String]) -> bool {
        let decision = self.policy.decide_name(name, aliases);
        if !decision.allowed {
            let names: Vec<String> =
                std::iter::once(name.to_owned()).chain(aliases.iter().cloned()).collect();
            self.asked(&names, decision);
        }
        decision.allowed
    }

    /// A name of a group was asked for.
    pub(crate) fn asked_group(&mut self, name: &str) {
        self.asked(&[name.to_owned()], Decision { allowed: true, reason: Reason::Group });
    }

    fn asked(&mut self, names: &[String], decision: Decision) {
        let subject = Subject { direction: Direction::Out, protocol: "dns", peer: None, names };
        self.receipts.write(subject, decision);
    }

    /// Whether an answer may carry `address`.
    pub fn may_resolve_to(&mut self, address: IpAddr) -> bool {
        self.policy.refresh();
        !self.is_gateway(address) && self.policy.may_resolve_to(address)
    }

    /// Watches for changes of this host's addresses, and for the other members.
    pub(crate) fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        self.peers.begin(poller)?;
        self.policy.look_again();
        let Some(changes) = self.policy.host_changes() else { return Ok(()) };
        let token = raw_token(TOKEN_HOST, 0);
        poller
            .add(changes, token, Interest::Read)
            .map_err(ServiceError::host("watching this host's addresses"))
    }

    /// An address of this host has changed. Afterwards [`is_host`](Self::is_host) knows.
    pub(crate) fn host_changed(&mut self) {
        self.policy.refresh();
    }

    /// Whether the network's translators are to be looked for; see [`Policy::looks_for_translators`].
    pub(crate) fn looks_for_translators(&mut self) -> bool {
        self.policy.looks_for_translators()
    }

    /// What the name server said of the network's translators.
    pub(crate) fn found_translators(&mut self, addresses: Option<&[IpAddr]>) {
        self.policy.found_translators(addresses);
    }

    /// Whether `address` is one of this host's, or leads to one.
    pub(crate) fn is_host(&self, address: IpAddr) -> bool {
        self.policy.is_own(address)
    }

    /// An answer said that `name` is at `address`.
    pub fn learn(&mut self, name: &str, address: IpAddr, ttl: Duration, now: Instant) {
        self.names.record(name, address, ttl, now);
    }

    /// An answer with `address` had the name `alias` in it, which is not the one asked for.
    pub fn learn_alias(&mut self, alias: &str, address: IpAddr, ttl: Duration, now: Instant) {
        self.aliases.record(alias, address, ttl, now);
    }

    /// A connection begins to count.
    pub fn opened(&mut self) {
        self.connections += 1;
    }

    /// A connection counts no more.
    pub fn closed(&mut self) {
        self.connections = self.connections.saturating_sub(1);
    }

    /// The guest that had connections is gone.
    pub fn reset(&mut self) {
        self.connections = 0;
        self.peers.reset();
    }

    /// Whether `address` is the stack's own.
    pub fn is_gateway(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address == self.link.gateway_v4,
            IpAddr::V6(address) => address == self.link.gateway_v6,
        }
    }

    /// The guest's address of the same family as `like`.
    pub fn guest(&self, like: IpAddr) -> IpAddr {
        self.link.guest(like)
    }

    /// The address under which a guest sees `address`: it cannot answer to this host's loopback.
    fn seen_from_guest(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(v4) if v4.is_loopback() || v4.is_unspecified() => self.link.gateway_v4.into(),
            IpAddr::V6(v6) if v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local() => {
                self.link.gateway_v6.into()
            }
            other => other,
        }
    }
}

fn loopback(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostAddresses;
    use monocore_spec::{Action, NetRule, NetTarget, PolicySpec, Reach};

    fn engine(reach: Reach, rules: Vec<NetRule>) -> Engine {
        let policy = Policy::new(&PolicySpec { reach, rules }, HostAddresses::default());
        Engine::new(policy, Receipts::new(None), &LinkSpec::default(), 2)
    }

    #[test]
    fn the_gateway_stands_for_this_host() {
        let rule = NetRule {
            action: Action::Allow,
            direction: Direction::Out,
            target: NetTarget::Host,
            ports: None,
            protocol: None,
        };
        let (gateway, now) = (SocketAddr::from(([10, 77, 0, 1], 80)), Instant::now());
        assert!(engine(Reach::Any, vec![]).outbound(Protocol::Tcp, gateway, now).is_err());
        let mut open = engine(Reach::None, vec![rule]);
        let route = Route { target: SocketAddr::from(([127, 0, 0, 1], 80)), inspected: false, peer: None };
        assert_eq!(open.outbound(Protocol::Tcp, gateway, now), Ok(route));
        assert!(open.outbound(Protocol::Tcp, SocketAddr::from(([127, 0, 0, 1], 80)), now).is_err());
        assert!(!open.may_resolve_to(gateway.ip()));
        let client = SocketAddr::from(([127, 0, 0, 1], 5000));
        assert_eq!(open.inbound(Protocol::Tcp, client, 80), Some(SocketAddr::from(([10, 77, 0, 1], 5000))));
    }

    #[test]
    fn a_shared_address_is_for_the_names_that_are_allowed() {
        use crate::hello::tests::hello_for;
        let rule = |action, target| NetRule {
            action,
            direction: Direction::Out,
            target,
            ports: Some(monocore_spec::PortRange { first: 443, last: 443 }),
            protocol: None,
        };
        let mut engine = engine(
            Reach::None,
            vec![
                rule(Action::Deny, NetTarget::Domain("bad.example.com".into())),
                rule(Action::Allow, NetTarget::Suffix("example.com".into())),
                rule(
                    Action::Allow,
                    NetTarget::Network(monocore_spec::Cidr { address: [1, 1, 1, 2].into(), prefix: 32 }),
                ),
            ],
        );
        let [shared, named_too] = [1, 2].map(|last| SocketAddr::from(([1, 1, 1, last], 443)));
        let now = Instant::now();
        engine.learn("a.example.com", shared.ip(), Duration::ZERO, now);
        assert_eq!(
            engine.outbound(Protocol::Tcp, shared, now),
            Ok(Route { target: shared, inspected: true, peer: None })
        );
        assert_eq!(
            engine.outbound(Protocol::Tcp, named_too, now),
            Ok(Route { target: named_too, inspected: true, peer: None })
        );
        let mut begins = |target, name: &str| engine.beginning(target, &hello_for(name), false);
        assert_eq!(begins(shared, "a.example.com"), Beginning::Pass);
        // Another one that is allowed is, looked up or not.
        assert_eq!(begins(shared, "B.example.com"), Beginning::Pass);
        for name in ["bad.example.com", "example.com", "example.org", "a.example.com.evil.net", "1.1.1.1"] {
            assert_eq!(begins(shared, name), Beginning::Refuse, "{name}");
        }
        assert_eq!(begins(SocketAddr::new(shared.ip(), 80), "a.example.com"), Beginning::Refuse);
        assert_eq!(begins(named_too, "example.org"), Beginning::Pass);
        assert_eq!(begins(named_too, "bad.example.com"), Beginning::Refuse);
    }

    #[test]
    fn a_name_that_is_denied_is_denied_whatever_led_to_its_address() {
        use crate::hello::tests::hello_for;
        let rule = |action, target| NetRule {
            action,
            direction: Direction::Out,
            target,
            ports: None,
            protocol: None,
        };
        let denied = rule(Action::Deny, NetTarget::Suffix("bad.example".into()));
        let only_80 =
            NetRule { ports: Some(monocore_spec::PortRange { first: 80, last: 80 }), ..denied.clone() };
        let (target, now) = (SocketAddr::from(([1, 1, 1, 1], 443)), Instant::now());
        for (rules, is_inspected) in [
            (vec![denied.clone()], true),
            (vec![denied.clone(), rule(Action::Allow, NetTarget::Any)], true),
            // Nobody comes to the rule, or it is not about this.
            (vec![rule(Action::Allow, NetTarget::Any), denied], false),
            (vec![only_80], false),
            (vec![rule(Action::Allow, NetTarget::Domain("good.example".into()))], false),
        ] {
            let mut engine = engine(Reach::Public, rules);
            let route = engine.outbound(Protocol::Tcp, target, now).unwrap();
            assert_eq!(route.inspected, is_inspected);
            if is_inspected {
                let mut begins = |name: &str| engine.beginning(target, &hello_for(name), false);
                assert_eq!(begins("a.bad.example"), Beginning::Refuse);
                assert_eq!(begins("good.example"), Beginning::Pass);
                assert_eq!(engine.beginning(target, b"GET / HTTP/1.1", false), Beginning::Pass);
            }
        }
    }

    #[test]
    fn only_a_hello_is_waited_for() {
        let (mut engine, target) = (engine(Reach::None, vec![]), SocketAddr::from(([1, 1, 1, 1], 443)));
        let mut begins = |bytes: &[u8], ended| engine.beginning(target, bytes, ended);
        assert_eq!(begins(b"GET / HTTP/1.1", false), Beginning::Pass);
        assert_eq!((begins(b"", false), begins(b"", true)), (Beginning::Hold, Beginning::Pass));
        assert_eq!((begins(&[22, 3], false), begins(&[22, 3], true)), (Beginning::Hold, Beginning::Refuse));
        assert_eq!(begins(&[22, 3, 1, 0, 1, 1, 23, 3, 3, 0, 9], false), Beginning::Refuse);
    }

    #[test]
    fn connections_are_limited() {
        let mut engine = engine(Reach::Public, vec![]);
        let (target, now) = (SocketAddr::from(([1, 1, 1, 1], 80)), Instant::now());
        engine.opened();
        assert!(engine.outbound(Protocol::Tcp, target, now).is_ok());
        engine.opened();
        let full = engine.outbound(Protocol::Tcp, target, now);
        assert_eq!(full, Err(Decision { allowed: false, reason: Reason::Limit }));
        assert_eq!(engine.inbound(Protocol::Tcp, target, 80), None);
        engine.closed();
        assert!(engine.outbound(Protocol::Tcp, target, now).is_ok());
    }
}
