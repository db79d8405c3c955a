//! The prefixes of the network's own translators to IPv4 (NAT64), found as RFC 7050 says.
//!
//! A name server that makes IPv6 addresses of IPv4 ones (DNS64) does so for `ipv4only.arpa`, too, whose IPv4 addresses are
//! known. What stands around them in its answer is a translator's prefix.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The name that has IPv4 addresses only.
pub(crate) const NAME: &str = "ipv4only.arpa";
/// Its addresses (RFC 7050 §2.2).
const KNOWN: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];
/// Lengths of prefixes, bits, and the octets of the IPv4 address behind them; octet 8 is 0 (RFC 6052 §2.2).
const FORMS: [(u8, [usize; 4]); 6] = [
    (32, [4, 5, 6, 7]),
    (40, [5, 6, 7, 9]),
    (48, [6, 7, 9, 10]),
    (56, [7, 9, 10, 11]),
    (64, [9, 10, 11, 12]),
    (96, [12, 13, 14, 15]),
];
/// A name server that says more has no network like that.
const MOST: usize = 16;

/// What is known of the network's translators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Translators {
    /// Nothing: no name server has answered yet, or none was asked because this host has no public IPv6 address.
    #[default]
    Unknown,
    /// These.
    Known(Vec<Prefix>),
}

impl Translators {
    /// The IPv4 addresses that `address` may lead to through one of them.
    pub(super) fn inner(&self, address: IpAddr) -> impl Iterator<Item = Ipv4Addr> {
        let known = if let Self::Known(prefixes) = self { prefixes.as_slice() } else { &[] };
        known.iter().filter_map(move |prefix| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => prefix.inner(address),
        })
    }
}

/// A translator's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    network: Ipv6Addr,
    bits: u8,
    octets: [usize; 4],
}

impl Prefix {
    /// All that the addresses of [`NAME`] tell of.
    pub(super) fn all(addresses: &[IpAddr]) -> Vec<Self> {
        let mut found = Vec::new();
        for address in addresses {
            let IpAddr::V6(address) = address else { continue };
            for (bits, octets) in FORMS {
                let prefix = Self { network: masked(*address, bits), bits, octets };
                let is_one = KNOWN.contains(&at(*address, octets));
                if is_one && found.len() < MOST && !found.contains(&prefix) {
                    found.push(prefix);
                }
            }
        }
        found
    }

    fn inner(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        (masked(address, self.bits) == self.network).then(|| at(address, self.octets))
    }
}

fn at(address: Ipv6Addr, octets: [usize; 4]) -> Ipv4Addr {
    let all = address.octets();
    Ipv4Addr::from(octets.map(|octet| all[octet]))
}

fn masked(address: Ipv6Addr, bits: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & u128::MAX << (128 - u32::from(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prefix and IPv4 address as RFC 6052 §2.4 shows them, made of [`KNOWN`] and of what is asked about.
    #[test]
    fn every_form_of_a_prefix_is_found_and_undone() {
        for (answer, asked) in [
            ("2001:db8:c000:aa::", "2001:db8:a9fe:a9fe::"),
            ("2001:db8:1c0:0:aa::", "2001:db8:1a9:fea9:fe::"),
            ("2001:db8:122:c000:0:aa00::", "2001:db8:122:a9fe:a9:fe00::"),
            ("2001:db8:122:3c0:0:aa::", "2001:db8:122:3a9:fe:a9fe::"),
            ("2001:db8:122:344:c0:0:aa00:0", "2001:db8:122:344:a9:fea9:fe00:0"),
            ("2001:db8:122:344::192.0.0.171", "2001:db8:122:344::169.254.169.254"),
        ] {
            let answer: IpAddr = answer.parse().unwrap();
            let known = Translators::Known(Prefix::all(&[answer]));
            let inner: Vec<_> = known.inner(asked.parse().unwrap()).collect();
            assert_eq!(inner, [Ipv4Addr::new(169, 254, 169, 254)], "{answer}");
            assert_eq!(known.inner("2606:4700::1111".parse().unwrap()).count(), 0);
        }
        assert!(Prefix::all(&["2606:4700::1111".parse().unwrap(), [192, 0, 0, 170].into()]).is_empty());
        let many: Vec<IpAddr> =
            (0..100_u16).map(|n| Ipv6Addr::new(0x2a00, n, 0, 0, 0, 0, 0xc000, 0xaa).into()).collect();
        assert_eq!(Prefix::all(&many).len(), MOST);
    }
}
