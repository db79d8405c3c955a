//! How a machine reaches others: its card, the addresses, and what the policy allows.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::{PeersSpec, Sink};

/// A network card, by what is at its other end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "a machine has one card")]
pub enum NetSpec {
    /// A user-mode stack in the machine's own process.
    Nat(NatSpec),
    /// A tap interface of this host.
    Tap(TapSpec),
    /// A passt process, or whatever else speaks QEMU's stream protocol.
    Passt(PasstSpec),
}

impl NetSpec {
    /// The card's address.
    pub fn mac(&self) -> [u8; 6] {
        match self {
            Self::Nat(nat) => nat.mac,
            Self::Tap(tap) => tap.mac,
            Self::Passt(passt) => passt.mac,
        }
    }

    /// How much it may move.
    pub fn rates(&self) -> NetRates {
        match self {
            Self::Nat(nat) => nat.proxy.limits.rates,
            Self::Tap(tap) => tap.rates,
            Self::Passt(passt) => passt.rates,
        }
    }
}

/// The user-mode stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatSpec {
    /// The card's address.
    pub mac: [u8; 6],
    /// What it is made of.
    #[serde(default)]
    pub proxy: ProxySpec,
}

/// What decides about a guest's connections and makes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxySpec {
    /// Addresses of both ends.
    #[serde(default)]
    pub link: LinkSpec,
    /// What may be reached.
    #[serde(default)]
    pub policy: PolicySpec,
    /// Name servers that questions are passed on to; those of this host's `/etc/resolv.conf` where none is named.
    #[serde(default)]
    pub resolvers: Vec<IpAddr>,
    /// Ports of this host that lead into the guest.
    #[serde(default)]
    pub publish: Vec<PublishedPort>,
    /// The same, where somebody bound them already.
    #[serde(default)]
    pub bound: Vec<BoundPort>,
    /// Where decisions are written, one JSON object a line.
    #[serde(default)]
    pub receipts: Sink,
    /// Length at which a regular file is emptied, bytes; nothing for no limit.
    #[serde(default)]
    pub receipts_max_bytes: Option<u64>,
    /// How much the guest may use.
    #[serde(default)]
    pub limits: NetLimits,
    /// The groups that the guest is a member of.
    #[serde(default)]
    pub peers: Option<PeersSpec>,
}

/// Addresses of a link between a guest and what stands for the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSpec {
    /// The guest's IPv4 address.
    pub guest_v4: Ipv4Addr,
    /// The other end's own IPv4 address: gateway, name server, and this host where the policy lets it be reached.
    pub gateway_v4: Ipv4Addr,
    /// Length of the IPv4 network's prefix, bits.
    pub prefix_v4: u8,
    /// The guest's IPv6 address.
    pub guest_v6: Ipv6Addr,
    /// The other end's own IPv6 address.
    pub gateway_v6: Ipv6Addr,
    /// Length of the IPv6 network's prefix, bits.
    pub prefix_v6: u8,
    /// The longest IP packet, bytes, from 1280.
    pub mtu: u16,
}

impl LinkSpec {
    /// The guest's address of the same family as `like`.
    pub fn guest(&self, like: IpAddr) -> IpAddr {
        if like.is_ipv4() { self.guest_v4.into() } else { self.guest_v6.into() }
    }
}

impl Default for LinkSpec {
    /// 10.77.0.2/24 and fd4d:6f6e:6f00::2/64. The link is as wide as IP packets can be: fewer, longer frames.
    fn default() -> Self {
        Self {
            guest_v4: Ipv4Addr::new(10, 77, 0, 2),
            gateway_v4: Ipv4Addr::new(10, 77, 0, 1),
            prefix_v4: 24,
            guest_v6: Ipv6Addr::new(0xfd4d, 0x6f6e, 0x6f00, 0, 0, 0, 0, 2),
            gateway_v6: Ipv6Addr::new(0xfd4d, 0x6f6e, 0x6f00, 0, 0, 0, 0, 1),
            prefix_v6: 64,
            mtu: 65535,
        }
    }
}

/// A tap interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TapSpec {
    /// The card's address.
    pub mac: [u8; 6],
    /// Which interface.
    pub interface: TapRef,
    /// How much the card may move.
    #[serde(default)]
    pub rates: NetRates,
}

/// How a tap interface is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TapRef {
    /// By its name, at most 15 bytes; it must be there and belong to the user.
    Name(String),
    /// An inherited descriptor of it.
    Fd(i32),
}

/// A passt process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasstSpec {
    /// The card's address.
    pub mac: [u8; 6],
    /// An inherited descriptor: the connected stream socket.
    pub fd: i32,
    /// How much the card may move.
    #[serde(default)]
    pub rates: NetRates,
}

/// What a guest may reach, and who may reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySpec {
    /// What no rule speaks of.
    #[serde(default)]
    pub reach: Reach,
    /// Looked at in order; the first that fits decides.
    #[serde(default)]
    pub rules: Vec<NetRule>,
}

/// What a guest may reach where no rule says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Nothing.
    None,
    /// The other members of its groups.
    Group,
    /// The other members of its groups, and public addresses.
    #[default]
    Public,
    /// The other members of its groups, public and private addresses. This host and cloud metadata still need a rule.
    Any,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetRule {
    /// What it decides.
    pub action: Action,
    /// For which way.
    #[serde(default)]
    pub direction: Direction,
    /// For whom.
    pub target: NetTarget,
    /// For which ports of the one who is connected to; all where nothing is said.
    #[serde(default)]
    pub ports: Option<PortRange>,
    /// For which protocol; all where nothing is said.
    #[serde(default)]
    pub protocol: Option<Protocol>,
}

/// What a rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It may be.
    Allow,
    /// It may not be.
    Deny,
}

/// Which way a connection is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// By the guest.
    #[default]
    Out,
    /// To the guest.
    In,
}

/// Whom a rule speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NetTarget {
    /// Everybody; as an allowance, everybody but private addresses, this host and cloud metadata.
    Any,
    /// A network; as an allowance, private and metadata addresses in it only if it has no others.
    Network(Cidr),
    /// The addresses that one name has. A TLS client there must ask for a name that is allowed, and nowhere for one that is denied.
    Domain(String),
    /// The addresses of every name below this one, not of itself; the same holds for TLS clients.
    Suffix(String),
    /// This host, through the gateway's address.
    Host,
}

/// A network: an address and the count of bits that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cidr {
    /// Its address.
    pub address: IpAddr,
    /// How many leading bits matter, up to 32 or 128.
    pub prefix: u8,
}

impl Cidr {
    /// Whether `address` lies in this network. IPv4 and IPv6 never contain each other.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix.min(128))).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl PortRange {
    /// Whether `port` is one of them.
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// A protocol above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6: echo requests.
    Icmp,
}

impl Protocol {
    /// Its name in rules and receipts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

/// A port of this host that leads into the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedPort {
    /// This host's address.
    pub address: IpAddr,
    /// This host's port; 0 takes a free one.
    pub host_port: u16,
    /// The guest's port.
    pub guest_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// A port of this host that leads into the guest, and is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundPort {
    /// An inherited descriptor: the socket; one for TCP listens.
    pub fd: i32,
    /// The guest's port.
    pub guest_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// How much a guest may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetLimits {
    /// Connections at a time, TCP and UDP together.
    pub connections: u32,
    /// How much it may move.
    pub rates: NetRates,
}

impl Default for NetLimits {
    fn default() -> Self {
        Self { connections: 4096, rates: NetRates::default() }
    }
}

/// How much a guest may move: as much as it likes where nothing is said. With a card, frames count with their headers, without
/// one what they would carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetRates {
    /// What it sends.
    pub from_guest: Option<NetRate>,
    /// What it receives.
    pub to_guest: Option<NetRate>,
}

/// So much in the long run, and so much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetRate {
    /// Bytes a second, from 1.
    pub bytes_per_second: u64,
    /// Bytes that may go at once after a rest, from 1.
    pub burst_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_their_prefix_says() {
        let net = |text: &str, prefix| Cidr { address: text.parse().unwrap(), prefix };
        for (network, address, expected) in [
            (net("10.0.0.0", 8), "10.255.0.1", true),
            (net("10.0.0.0", 8), "11.0.0.1", false),
            (net("0.0.0.0", 0), "255.255.255.255", true),
            (net("1.2.3.4", 32), "1.2.3.4", true),
            (net("1.2.3.4", 32), "1.2.3.5", false),
            (net("fd00::", 8), "fdff::1", true),
            (net("::", 0), "ff02::1", true),
            (net("::", 0), "1.2.3.4", false),
            (net("::1", 128), "::1", true),
        ] {
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network} {address}");
        }
    }

    #[test]
    fn what_a_card_leaves_open_has_defaults() {
        let parse = |text: &str| serde_json::from_str::<NetSpec>(text);
        let card = parse(r#"{"nat":{"mac":[2,0,0,0,0,1]}}"#).unwrap();
        assert_eq!((card.mac(), card.rates()), ([2, 0, 0, 0, 0, 1], NetRates::default()));
        let NetSpec::Nat(nat) = card else { panic!("a nat") };
        assert_eq!(nat.proxy, ProxySpec::default());
        assert_eq!(nat.proxy.limits.connections, 4096);
        let slow = r#"{"nat":{"mac":[2,0,0,0,0,1],"proxy":
            {"limits":{"rates":{"to_guest":{"bytes_per_second":9,"burst_bytes":1}}}}}}"#;
        let to_guest = Some(NetRate { bytes_per_second: 9, burst_bytes: 1 });
        assert_eq!(parse(slow).unwrap().rates(), NetRates { from_guest: None, to_guest });
        assert!(parse(r#"{"nat":{"mac":[2,0,0,0,0,1],"surprise":1}}"#).is_err());
    }
}
