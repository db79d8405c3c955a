use monocore_spec::{Cidr, PortRange};
use proptest::prelude::*;

use super::*;

fn rule(action: Action, target: NetTarget) -> NetRule {
    NetRule { action, direction: Direction::Out, target, ports: None, protocol: None }
}

fn net(text: &str) -> NetTarget {
    let (address, prefix) = text.split_once('/').unwrap();
    NetTarget::Network(Cidr { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() })
}

fn policy(reach: Reach, rules: Vec<NetRule>) -> Policy {
    Policy::new(
        &PolicySpec { reach, rules },
        HostAddresses::fixed(&["192.168.7.7".parse().unwrap(), "8.8.4.4".parse().unwrap()]),
    )
}

fn question(address: &str) -> Question<'static> {
    Question {
        direction: Direction::Out,
        protocol: Protocol::Tcp,
        address: address.parse().unwrap(),
        port: 80,
        to_host: false,
        is_peer: false,
        names: &[],
        aliases: &[],
    }
}

fn reaches(policy: &Policy, address: &str) -> bool {
    policy.decide(&question(address)).allowed
}

const GUARDED: &[&str] = &[
    "169.254.169.254",
    "169.254.1.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "2002:7f00:1::1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "10.0.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.1.2.3",
    "0.0.0.0",
    "0.1.2.3",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "fe80::1",
    "fc00::1",
    "fd12::1",
    "fec0::1",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "ff02::1",
    "2001::1",
    "4000::1",
    // This host's own, one of them public.
    "192.168.7.7",
    "8.8.4.4",
    "64:ff9b::8.8.4.4",
];

#[test]
fn guarded_addresses_need_a_rule_that_names_them() {
    let everything = vec![
        rule(Action::Allow, NetTarget::Any),
        rule(Action::Allow, net("0.0.0.0/0")),
        rule(Action::Allow, net("::/0")),
    ];
    for policy in [policy(Reach::Public, vec![]), policy(Reach::Public, everything)] {
        for address in GUARDED {
            assert!(!reaches(&policy, address), "{address}");
            assert!(!policy.may_resolve_to(address.parse().unwrap()), "{address}");
        }
        for address in
            ["1.1.1.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8", "2002:808:808::1", "8.8.8.8"]
        {
            assert!(reaches(&policy, address), "{address}");
            assert!(policy.may_resolve_to(address.parse().unwrap()), "{address}");
        }
    }
}

#[test]
fn a_rule_opens_what_it_names_and_nothing_more_particular() {
    let opened = policy(
        Reach::Public,
        vec![
            rule(Action::Allow, net("10.0.0.0/8")),
            rule(Action::Allow, net("169.254.0.0/16")),
            rule(Action::Allow, net("127.0.0.0/8")),
        ],
    );
    for (address, expected) in [
        ("10.1.2.3", true),
        ("169.254.1.1", true),
        ("169.254.169.254", false),
        ("192.168.1.1", false),
        ("127.0.0.1", false),
    ] {
        assert_eq!(reaches(&opened, address), expected, "{address}");
        assert_eq!(opened.may_resolve_to(address.parse().unwrap()), expected, "{address}");
    }
    let metadata = policy(Reach::None, vec![rule(Action::Allow, net("169.254.169.254/32"))]);
    assert!(reaches(&metadata, "169.254.169.254"));
    assert!(!reaches(&metadata, "1.1.1.1"));
}

#[test]
fn the_host_is_reached_by_its_own_rule_only() {
    let mut to_host = question("10.77.0.1");
    to_host.to_host = true;
    let by_network =
        policy(Reach::Any, vec![rule(Action::Allow, net("10.0.0.0/8")), rule(Action::Allow, NetTarget::Any)]);
    assert_eq!(by_network.decide(&to_host), deny(Reason::Guarded(Class::Host)));
    let mut host = rule(Action::Allow, NetTarget::Host);
    host.ports = Some(PortRange { first: 80, last: 81 });
    let by_host = policy(Reach::None, vec![host]);
    assert!(by_host.decide(&to_host).allowed);
    to_host.port = 82;
    assert!(!by_host.decide(&to_host).allowed);
    assert!(!reaches(&by_host, "127.0.0.1"));
}

#[test]
fn the_first_rule_that_fits_decides() {
    let ordered = policy(
        Reach::Any,
        vec![
            rule(Action::Allow, net("10.1.0.0/16")),
            rule(Action::Deny, net("10.0.0.0/8")),
            rule(Action::Deny, net("1.0.0.0/8")),
        ],
    );
    for (address, expected) in
        [("10.1.0.1", true), ("10.2.0.1", false), ("192.168.0.1", true), ("1.1.1.1", false)]
    {
        assert_eq!(reaches(&ordered, address), expected, "{address}");
    }
    assert!(!reaches(&ordered, "169.254.169.254"));
}

#[test]
fn where_only_names_are_allowed_an_address_needs_one() {
    let names = policy(
        Reach::None,
        vec![
            rule(Action::Deny, NetTarget::Domain("bad.example.com".into())),
            rule(Action::Allow, NetTarget::Domain("Example.org.".into())),
            rule(Action::Allow, NetTarget::Suffix("example.com".into())),
        ],
    );
    let by = |name: &str, address: &str| {
        let names_of = [name.to_owned()];
        names.decide(&Question { names: &names_of, ..question(address) }).allowed
    };
    assert!(!reaches(&names, "1.1.1.1"));
    assert!(by("example.org", "1.1.1.1") && by("a.b.example.com", "1.1.1.1"));
    for name in
        ["bad.example.com", "example.com", "notexample.com", "example.org.evil.net", "www.example.org"]
    {
        assert!(!by(name, "1.1.1.1"), "{name}");
        assert!(!names.decide_name(name, &[]).allowed, "{name}");
    }
    assert!(names.decide_name("example.org", &[]).allowed && names.decide_name("x.example.com", &[]).allowed);
    // A name never opens what is guarded.
    assert!(!by("example.org", "10.0.0.1") && !by("example.org", "169.254.169.254"));
}

#[test]
fn a_denied_port_does_not_hide_its_name() {
    let mut smtp = rule(Action::Deny, NetTarget::Any);
    smtp.ports = Some(PortRange { first: 25, last: 25 });
    let policy = policy(Reach::Public, vec![smtp]);
    assert!(policy.decide_name("example.org", &[]).allowed);
    assert!(!policy.decide(&Question { port: 25, ..question("1.1.1.1") }).allowed);
}

#[test]
fn published_ports_are_open_but_to_those_denied() {
    let mut outsiders = rule(Action::Deny, net("192.168.0.0/16"));
    outsiders.direction = Direction::In;
    let policy = policy(Reach::None, vec![outsiders]);
    let from = |address| policy.decide(&Question { direction: Direction::In, ..question(address) }).allowed;
    assert!(from("127.0.0.1") && !from("192.168.0.9"));
}

proptest! {
    /// However an address inside is spelled, no name and no wide rule reaches it.
    #[test]
    fn no_spelling_of_an_inner_address_gets_through(inner in any::<u32>(), tail in any::<u64>(), form in 0usize..4) {
        let v4 = std::net::Ipv4Addr::from_bits(inner);
        let bits = u128::from(inner);
        let spelled = match form {
            0 => IpAddr::V4(v4),
            1 => std::net::Ipv6Addr::from_bits(0x0064_ff9b_u128 << 96 | bits).into(),
            2 => std::net::Ipv6Addr::from_bits(0x2002_u128 << 112 | bits << 80 | u128::from(tail)).into(),
            _ => v4.to_ipv6_mapped().into(),
        };
        let policy = policy(Reach::Public, vec![rule(Action::Allow, NetTarget::Any)]);
        let inside = class::guard(IpAddr::V4(v4)).is_some();
        let decision = policy.decide(&Question { address: spelled, ..question("1.1.1.1") });
        let own = IpAddr::V4(v4) == IpAddr::from([8, 8, 4, 4]);
        prop_assert_eq!(decision.allowed, !inside && form < 3 && !own);
    }
}

#[test]
fn an_operators_own_translator_leads_to_nothing_that_is_guarded() {
    let open = policy(Reach::Any, vec![rule(Action::Allow, net("64:ff9b:1::/48"))]);
    // The metadata service and an address of this host behind prefixes of 48, 56, 64 and 96 bits.
    for address in [
        "64:ff9b:1:a9fe:00a9:fe00::",
        "64:ff9b:1:00a9:00fe:a9fe::",
        "64:ff9b:1:0:00a9:fea9:fe00:0",
        "64:ff9b:1::169.254.169.254",
        "64:ff9b:1:808:0004:0400::",
        "64:ff9b:1:1:0008:0804:0400:0",
        "64:ff9b:1:2::8.8.4.4",
    ] {
        assert!(!reaches(&open, address), "{address}");
    }
    for address in ["64:ff9b:1::10.1.1.1", "64:ff9b:1::1.1.1.1"] {
        assert!(reaches(&open, address), "{address} is allowed by the rule");
    }
}

#[test]
fn a_translator_of_the_network_leads_to_nothing_that_is_guarded() {
    let own: [IpAddr; 2] = ["2a00:1::7".parse().unwrap(), "8.8.4.4".parse().unwrap()];
    let new = |reach| {
        let rules = vec![rule(Action::Allow, net("2a00:64::/96"))];
        Policy::new(&PolicySpec { reach, rules }, HostAddresses::fixed(&own))
    };
    let through = ["2a00:64::169.254.169.254", "2a00:64::127.0.0.1", "2a00:64::8.8.4.4", "2a00:64::10.0.0.1"];
    let outside = ["2a00:64::1.1.1.1", "2606:4700::1111"];
    for reach in [Reach::Public, Reach::Any] {
        let mut policy = new(reach);
        assert!(policy.looks_for_translators());
        assert!(!policy.looks_for_translators(), "once is enough");
        for address in through.iter().chain(&outside) {
            assert!(!reaches(&policy, address), "{address}: where it leads is not known yet");
        }
        assert!(reaches(&policy, "1.1.1.1"));
        policy.found_translators(Some(&["2a00:64::192.0.0.170".parse().unwrap()]));
        for address in &through[..3] {
            assert!(!reaches(&policy, address), "{address}");
            assert!(!policy.may_resolve_to(address.parse().unwrap()), "{address}");
        }
        assert_eq!(reaches(&policy, through[3]), reach == Reach::Any);
        for address in outside {
            assert!(reaches(&policy, address), "{address}");
        }
        // Silence of the name servers later takes nothing back.
        policy.found_translators(None);
        assert!(!reaches(&policy, through[0]));
    }
    let mut silent = new(Reach::Public);
    assert!(silent.looks_for_translators());
    silent.found_translators(None);
    assert!(reaches(&silent, outside[1]));
    // Nobody is asked where nothing can be reached, or not by IPv6.
    let no_rules = |reach, own: &[IpAddr]| {
        Policy::new(&PolicySpec { reach, rules: Vec::new() }, HostAddresses::fixed(own))
    };
    assert!(!no_rules(Reach::None, &own).looks_for_translators());
    assert!(!no_rules(Reach::Public, &own[1..]).looks_for_translators());
}
