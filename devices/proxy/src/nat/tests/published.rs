//! Published ports: of this machine, leading into the guest.

use super::*;

#[test]
fn published_ports_lead_into_the_guest() {
    let publish =
        |protocol| PublishedPort { address: [127, 0, 0, 1].into(), host_port: 0, guest_port: 80, protocol };
    let nat =
        Nat::new(&spec(vec![], vec![publish(Protocol::Tcp), publish(Protocol::Udp)]), &[], None).unwrap();
    let published = nat.published();
    let mut guest = Guest::new(nat);
    let mut client = TcpStream::connect(published[0].0).unwrap();
    let (syn, _) = guest.segment();
    assert_eq!((syn.flags, syn.target_port), (SYN, 80));
    let mut peer = Peer::new(gateway(true, client.local_addr().unwrap().port()));
    assert_eq!(syn.source_port, peer.remote.port());
    peer.local.set_port(80);
    peer.expected = syn.sequence.wrapping_add(1);
    peer.say(&mut guest, SYN | ACK, b"");
    let (answer, _) = guest.segment();
    assert_eq!((answer.flags, answer.acknowledged), (ACK, peer.next));
    client.write_all(b"request").unwrap();
    assert_eq!(peer.receive(&mut guest, 7), b"request");
    peer.say(&mut guest, FIN_ACK, b"answer");
    let mut seen = String::new();
    client.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "answer");
    client.shutdown(Shutdown::Both).unwrap();

    // A guest that refuses.
    let mut refused = TcpStream::connect(published[0].0).unwrap();
    let (syn, _) = loop {
        let next = guest.segment();
        if next.0.flags == SYN {
            break next;
        }
    };
    let mut peer = Peer::new(gateway(true, refused.local_addr().unwrap().port()));
    peer.local.set_port(80);
    peer.expected = syn.sequence.wrapping_add(1);
    peer.say(&mut guest, RST | ACK, b"");
    assert!(refused.read(&mut [0; 1]).is_err());

    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"ask", published[1].0).unwrap();
    let frame = guest.next(Duration::from_secs(5)).unwrap();
    assert_eq!(&frame[12 + 42..], b"ask");
    let remote = gateway(true, client.local_addr().unwrap().port());
    guest.send(&datagram(guest_address(remote.ip(), 80), remote, b"tell"));
    let mut seen = [0; 8];
    let (count, from) = client.recv_from(&mut seen).unwrap();
    assert_eq!((&seen[..count], from), (&b"tell"[..], published[1].0));
}

#[test]
fn a_port_that_is_bound_already_is_published() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut nat = Nat::new(&spec(vec![], vec![]), &[], None).unwrap();
    let port = BoundPort { fd: 9, guest_port: 80, protocol: Protocol::Tcp };
    nat.publish(port, listener.into()).unwrap();
    assert_eq!(nat.published(), [(address, 80)]);
    let no_socket = std::fs::File::open("/dev/null").unwrap();
    let refused = nat.publish(port, no_socket.into()).unwrap_err().to_string();
    assert!(refused.contains("descriptor 9"), "{refused}");
    let mut guest = Guest::new(nat);
    let _client = TcpStream::connect(address).unwrap();
    let (syn, _) = guest.segment();
    assert_eq!((syn.flags, syn.target_port), (SYN, 80));
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    let port =
        PublishedPort { address: [0, 0, 0, 0].into(), host_port: 0, guest_port: 80, protocol: Protocol::Udp };
    let nat = Nat::new(&spec(vec![], vec![port]), &[], None).unwrap();
    let host_port = nat.published()[0].0.port();
    let mut guest = Guest::new(nat);
    let clients = ["127.0.0.1", "127.0.0.2", "127.0.0.1"].map(|address| {
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.connect((address, host_port)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client
    });
    for round in 0..3 {
        for (number, client) in clients.iter().enumerate() {
            client.send(b"ask").unwrap();
            guest.next(Duration::from_secs(5)).unwrap();
            let remote = gateway(true, client.local_addr().unwrap().port());
            let answer = format!("{round} {number}");
            guest.send(&datagram(guest_address(remote.ip(), 80), remote, answer.as_bytes()));
            let mut seen = [0; 8];
            let count = client.recv(&mut seen).unwrap();
            assert_eq!(&seen[..count], answer.as_bytes());
        }
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let (_listener, port) = server();
    let publish = PublishedPort {
        address: [127, 0, 0, 1].into(),
        host_port: port,
        guest_port: 80,
        protocol: Protocol::Tcp,
    };
    let error = Nat::new(&spec(vec![], vec![publish]), &[], None).unwrap_err().to_string();
    assert!(error.contains(&format!("127.0.0.1:{port}")) && error.contains("in use"), "{error}");
}
