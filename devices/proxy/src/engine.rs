//! The engine: every connection, datagram and name goes through it, whichever front end it comes from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use monocore_spec::{Direction, LinkSpec, Protocol};

use crate::names::Names;
use crate::policy::{Decision, Policy, Question, Reason};
use crate::receipt::{Receipts, Subject};

/// Policy, names and receipts of one guest.
#[derive(Debug)]
pub struct Engine {
    policy: Policy,
    names: Names,
    receipts: Receipts,
    link: LinkSpec,
    connections: u32,
    max_connections: u32,
}

impl Engine {
    /// An engine for the guest at `link` that may have `max_connections` at a time.
    pub fn new(policy: Policy, receipts: Receipts, link: &LinkSpec, max_connections: u32) -> Self {
        Self {
            policy,
            names: Names::default(),
            receipts,
            link: link.clone(),
            connections: 0,
            max_connections,
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
    ) -> Result<SocketAddr, Decision> {
        let (address, port) = (target.ip(), target.port());
        let to_host = self.is_gateway(address);
        let names = self.names.of(address, now);
        let question = Question { direction: Direction::Out, protocol, address, port, to_host, names };
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
        Ok(if to_host { SocketAddr::new(loopback(address), port) } else { target })
    }

    /// Decides whether `client` may reach the guest at its port `guest_port`, which is published, and says from which
    /// address the guest sees it come.
    pub fn inbound(&mut self, protocol: Protocol, client: SocketAddr, guest_port: u16) -> Option<SocketAddr> {
        let address = client.ip().to_canonical();
        let question = Question {
            direction: Direction::In,
            protocol,
            address,
            port: guest_port,
            to_host: false,
            names: &[],
        };
        let mut decision = self.policy.decide(&question);
        if decision.allowed && self.connections >= self.max_connections {
            decision = Decision { allowed: false, reason: Reason::Limit };
        }
        let peer = Some((address, guest_port));
        let subject = Subject { direction: Direction::In, protocol: protocol.name(), peer, names: &[] };
        self.receipts.write(subject, decision);
        decision.allowed.then(|| SocketAddr::new(self.seen_from_guest(address), client.port()))
    }

    /// Decides whether a question for `name` (lower case, no dot at its end) is answered.
    pub fn ask(&mut self, name: &str) -> bool {
        let decision = self.policy.decide_name(name);
        let names = [name.to_owned()];
        let subject = Subject { direction: Direction::Out, protocol: "dns", peer: None, names: &names };
        self.receipts.write(subject, decision);
        decision.allowed
    }

    /// Whether an answer may carry `address`.
    pub fn may_resolve_to(&self, address: IpAddr) -> bool {
        !self.is_gateway(address) && self.policy.may_resolve_to(address)
    }

    /// An answer said that `name` is at `address`.
    pub fn learn(&mut self, name: &str, address: IpAddr, ttl: Duration, now: Instant) {
        self.names.record(name, address, ttl, now);
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
    use monocore_spec::{Action, NetRule, NetTarget, PolicySpec, Reach};

    fn engine(reach: Reach, rules: Vec<NetRule>) -> Engine {
        let policy = Policy::new(&PolicySpec { reach, rules }, Vec::new());
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
        assert_eq!(open.outbound(Protocol::Tcp, gateway, now), Ok(SocketAddr::from(([127, 0, 0, 1], 80))));
        assert!(open.outbound(Protocol::Tcp, SocketAddr::from(([127, 0, 0, 1], 80)), now).is_err());
        assert!(!open.may_resolve_to(gateway.ip()));
        let client = SocketAddr::from(([127, 0, 0, 1], 5000));
        assert_eq!(open.inbound(Protocol::Tcp, client, 80), Some(SocketAddr::from(([10, 77, 0, 1], 5000))));
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
