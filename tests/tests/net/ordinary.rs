//! What users of Docker expect of a network: answers from the address that was asked, and ports and echo requests for everybody.

use std::net::UdpSocket;
use std::time::Duration;

use monocore_tests::world::Ran;

use crate::ground::{self, Mode};

in_each_mode!(a_datagram_is_answered_from_where_it_was_sent_to, ordinary_users_have_low_ports_and_ping);

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

fn ordinary_users_have_low_ports_and_ping(mode: Mode) {
    let ran = Ran::from(ground::run(mode, &["-u", "1000:1000"], &["net-load", "ordinary"]).output().unwrap());
    assert_eq!(ran.out(), "tcp yes, tcp6 yes, udp yes, ping yes\n");
}
