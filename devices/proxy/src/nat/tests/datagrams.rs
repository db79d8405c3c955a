//! UDP: one by one, and several in one frame.

use monocore_virtio::test_driver::test_ram;
use vm_memory::GuestAddress;

use super::*;

#[test]
fn datagrams_find_their_way_and_back() {
    let mut guest = with_host();
    for v4 in [true, false] {
        let Ok(host) = UdpSocket::bind(if v4 { "127.0.0.1:0" } else { "[::1]:0" }) else { continue };
        let remote = gateway(v4, host.local_addr().unwrap().port());
        let local = guest_address(remote.ip(), 5353);
        for size in [0, 1, 1400, 60_000] {
            guest.send(&datagram(local, remote, &vec![5; size]));
            let mut seen = vec![0; 65_536];
            let (count, from) = host.recv_from(&mut seen).unwrap();
            assert_eq!(count, size);
            host.send_to(&seen[..count], from).unwrap();
            let frame = guest.next(Duration::from_secs(5)).unwrap();
            let headers = 12 + 14 + if v4 { 28 } else { 48 };
            assert_eq!(frame.len(), headers + size);
            assert!(frame[headers..].iter().all(|byte| *byte == 5));
            assert_eq!(frame[headers - 6..headers - 4], 5353u16.to_be_bytes());
        }
        // Somebody else is not heard.
        let stranger = UdpSocket::bind(if v4 { "127.0.0.1:0" } else { "[::1]:0" }).unwrap();
        guest.send(&datagram(local, remote, b"x"));
        let (_, from) = host.recv_from(&mut [0; 8]).unwrap();
        stranger.send_to(b"spoof", from).unwrap();
        assert_eq!(guest.next(SOON), None);
        drop(host);
        guest.send(&datagram(local, remote, b"x"));
        assert_eq!(guest.icmp(), if v4 { (3, 3) } else { (1, 4) });
    }
}

#[test]
fn a_datagram_waits_for_buffers() {
    let spec = spec(vec![rule(Action::Allow, NetTarget::Host)], vec![]);
    let mut guest = Guest::with_buffers(Nat::new(&spec, &[], None).unwrap(), u64::MAX, 5);
    let host = UdpSocket::bind("127.0.0.1:0").unwrap();
    let remote = gateway(true, host.local_addr().unwrap().port());
    guest.send(&datagram(guest_address(remote.ip(), 5353), remote, b"ask"));
    let (_, from) = host.recv_from(&mut [0; 8]).unwrap();
    host.send_to(&[7; 60_000], from).unwrap();
    assert_eq!(guest.next(SOON), None);
    guest.give_more(5);
    assert_eq!(guest.next(SOON), None);
    guest.give_more(10);
    assert_eq!(guest.next(Duration::from_secs(5)).map(|frame| frame.len()), Some(12 + 14 + 28 + 60_000));
}

#[test]
fn several_datagrams_travel_in_one_frame() {
    // Features without VIRTIO_NET_F_GUEST_USO4 and 6 too: they come one by one then.
    for (features, together) in [(u64::MAX, true), (!(1 << 54 | 1 << 55), false)] {
        let spec = spec(vec![rule(Action::Allow, NetTarget::Host)], vec![]);
        let mut guest = Guest::with_features(Nat::new(&spec, &[], None).unwrap(), features);
        for v4 in [true, false] {
            let Ok(host) = UdpSocket::bind(if v4 { "127.0.0.1:0" } else { "[::1]:0" }) else { continue };
            let remote = gateway(v4, host.local_addr().unwrap().port());
            let local = guest_address(remote.ip(), 5353);
            let bytes: Vec<u8> = (0..3500u16).map(|n| (n % 251) as u8).collect();
            let parts: Vec<&[u8]> = bytes.chunks(1000).collect();
            let mut seen = vec![0; 65_536];
            // One by one where it begins a flow, and by the host's leave where there is one.
            for _ in 0..2 {
                guest.send_segments(&datagram(local, remote, &bytes), 1000);
                for part in &parts {
                    let (count, from) = host.recv_from(&mut seen).unwrap();
                    assert_eq!(&seen[..count], *part);
                    host.connect(from).unwrap();
                }
            }
            send_cut(&host, &bytes, 1000);
            let headers = 14 + if v4 { 28 } else { 48 };
            let at = u16::try_from(headers - 8).unwrap();
            let whole = Header {
                checksum: Some((at, 6)),
                segments: Some((Segmentation::Udp, 1000)),
                headers_bytes: at + 8,
            };
            let alone = Header { checksum: Some((at, 6)), ..Header::default() };
            let (header, parts) = if together { (whole, vec![&bytes[..]]) } else { (alone, parts) };
            for part in parts {
                let frame = guest.next(Duration::from_secs(5)).unwrap();
                let begin = Header::parse(frame[..HEADER_BYTES].try_into().unwrap()).unwrap();
                assert_eq!(begin.checksum, header.checksum);
                assert_eq!((begin.segments, begin.headers_bytes), (header.segments, header.headers_bytes));
                assert!(frame[HEADER_BYTES + headers..] == *part);
            }
            assert_eq!(guest.next(Duration::from_millis(20)), None);
        }
    }
}

/// Sends `bytes` as datagrams of `each`, which the host's loopback does not take apart.
fn send_cut(socket: &UdpSocket, bytes: &[u8], each: u16) {
    let ram = test_ram();
    let mut list = Buffers::new();
    assert!(list.push(&ram, GuestAddress(0), u32::try_from(bytes.len()).unwrap()));
    list.copy_from(0, bytes);
    assert_eq!(list.send_cut(each, socket).unwrap(), bytes.len());
}

#[test]
fn a_guest_that_cuts_too_small_is_not_served() {
    let mut guest = with_host();
    let host = UdpSocket::bind("127.0.0.1:0").unwrap();
    host.set_read_timeout(Some(SOON)).unwrap();
    let remote = gateway(true, host.local_addr().unwrap().port());
    let ask = datagram(guest_address(remote.ip(), 5353), remote, &[7; 129]);
    let mut seen = [0; 256];
    guest.send_segments(&ask, 1);
    assert!(host.recv(&mut seen).is_err());
    // Not cut at all, and as often as any guest may.
    guest.send_segments(&ask, 0);
    assert_eq!(host.recv(&mut seen).unwrap(), 129);
    guest.send_segments(&ask[..ask.len() - 1], 1);
    assert!(host.recv(&mut seen).is_err(), "its length says more than there is");
    let most = datagram(guest_address(remote.ip(), 5353), remote, &[7; 128]);
    guest.send_segments(&most, 1);
    for _ in 0..128 {
        assert_eq!(host.recv(&mut seen).unwrap(), 1);
    }
}

#[test]
fn questions_and_answers_in_one_frame_are_cut_as_well() {
    let publish = PublishedPort {
        address: [127, 0, 0, 1].into(),
        host_port: 0,
        guest_port: 80,
        protocol: Protocol::Udp,
    };
    let nat = Nat::new(&spec(vec![], vec![publish]), &[], None).unwrap();
    let published = nat.published()[0].0;
    let mut guest = Guest::new(nat);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"ask", published).unwrap();
    assert_eq!(&guest.next(Duration::from_secs(5)).unwrap()[12 + 42..], b"ask");
    let remote = gateway(true, client.local_addr().unwrap().port());
    guest.send_segments(&datagram(guest_address(remote.ip(), 80), remote, b"onetwothree"), 3);
    let mut seen = [0; 8];
    for part in [&b"one"[..], b"two", b"thr", b"ee"] {
        let (count, from) = client.recv_from(&mut seen).unwrap();
        assert_eq!((&seen[..count], from), (part, published));
    }
    // Nobody is asked for names here: each question is answered by itself.
    let link = monocore_spec::LinkSpec::default();
    let server = SocketAddr::from((link.gateway_v4, 53));
    let question = |id| [&[0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'x', 0, 0, 1, 0, 1][..]].concat();
    let both = [question(1), question(2)].concat();
    guest.send_segments(&datagram(guest_address(server.ip(), 5353), server, &both), 19);
    for id in [1, 2] {
        let answer = guest.next(Duration::from_secs(5)).unwrap();
        assert_eq!(answer[12 + 42..12 + 44], [0, id]);
    }
}
