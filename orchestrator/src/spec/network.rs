//! The network, as users write it: `nat`, `allow:host,port=8080`, `127.0.0.1:8080:80/udp`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use monocore_spec::{
    Action, Cidr, Direction, NetLimits, NetRule, NetTarget, PolicySpec, PortRange, Protocol, PublishedPort,
    Reach,
};
use serde::{Deserialize, Serialize};

use super::{GroupMembership, ParseError};

/// How a sandbox reaches others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// By what.
    pub mode: NetworkMode,
    /// What it may reach, in [`NetworkMode::Nat`] and [`NetworkMode::Tsi`].
    pub policy: PolicySpec,
    /// Ports of this host that lead to it, in the same.
    pub publish: Vec<PublishedPort>,
    /// Every port its image names leads to it too, from a free port of this host's loopback.
    pub publish_exposed: bool,
    /// Name servers instead of this host's.
    pub dns: Vec<IpAddr>,
    /// Domains to look names up in.
    pub dns_search: Vec<String>,
    /// Words of the `options` line of the guest's `/etc/resolv.conf`.
    #[serde(default)]
    pub dns_options: Vec<String>,
    /// Ports beside the image's that `publish_exposed` publishes, as `80/tcp` or `7000-7009/udp`.
    #[serde(default)]
    pub expose: Vec<String>,
    /// A file to which decisions are appended, one JSON object a line.
    pub log: Option<PathBuf>,
    /// Length at which that file is emptied, bytes; nothing for no limit.
    pub log_max_bytes: Option<u64>,
    /// How much it may move, and of how many connections at a time, these in [`NetworkMode::Nat`] and [`NetworkMode::Tsi`].
    pub limits: NetLimits,
    /// The groups that it is a member of, in [`NetworkMode::Nat`] and [`NetworkMode::Tsi`].
    #[serde(default)]
    pub groups: Vec<GroupMembership>,
}

/// By what a sandbox reaches others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// It does not.
    #[default]
    None,
    /// By a network card and a user-mode stack.
    Nat,
    /// By the sockets of its kernel, which are carried to this host one by one.
    Tsi,
    /// By a network card and a tap interface of this name.
    Tap(String),
    /// By a network card and whoever serves this Unix socket.
    Passt(PathBuf),
}

impl NetworkMode {
    /// Whether monocore itself makes its connections, by its policy, and publishes its ports.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Nat | Self::Tsi)
    }
}

/// The longest name of an interface, bytes.
const MAX_INTERFACE: usize = 15;

/// `none`, `nat`, `tsi`, `tap:NAME`, or `passt:SOCKET`.
///
/// # Errors
/// Any other text.
pub fn parse_network(text: &str) -> Result<NetworkMode, ParseError> {
    match text.split_once(':').unwrap_or((text, "")) {
        ("none", "") => Ok(NetworkMode::None),
        // Docker's names for a network of the sandbox's own.
        ("nat" | "bridge" | "default", "") => Ok(NetworkMode::Nat),
        ("host", "") => Err(ParseError::new(
            text,
            "a sandbox is not on the host's network; publish its ports with -p, and let it reach this machine with --allow-host",
        )),
        ("tsi", "") => Ok(NetworkMode::Tsi),
        ("tap", name) if !name.is_empty() && name.len() <= MAX_INTERFACE => {
            Ok(NetworkMode::Tap(name.to_owned()))
        }
        ("passt", socket) if !socket.is_empty() => Ok(NetworkMode::Passt(socket.into())),
        _ => Err(ParseError::new(text, "a network is nat, tsi, none, tap:INTERFACE or passt:SOCKET")),
    }
}

/// `none`, `group`, `public` or `any`.
///
/// # Errors
/// Any other text.
pub fn parse_reach(text: &str) -> Result<Reach, ParseError> {
    match text {
        "none" => Ok(Reach::None),
        "group" => Ok(Reach::Group),
        "public" => Ok(Reach::Public),
        "any" => Ok(Reach::Any),
        _ => Err(ParseError::new(text, "a reach is none, group, public or any")),
    }
}

/// `allow:TARGET[,port=N[-M]][,proto=tcp|udp|icmp][,in]`, or `deny:…`. A target is `*`, `host`, an address, a network
/// (`10.0.0.0/8`), a name, or the names below one (`*.example.com`).
///
/// # Errors
/// Any other text.
pub fn parse_net_rule(text: &str) -> Result<NetRule, ParseError> {
    let problem = |problem: &str| ParseError::new(text, problem);
    let (action, rest) = text.split_once(':').ok_or_else(|| problem("a rule begins with allow: or deny:"))?;
    let action = match action {
        "allow" => Action::Allow,
        "deny" => Action::Deny,
        _ => return Err(problem("a rule begins with allow: or deny:")),
    };
    let mut words = rest.split(',');
    let target = target(words.next().unwrap_or(""))
        .ok_or_else(|| problem("a rule is for *, host, an address, a network, a name or *.NAME"))?;
    let mut rule = NetRule { action, direction: Direction::Out, target, ports: None, protocol: None };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("port", range) => rule.ports = Some(ports(range).ok_or_else(|| problem("a port is N or N-M"))?),
            ("proto", "tcp") => rule.protocol = Some(Protocol::Tcp),
            ("proto", "udp") => rule.protocol = Some(Protocol::Udp),
            ("proto", "icmp") => rule.protocol = Some(Protocol::Icmp),
            ("in", "") => rule.direction = Direction::In,
            _ => return Err(problem("after its target a rule has port=N[-M], proto=tcp|udp|icmp, or in")),
        }
    }
    Ok(rule)
}

/// `[ADDRESS:][HOST]:GUEST[/udp]`, or one number for both ports; each may be a range `N-M`, both as long. Without an address,
/// this host's loopback; with 0 or nothing for HOST, ports that are free.
///
/// # Errors
/// Any other text.
pub fn parse_publish(text: &str) -> Result<Vec<PublishedPort>, ParseError> {
    let problem =
        || ParseError::new(text, "publish [ADDRESS:][HOST]:GUEST[/udp], ports or ranges of as many ports");
    let (rest, protocol) = protocol(text).ok_or_else(problem)?;
    let (rest, guest) = rest.rsplit_once(':').map_or((None, rest), |(rest, guest)| (Some(rest), guest));
    let (address, host) = match rest {
        // One number for both.
        None => ("", guest),
        Some(rest) => rest.rsplit_once(':').unwrap_or(("", rest)),
    };
    let address = match address.strip_prefix('[').and_then(|address| address.strip_suffix(']')) {
        Some(v6) => IpAddr::V6(v6.parse().map_err(|_| problem())?),
        None if address.is_empty() => Ipv4Addr::LOCALHOST.into(),
        None => IpAddr::V4(address.parse().map_err(|_| problem())?),
    };
    let guest = ports(guest).filter(|range| range.first > 0).ok_or_else(problem)?;
    let host = match host {
        "" | "0" => None,
        host => Some(ports(host).filter(|range| range.first > 0).ok_or_else(problem)?),
    };
    if host.is_some_and(|host| host.last - host.first != guest.last - guest.first) {
        return Err(problem());
    }
    let publish = |guest_port| {
        let host_port = host.map_or(0, |host| host.first + (guest_port - guest.first));
        PublishedPort { address, host_port, guest_port, protocol }
    };
    Ok((guest.first..=guest.last).map(publish).collect())
}

/// A port of a guest as images name them: `80`, `80/tcp` or `53/udp`; an image may also give a range, `8000-8010/tcp`.
///
/// # Errors
/// Any other text.
pub fn parse_guest_ports(text: &str) -> Result<(PortRange, Protocol), ParseError> {
    let parsed = protocol(text).and_then(|(range, protocol)| Some((ports(range)?, protocol)));
    parsed
        .filter(|(range, _)| range.first > 0)
        .ok_or_else(|| ParseError::new(text, "a port is N[/tcp] or N/udp, from 1 to 65535"))
}

/// The protocol at the end of `text`, TCP where there is none, and what stands before it.
fn protocol(text: &str) -> Option<(&str, Protocol)> {
    match text.rsplit_once('/') {
        Some((rest, "udp")) => Some((rest, Protocol::Udp)),
        Some((rest, "tcp")) => Some((rest, Protocol::Tcp)),
        Some(_) => None,
        None => Some((text, Protocol::Tcp)),
    }
}

fn target(text: &str) -> Option<NetTarget> {
    if text == "*" {
        return Some(NetTarget::Any);
    }
    if text == "host" {
        return Some(NetTarget::Host);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(NetTarget::Network(Cidr { address, prefix: bits(address) }));
    }
    if let Some((address, prefix)) = text.split_once('/') {
        let (address, prefix) = (address.parse::<IpAddr>().ok()?, prefix.parse().ok()?);
        return (prefix <= bits(address)).then_some(NetTarget::Network(Cidr { address, prefix }));
    }
    match text.strip_prefix("*.") {
        Some(suffix) => domain(suffix).map(NetTarget::Suffix),
        None => domain(text).map(NetTarget::Domain),
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// A name with a letter in its last part: else it is an address somebody spelled in a way of their own.
fn domain(text: &str) -> Option<String> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    let named = text.rsplit('.').next().is_some_and(|last| last.bytes().any(|b| b.is_ascii_alphabetic()));
    (named && text.len() <= 253 && text.split('.').all(label)).then(|| text.to_ascii_lowercase())
}

fn ports(text: &str) -> Option<PortRange> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let (first, last): (u16, u16) = (number(first)?, number(last)?);
    (first <= last).then_some(PortRange { first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_named() {
        assert_eq!(parse_network("tsi"), Ok(NetworkMode::Tsi));
        assert_eq!(parse_network("bridge"), Ok(NetworkMode::Nat), "as Docker calls it");
        assert_eq!(parse_network("tap:tap0"), Ok(NetworkMode::Tap("tap0".into())));
        assert_eq!(parse_network("passt:/run/p.sock"), Ok(NetworkMode::Passt("/run/p.sock".into())));
        for bad in ["", "tap", "tap:", "nat:x", "tsi:x", "none:x", "host", "tap:0123456789abcdef", "passt:"] {
            assert!(parse_network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reach_is_one_of_four() {
        for (text, reach) in
            [("none", Reach::None), ("group", Reach::Group), ("public", Reach::Public), ("any", Reach::Any)]
        {
            assert_eq!(parse_reach(text), Ok(reach));
        }
        assert!(parse_reach("all").is_err());
    }

    #[test]
    fn rules_say_whom_and_where() {
        let rule = parse_net_rule("allow:10.0.0.0/8,port=80-90,proto=tcp").unwrap();
        assert_eq!(
            (rule.action, rule.direction, rule.protocol),
            (Action::Allow, Direction::Out, Some(Protocol::Tcp))
        );
        assert_eq!(rule.ports, Some(PortRange { first: 80, last: 90 }));
        for (text, target) in [
            ("deny:*", NetTarget::Any),
            ("allow:host", NetTarget::Host),
            ("allow:Example.COM.", NetTarget::Domain("example.com".into())),
            ("allow:*.example.com", NetTarget::Suffix("example.com".into())),
            ("deny:fd00::/8", NetTarget::Network(Cidr { address: "fd00::".parse().unwrap(), prefix: 8 })),
            ("deny:1.2.3.4", NetTarget::Network(Cidr { address: [1, 2, 3, 4].into(), prefix: 32 })),
        ] {
            assert_eq!(parse_net_rule(text).map(|rule| rule.target), Ok(target), "{text}");
        }
        assert_eq!(parse_net_rule("deny:*,in").map(|rule| rule.direction), Ok(Direction::In));
        for bad in [
            "",
            "allow",
            "allow:",
            "permit:*",
            "allow:1.2.3.4/33",
            "allow:::1/129",
            "allow:1.2.3",
            "allow:a..b",
            "allow:*.",
            "allow:a b",
            "allow:host,port=",
            "allow:host,port=9-1",
            "allow:host,port=+1",
            "allow:host,proto=gre",
            "allow:host,out",
        ] {
            assert!(parse_net_rule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_are_published_on_loopback_unless_an_address_is_given() {
        let one = |text: &str| parse_publish(text).map(|ports| ports[0]);
        let port = |address: &str, host_port, guest_port, protocol| {
            Ok(PublishedPort { address: address.parse().unwrap(), host_port, guest_port, protocol })
        };
        assert_eq!(one("8080:80"), port("127.0.0.1", 8080, 80, Protocol::Tcp));
        assert_eq!(one("80"), port("127.0.0.1", 80, 80, Protocol::Tcp));
        assert_eq!(one("0.0.0.0:53:53/udp"), port("0.0.0.0", 53, 53, Protocol::Udp));
        assert_eq!(one("[::1]:1:2"), port("::1", 1, 2, Protocol::Tcp));
        for free in ["0:80", ":80", "127.0.0.1::80"] {
            assert_eq!(one(free), port("127.0.0.1", 0, 80, Protocol::Tcp), "{free}");
        }
        assert_eq!(one("[::1]::53/udp"), port("::1", 0, 53, Protocol::Udp));
        let free = parse_publish(":80-82").unwrap();
        assert_eq!(
            free.iter().map(|p| (p.host_port, p.guest_port)).collect::<Vec<_>>(),
            [(0, 80), (0, 81), (0, 82)]
        );
        let range = parse_publish("1000-1002:80-82").unwrap();
        assert_eq!(
            range.iter().map(|p| (p.host_port, p.guest_port)).collect::<Vec<_>>(),
            [(1000, 80), (1001, 81), (1002, 82)]
        );
        for bad in [
            "",
            ":",
            "80:",
            "a:80",
            "1-2:80",
            "80:80/sctp",
            "::1:80:80",
            "1.2.3:80:80",
            "80:0",
            "70000:80",
            "2-1:2-1",
            "0-2:80-82",
            "127.0.0.1:80",
        ] {
            assert!(parse_publish(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_of_an_image_have_a_protocol() {
        let range = |first, last| PortRange { first, last };
        assert_eq!(parse_guest_ports("80"), Ok((range(80, 80), Protocol::Tcp)));
        assert_eq!(parse_guest_ports("53/udp"), Ok((range(53, 53), Protocol::Udp)));
        assert_eq!(parse_guest_ports("1-3/tcp"), Ok((range(1, 3), Protocol::Tcp)));
        for bad in ["", "0", "0/tcp", "80/sctp", "tcp", "80/", "/tcp", "65536", "9-1", "-80"] {
            assert!(parse_guest_ports(bad).is_err(), "{bad}");
        }
    }
}
