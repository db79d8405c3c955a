//! What an address is: public, or guarded and why.
//!
//! Source: IANA's special-purpose address registries (RFC 6890); RFC 6052 §2.1 (NAT64), RFC 3056 §2 (6to4), RFC 4291 §2.5.5
//! (IPv4 in IPv6); the cloud providers' documentation for the addresses of their metadata services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not simply public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Private, shared, link-local or otherwise not of the public Internet.
    Private,
    /// This host.
    Host,
    /// A cloud's metadata service.
    Metadata,
    /// No address a packet can be sent to from a guest: loopback, multicast, reserved.
    Unroutable,
    /// Where it leads is not known yet: the network's translators have not been found.
    Unknown,
}

impl Class {
    /// Its name in receipts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Host => "host",
            Self::Metadata => "metadata",
            Self::Unroutable => "unroutable",
            Self::Unknown => "not yet known",
        }
    }
}

/// What guards an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Guard {
    pub(super) class: Class,
    /// Length of the guarded network's prefix: a rule with a shorter one speaks of others too.
    pub(super) prefix: u8,
}

impl Guard {
    /// That of an address of this host.
    pub(super) fn own(address: IpAddr) -> Self {
        Self { class: Class::Host, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }
}

/// The more particular come first.
const GUARDED_V4: &[([u8; 4], u8, Class)] = &[
    // AWS, Azure, GCP and most others; AWS for containers; its name and time servers lie beside.
    ([169, 254, 169, 254], 32, Class::Metadata),
    ([169, 254, 170, 2], 32, Class::Metadata),
    ([169, 254, 170, 23], 32, Class::Metadata),
    // Alibaba; Oracle; Azure's wire server.
    ([100, 100, 100, 200], 32, Class::Metadata),
    ([192, 0, 0, 192], 32, Class::Metadata),
    ([168, 63, 129, 16], 32, Class::Metadata),
    ([169, 254, 0, 0], 16, Class::Metadata),
    ([10, 0, 0, 0], 8, Class::Private),
    ([172, 16, 0, 0], 12, Class::Private),
    ([192, 168, 0, 0], 16, Class::Private),
    ([100, 64, 0, 0], 10, Class::Private),
    ([192, 0, 0, 0], 24, Class::Private),
    ([192, 0, 2, 0], 24, Class::Private),
    ([192, 88, 99, 0], 24, Class::Private),
    ([198, 18, 0, 0], 15, Class::Private),
    ([198, 51, 100, 0], 24, Class::Private),
    ([203, 0, 113, 0], 24, Class::Private),
    ([0, 0, 0, 0], 8, Class::Unroutable),
    ([127, 0, 0, 0], 8, Class::Unroutable),
    ([224, 0, 0, 0], 4, Class::Unroutable),
    ([240, 0, 0, 0], 4, Class::Unroutable),
];

const GUARDED_V6: &[(Ipv6Addr, u8, Class)] = &[
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, Class::Metadata),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, Class::Metadata),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Class::Private),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Class::Private),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Class::Private),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, Class::Private),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, Class::Private),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Class::Private),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Class::Private),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, Class::Private),
    // Teredo and what else stands below: an IPv4 address of somebody's choice lies within.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Class::Private),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Class::Unroutable),
];

/// What guards `address`; nothing where it is public.
pub(super) fn guard(address: IpAddr) -> Option<Guard> {
    match address {
        IpAddr::V4(address) => guard_v4(address),
        IpAddr::V6(address) => guard_v6(address),
    }
}

/// What guards `address`, which a translator of the network's own leads to `inner`: only a rule for all of it opens it.
pub(super) fn guard_behind(inner: Ipv4Addr) -> Option<Guard> {
    guard_v4(inner).map(|guard| Guard { prefix: 128, ..guard })
}

/// That of an address of IPv6 that looks public, while the network's translators are looked for.
pub(super) fn not_yet_known(address: IpAddr) -> Option<Guard> {
    address.is_ipv6().then_some(Guard { class: Class::Unknown, prefix: 128 })
}

fn guard_v4(address: Ipv4Addr) -> Option<Guard> {
    let bits = address.to_bits();
    let found = GUARDED_V4.iter().find(|(network, prefix, _)| {
        let shift = 32 - u32::from(*prefix);
        bits >> shift == Ipv4Addr::from(*network).to_bits() >> shift
    });
    found.map(|&(_, prefix, class)| Guard { class, prefix })
}

fn guard_v6(address: Ipv6Addr) -> Option<Guard> {
    let bits = address.to_bits();
    // Loopback, unspecified, and IPv4 in its compatible and mapped forms: none of them is ever on a wire.
    if bits >> 32 == 0 || bits >> 32 == 0xffff {
        return Some(Guard { class: Class::Unroutable, prefix: 96 });
    }
    if let Some((inner, outer_prefix)) = embedded_v4(address) {
        return guard_v4(inner).map(|guard| Guard { prefix: outer_prefix + guard.prefix, ..guard });
    }
    let found = GUARDED_V6.iter().find(|(network, prefix, _)| {
        let shift = 128 - u32::from(*prefix);
        bits >> shift == network.to_bits() >> shift
    });
    if is_local_translators(address) {
        // Most readings are wrong ones, with zeroes in them, so only metadata services count here. The rest stays private.
        let mut guards = local_embedded_v4(address).into_iter().filter_map(guard_v4);
        if let Some(worst) = guards.find(|guard| guard.class == Class::Metadata) {
            // Nobody knows how much of the address belongs to the translator, so only a rule for all of it opens it.
            return Some(Guard { prefix: 128, ..worst });
        }
    }
    let outside_unicast = bits >> 125 != 1 && found.is_none();
    if outside_unicast {
        // Only 2000::/3 is given out.
        return Some(Guard { class: Class::Private, prefix: 3 });
    }
    found.map(|&(_, prefix, class)| Guard { class, prefix })
}

/// The IPv4 addresses within `address` that a translator may send to.
pub(super) fn inner(address: IpAddr) -> Vec<IpAddr> {
    match address {
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(address) if is_local_translators(address) => {
            local_embedded_v4(address).map(IpAddr::from).to_vec()
        }
        IpAddr::V6(address) => embedded_v4(address).map(|(inner, _)| inner.into()).into_iter().collect(),
    }
}

/// Whether `address` is in the network that operators give to their own translators (RFC 8215).
fn is_local_translators(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0x64, 0xff9b, 1, ..])
}

/// The IPv4 addresses that a translator of the operator's may send to, by the length of its prefix: 48, 56, 64 or 96 bits, without
/// the octet that is always 0 (RFC 6052 §2.2).
fn local_embedded_v4(address: Ipv6Addr) -> [Ipv4Addr; 4] {
    let octets = address.octets();
    [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]]
        .map(|places| Ipv4Addr::from(places.map(|at: usize| octets[at])))
}

/// The IPv4 address that a translator or a tunnel would send to, and the bits before it.
fn embedded_v4(address: Ipv6Addr) -> Option<(Ipv4Addr, u8)> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match (a, b, c, d, e, f) {
        (0x64, 0xff9b, 0, 0, 0, 0) => Some((join(g, h), 96)),
        (0x2002, ..) => Some((join(b, c), 16)),
        _ => None,
    }
}
