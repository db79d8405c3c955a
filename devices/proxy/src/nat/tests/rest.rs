//! What nobody consumes is not reported again and again: the worker rests, measured by the CPU time of a process of its own.

use monocore_virtio::test_driver::{NoDescriptors, alone, cpu_in_a_second};

use super::*;
use crate::dns::Forwarder;

/// More than a worker at rest and the test's own threads need, and far less than the second of one that spins.
const LITTLE: Duration = Duration::from_millis(200);

fn assert_rests(what: &str) {
    let cpu = cpu_in_a_second();
    println!("{what}: {cpu:?} of CPU time in a second");
    assert!(cpu < LITTLE, "{what}: {cpu:?} of CPU time in a second");
}

#[test]
fn an_error_of_a_paused_flow() {
    alone(module_path!(), "an_error_of_a_paused_flow", || {
        let nat = Nat::new(&spec(vec![rule(Action::Allow, NetTarget::Host)], vec![]), &[], None).unwrap();
        let mut guest = Guest::with_buffers(nat, u64::MAX, 0);
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let remote = gateway(true, closed);
        guest.send(&datagram(guest_address(remote.ip(), 5000), remote, b"x"));
        assert_rests("a flow with an error, and a guest without buffers");
        // The error is still there for a guest with buffers for the longest datagram.
        guest.give_more(40);
        assert!(guest.next(Duration::from_secs(5)).is_some());
    });
}

#[test]
fn a_connection_to_the_name_server_that_was_reset() {
    alone(module_path!(), "a_connection_to_the_name_server_that_was_reset", || {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut nat = Nat::new(&spec(vec![], vec![]), &[], None).unwrap();
        nat.dns = Forwarder::with_servers(vec![silent.local_addr().unwrap()]);
        let mut guest = Guest::new(nat);
        let mut peer = Peer::new(gateway(true, 53));
        peer.connect(&mut guest);
        let query = crate::dns::message::tests::query(1, "slow.example", 1, None);
        let length = u16::try_from(query.len()).unwrap().to_be_bytes();
        peer.say(&mut guest, ACK, &[&length[..], &query].concat());
        silent.accept().unwrap();
        peer.say(&mut guest, RST, b"");
        assert_rests("an answer for a connection that was reset");
    });
}

#[test]
fn a_client_that_no_descriptor_is_left_for() {
    alone(module_path!(), "a_client_that_no_descriptor_is_left_for", || {
        let port = PublishedPort {
            address: Ipv4Addr::LOCALHOST.into(),
            host_port: 0,
            guest_port: 80,
            protocol: Protocol::Tcp,
        };
        let nat = Nat::new(&spec(vec![], vec![port]), &[], None).unwrap();
        let address = nat.published()[0].0;
        let mut guest = Guest::new(nat);
        // Once the worker has taken something, it has the descriptors that it begins with.
        guest.send(&[0; 60]);
        let none = NoDescriptors::but(1);
        let _client = TcpStream::connect(address).unwrap();
        assert_rests("a client, and no descriptor for it");
        drop(none);
        assert_eq!(guest.segment().0.flags, SYN, "the client was only put off");
    });
}
