//! A guest that wants in: 10,000 attempts to reach what is guarded, and listeners that must not notice.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use monocore_tests::world::Ran;

use crate::ground::{self, Mode, PEER_V4, ip};
use crate::names;

in_each_mode!(no_guarded_address_is_reached, no_name_leads_inside, nothing_but_allowed_names_is_reached);

/// Networks of others that lead to this machine for a while, so that whoever gets through is noticed.
const INSIDE: &[&str] = &["10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16", "172.16.0.0/12", "100.64.0.0/10"];
/// The same of IPv6.
const INSIDE_V6: &[&str] =
    &["fc00::/7", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/23", "2001:db8::/32"];
/// Every address of this machine.
const EVERYWHERE: [IpAddr; 1] = [IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
/// What names lead to that should not.
const NAMED: [Ipv4Addr; 4] = [
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(192, 168, 0, 1),
    Ipv4Addr::new(10, 0, 0, 1),
];
/// Everything is allowed in words; none of them speaks of what is guarded.
const GENEROUS: [&str; 6] =
    ["--net-rule", "allow:*", "--net-rule", "allow:0.0.0.0/0", "--net-rule", "allow:::/0"];

/// Counts who connects to `port` of any of these addresses, and what is sent there.
fn canary(addresses: &[IpAddr], port: u16) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    for address in addresses {
        let (listener, socket) =
            (TcpListener::bind((*address, port)).unwrap(), UdpSocket::bind((*address, port)).unwrap());
        let counter = Arc::clone(&count);
        thread::spawn(move || {
            listener.incoming().for_each(|_| {
                counter.fetch_add(1, Ordering::SeqCst);
            });
        });
        let counter = Arc::clone(&count);
        thread::spawn(move || {
            while socket.recv_from(&mut [0; 64]).is_ok() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    count
}

fn inside_leads_here() {
    INSIDE.iter().for_each(|network| ip(&["route", "replace", "local", network, "dev", "lo"]));
    INSIDE_V6.iter().for_each(|network| ip(&["-6", "route", "replace", "local", network, "dev", "lo"]));
}

/// Tries of a line of the guest's.
fn tries(line: &str) -> usize {
    line.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn no_guarded_address_is_reached(mode: Mode) {
    ground::world();
    inside_leads_here();
    let port = 8200 + 10 * mode.number();
    let canaries = [canary(&EVERYWHERE, port), canary(&EVERYWHERE, port + 1)];
    let script = format!(
        "net-load attack 2000 {port} {} && net-load attack-frames 2000 {port}; \
         busybox nc -w 9 {PEER_V4} {port} </dev/null; echo end",
        port + 1
    );
    let ran = Ran::from(ground::run(mode, &GENEROUS, &["sh", "-c", &script]).output().unwrap());
    let lines: Vec<&str> = ran.out().lines().collect();
    assert!(tries(lines[0]) == 8000 && lines[0].ends_with(" 0 connected"), "{ran:?}");
    if mode.has_card() {
        assert!(tries(lines[1]) > 1000, "{ran:?}");
    }
    // The last attempt was at an address that is public.
    assert_eq!(canaries.map(|count| count.load(Ordering::SeqCst)), [1, 0], "{ran:?}");
}

fn no_name_leads_inside(mode: Mode) {
    ground::world();
    inside_leads_here();
    let port = 8202 + 10 * mode.number();
    let canary = canary(&NAMED.map(IpAddr::V4), port);
    let address = Ipv4Addr::new(127, 0, 0, 90 + u8::try_from(mode.number()).unwrap());
    let mut asked = 0;
    names::serve(
        address,
        Box::new(move |name| {
            asked += 1;
            let inside = [&NAMED[..], &[Ipv4Addr::new(10, 77, 0, 1)]].concat()[asked % (NAMED.len() + 1)];
            // A public address first, and for no time at all: the next answer is another.
            let outside = Ipv4Addr::new(93, 184, 216, 77);
            match (name, asked % 2) {
                ("both.example", _) => (vec![outside, inside], 0),
                ("turns.example", 0) => (vec![outside], 0),
                _ => (vec![inside], 0),
            }
        }),
    );
    let address = address.to_string();
    let command = ["net-load", "attack-names", "10.77.0.1", "120", &port.to_string()];
    let names = ["inside.example", "turns.example", "both.example"];
    let flags = [&["--dns", &address][..], &GENEROUS].concat();
    let ran = Ran::from(ground::run(mode, &flags, &[&command[..], &names].concat()).output().unwrap());
    assert!(tries(ran.out()) >= 360 && ran.stdout.ends_with(" 0 connected\n"), "{ran:?}");
    assert_eq!(canary.load(Ordering::SeqCst), 0);
}

fn nothing_but_allowed_names_is_reached(mode: Mode) {
    ground::world();
    let port = 8204 + 10 * mode.number();
    let canary = canary(&EVERYWHERE, port);
    let address = Ipv4Addr::new(127, 0, 0, 110 + u8::try_from(mode.number()).unwrap());
    names::serve(address, Box::new(|_| (vec![Ipv4Addr::new(93, 184, 216, 40)], 300)));
    let address = address.to_string();
    let only = ["--dns", &address, "--reach", "none", "--net-rule", "allow:good.example"];
    // Addresses nobody asked for, then those of names that are not allowed, then the one that is.
    let script = format!(
        "for last in $(seq 1 60); do busybox nc -w 2 93.184.216.$last {port} </dev/null 2>/dev/null && echo $last; done; \
         net-load ask 10.77.0.1 bad.example udp; net-load ask 10.77.0.1 sub.good.example tcp; \
         busybox nc -w 2 93.184.216.40 {port} </dev/null 2>/dev/null && echo too early; \
         net-load ask 10.77.0.1 good.example udp; busybox nc -w 9 93.184.216.40 {port} </dev/null && echo reached"
    );
    let ran = Ran::from(ground::run(mode, &only, &["sh", "-c", &script]).output().unwrap());
    let expected = "code 5, 0 addresses\ncode 5, 0 addresses\ncode 0, 1 addresses\nreached\n";
    assert_eq!(ran.stdout, expected, "{ran:?}");
    assert_eq!(canary.load(Ordering::SeqCst), 1);
}
