//! Attempts to reach what is guarded: by every spelling of its address, and by names that lead to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, connect, sendto, socket_with};

use super::{Numbers, names};

/// How long an attempt waits. What is refused is refused at once.
const PATIENCE: Duration = Duration::from_millis(150);
/// The same for one that may succeed.
const LONG_PATIENCE: Duration = Duration::from_secs(10);

/// Addresses of metadata services, of this host's networks and of the host itself.
const V4: &[[u8; 4]] = &[
    [10, 77, 0, 1],
    [169, 254, 169, 254],
    [169, 254, 170, 2],
    [169, 254, 170, 23],
    [169, 254, 0, 1],
    [100, 100, 100, 200],
    [192, 0, 0, 192],
    [10, 0, 0, 1],
    [10, 255, 255, 254],
    [172, 16, 0, 1],
    [172, 31, 255, 254],
    [192, 168, 0, 1],
    [192, 168, 255, 254],
    [100, 64, 0, 1],
    [198, 18, 0, 1],
    [0, 0, 0, 1],
    [127, 0, 0, 1],
    [127, 1, 2, 3],
    [240, 0, 0, 1],
    [255, 255, 255, 255],
    [224, 0, 0, 1],
];
const V6: &[&str] = &[
    "fd4d:6f6e:6f00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fc00::1",
    "fdff::1",
    "fe80::1",
    "fec0::1",
    "::1",
    "::",
    "ff02::1",
    "2001:db8::1",
    "64:ff9b:1::a9fe:a9fe",
    "2001::1",
    "100::1",
];
/// Networks an attacker looks through.
const NETWORKS: &[([u8; 2], [u8; 2])] = &[
    ([10, 0], [0, 255]),
    ([192, 168], [0, 0]),
    ([172, 16], [0, 15]),
    ([169, 254], [0, 0]),
    ([100, 64], [0, 63]),
];

/// Forms of IPv6 that mean an IPv4 address to somebody.
fn spellings(v4: Ipv4Addr) -> [IpAddr; 7] {
    let [a, b] = [v4.to_bits() >> 16, v4.to_bits() & 0xffff].map(|half| u16::try_from(half).unwrap_or(0));
    [
        v4.into(),
        v4.to_ipv6_mapped().into(),
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, a, b).into(),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a, b).into(),
        Ipv6Addr::new(0x2002, a, b, 0, 0, 0, 0, 1).into(),
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, a, b).into(),
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, !a, !b).into(),
    ]
}

/// Tries `rounds` addresses with each of `ports`, by TCP and by UDP, the named ones first, then others of their networks.
pub(super) fn addresses(rounds: usize, ports: &[u16]) -> String {
    let named = V4.iter().flat_map(|v4| spellings(Ipv4Addr::from(*v4)));
    let named = named.chain(V6.iter().filter_map(|v6| v6.parse().ok()));
    let mut numbers = Numbers(7);
    let others = std::iter::repeat_with(|| {
        let ([a, b], [first, last]) = NETWORKS[numbers.below(NETWORKS.len())];
        let within = u8::try_from(numbers.below(usize::from(last - first) + 1)).unwrap_or(0);
        let [c, d, spelling, _] = numbers.next().to_le_bytes();
        let all = spellings(Ipv4Addr::new(a, b + first + within, c, d));
        all[usize::from(spelling) % all.len()]
    });
    let (mut tries, mut connected) = (0, 0);
    for address in named.chain(others).take(rounds) {
        for port in ports {
            let target = SocketAddr::new(address, *port);
            connected += usize::from(by_stream(target));
            by_datagram(target);
            tries += 2;
        }
    }
    format!("{tries} tries, {connected} connected")
}

/// Tries each of `targets`, by TCP and by UDP.
pub(super) fn targets(targets: &[SocketAddr]) -> String {
    let mut connected = 0;
    for target in targets {
        connected += usize::from(by_stream_within(*target, LONG_PATIENCE));
        by_datagram(*target);
    }
    format!("{} tries, {connected} connected", 2 * targets.len())
}

/// Asks for each of `names` again and again, and tries every address that is answered, and those answered before.
pub(super) fn names(server: IpAddr, rounds: usize, port: u16, list: &[&str]) -> Result<String> {
    let (mut tries, mut connected, mut answered) = (0, 0, 0);
    let mut known: Vec<Ipv4Addr> = Vec::new();
    for _ in 0..rounds {
        for name in list {
            for address in names::question(server, name, "udp")?.addresses {
                answered += 1;
                if !known.contains(&address) {
                    known.push(address);
                }
            }
            for address in &known {
                let target = SocketAddr::new((*address).into(), port);
                connected += usize::from(by_stream(target));
                by_datagram(target);
                tries += 2;
            }
            tries += 1;
        }
    }
    Ok(format!("{tries} tries, {answered} answers, {connected} connected"))
}

/// Whether a connection was made. Whatever goes wrong with it, it was not.
fn by_stream(target: SocketAddr) -> bool {
    by_stream_within(target, PATIENCE)
}

fn by_stream_within(target: SocketAddr, patience: Duration) -> bool {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let Ok(socket) = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None) else {
        return false;
    };
    set_socket_timeout(&socket, Timeout::Send, Some(patience)).is_ok() && connect(&socket, &target).is_ok()
}

fn by_datagram(target: SocketAddr) {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    if let Ok(socket) = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None) {
        // Refused or lost, that is what is hoped for.
        let _ = sendto(&socket, b"attack", SendFlags::DONTWAIT, &target);
    }
}
