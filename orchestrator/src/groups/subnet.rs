//! Subnets of 10.0.0.0/8 for groups.

use std::net::{IpAddr, Ipv4Addr};

use monocore_spec::{Cidr, LinkSpec};

/// Length of a group's prefix, bits.
const PREFIX: u8 = 24;
/// The second byte of the first subnet that is tried. Networks at home and at work use the low ones most.
const FIRST: u32 = 200;
/// How many /24 there are in 10.0.0.0/8.
const COUNT: u32 = 1 << 16;
/// This host's IPv4 routes.
const ROUTES: &str = "/proc/net/route";

/// The next /24 that overlaps neither those `taken`, nor the link between a guest and its gateway, nor a route of this host.
pub(super) fn free(taken: &[Cidr]) -> Option<Cidr> {
    let routes = std::fs::read_to_string(ROUTES).map(|text| parse_routes(&text)).unwrap_or_default();
    next(taken, &routes)
}

fn next(taken: &[Cidr], routes: &[Cidr]) -> Option<Cidr> {
    let link = LinkSpec::default();
    let link = Cidr { address: link.guest_v4.into(), prefix: link.prefix_v4 };
    let candidate = |number: u32| {
        let number = (FIRST * 256 + number) % COUNT;
        Cidr { address: Ipv4Addr::from_bits(10 << 24 | number << 8).into(), prefix: PREFIX }
    };
    let is_free = |candidate: &Cidr| {
        !taken.iter().chain(routes).chain([&link]).any(|other| overlap(*other, *candidate))
    };
    (0..COUNT).map(candidate).find(is_free)
}

/// Whether the user may choose `subnet`.
pub(super) fn is_usable(subnet: Cidr) -> bool {
    let IpAddr::V4(address) = subnet.address else { return false };
    (16..=29).contains(&subnet.prefix)
        && address.is_private()
        && address.to_bits() & !mask(subnet.prefix) == 0
}

/// Whether two networks have an address in common.
pub(super) fn overlap(a: Cidr, b: Cidr) -> bool {
    a.contains(b.address) || b.contains(a.address)
}

/// The addresses that members may have: all but the network's own, the first one, which Docker gives to a gateway, and the
/// broadcast address.
pub(super) fn hosts(subnet: Cidr) -> impl Iterator<Item = Ipv4Addr> {
    let (first, last) = match subnet.address {
        IpAddr::V4(address) => {
            let first = address.to_bits() & mask(subnet.prefix);
            (first, first | !mask(subnet.prefix))
        }
        IpAddr::V6(_) => (0, 0),
    };
    (first.saturating_add(2)..last).map(Ipv4Addr::from_bits)
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

/// The destinations of `text`, as the kernel writes them: hexadecimal, in the byte order of the host. The default route counts
/// for nothing.
fn parse_routes(text: &str) -> Vec<Cidr> {
    let route = |line: &str| {
        let mut columns = line.split_ascii_whitespace();
        let number = |text: &str| u32::from_str_radix(text, 16).ok();
        let destination = number(columns.nth(1)?)?;
        let mask = number(columns.nth(5)?)?;
        let prefix = u8::try_from(mask.count_ones()).ok()?;
        let address = Ipv4Addr::from(destination.to_ne_bytes());
        (prefix > 0).then_some(Cidr { address: address.into(), prefix })
    };
    text.lines().skip(1).filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str, prefix: u8) -> Cidr {
        Cidr { address: text.parse().unwrap(), prefix }
    }

    #[test]
    fn the_next_free_subnet_is_nobodys() {
        assert_eq!(next(&[], &[]), Some(cidr("10.200.0.0", 24)));
        let taken = [cidr("10.200.0.0", 24), cidr("10.200.2.0", 25)];
        assert_eq!(next(&taken, &[]), Some(cidr("10.200.1.0", 24)));
        assert_eq!(next(&taken, &[cidr("10.200.0.0", 16)]), Some(cidr("10.201.0.0", 24)));
        // Around the end, and never a guest's own link.
        let most = [
            cidr("10.128.0.0", 9),
            cidr("10.0.0.0", 10),
            cidr("10.64.0.0", 13),
            cidr("10.72.0.0", 14),
            cidr("10.76.0.0", 16),
        ];
        assert_eq!(next(&most, &[]), Some(cidr("10.77.1.0", 24)));
        assert_eq!(next(&[cidr("10.0.0.0", 8)], &[]), None);
    }

    #[test]
    fn routes_are_read_as_the_kernel_writes_them() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0001C80A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let expected = if cfg!(target_endian = "little") { vec![cidr("10.200.1.0", 24)] } else { Vec::new() };
        assert_eq!(parse_routes(text), expected);
    }

    #[test]
    fn members_have_neither_the_first_addresses_nor_the_last() {
        let all: Vec<_> = hosts(cidr("10.1.2.0", 29)).map(|address| address.octets()[3]).collect();
        assert_eq!(all, [2, 3, 4, 5, 6]);
        assert_eq!(hosts(cidr("10.1.2.0", 24)).count(), 253);
    }

    #[test]
    fn a_subnet_is_private_and_of_a_sensible_size() {
        assert!(is_usable(cidr("172.18.0.0", 16)) && is_usable(cidr("10.1.2.8", 29)));
        for (address, prefix) in
            [("10.0.0.0", 8), ("10.1.2.0", 30), ("8.8.8.0", 24), ("10.1.2.1", 24), ("fd00::", 24)]
        {
            assert!(!is_usable(cidr(address, prefix)), "{address}/{prefix}");
        }
    }
}
