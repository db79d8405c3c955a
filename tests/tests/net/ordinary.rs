//! What users of Docker expect of a network: answers from the address that was asked, and ports and echo requests for everybody.

use std::net::UdpSocket;
use std::time::Duration;

use monocore_tests::world::Ran;

use crate::ground::{self, Mode};

in_each_mode!(
    a_datagram_is_answered_from_where_it_was_sent_to,
    a_udp_port_comes_and_goes_while_the_guest_runs,
    ordinary_users_have_low_ports_and_ping
);

fn a_datagram_is_answered_from_where_it_was_sent_to(mode: Mode) {
    let port = 8160 + mode.number();
    let publish = format!("0.0.0.0:{port}:9000/udp");
    let _server = ground::start(&mut ground::run(mode, &["-p", &publish], &["net-load", "echo", "9000"]));
    let clients = ["127.0.0.1", "127.0.0.2", "127.0.0.1"].map(|address| {
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.connect((address, port)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    });
    for round in 0..5 {
        for (number, client) in clients.iter().enumerate() {
            let said = format!("{round} {number} {}", "x".repeat(300 * round));
            client.send(said.as_bytes()).unwrap();
            let mut bytes = [0; 4096];
            let count = client.recv(&mut bytes).unwrap();
            assert_eq!(std::str::from_utf8(&bytes[..count]).unwrap(), said);
        }
    }
}

fn a_udp_port_comes_and_goes_while_the_guest_runs(mode: Mode) {
    let name = format!("live-udp-{}", mode.name());
    let _server = ground::start(&mut ground::run(mode, &["--name", &name], &["net-load", "echo", "9000"]));
    let port = |words: &[&str]| -> Ran { ground::world().monocore(words).output().unwrap().into() };
    let added = port(&["port", "add", &name, "0.0.0.0::9000/udp"]);
    let bound: u16 = added.out().trim().rsplit(':').next().unwrap().parse().unwrap();
    for address in ["127.0.0.1", "127.0.0.2"] {
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.connect((address, bound)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        for length in [1, 1000, 9000] {
            let said = vec![b'x'; length];
            client.send(&said).unwrap();
            let mut bytes = [0; 10_000];
            let count = client.recv(&mut bytes).unwrap();
            assert_eq!(bytes[..count], said);
        }
    }
    let listed = port(&["port", "ls", &name]);
    assert!(listed.out().contains("9000/udp"), "{listed:?}");
    assert_eq!(port(&["port", "rm", &name, &format!("0.0.0.0:{bound}/udp")]).code, 0);
    // The socket of this host is free again.
    UdpSocket::bind(("0.0.0.0", bound)).unwrap();
}

fn ordinary_users_have_low_ports_and_ping(mode: Mode) {
    let ran = Ran::from(ground::run(mode, &["-u", "1000:1000"], &["net-load", "ordinary"]).output().unwrap());
    assert_eq!(ran.out(), "tcp yes, tcp6 yes, udp yes, ping yes\n");
}
