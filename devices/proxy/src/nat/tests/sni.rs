//! Connections to an address that one name let the guest reach and that others have, too.

use std::fs::File;
use std::io::Seek;

use monocore_spec::Reach;

use super::*;
use crate::hello::tests::hello_for;
use crate::testing::{assert_was_reset, read};

const SHARED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)), 443);

/// A guest that may reach one name and whatever is at [`SHARED`] because of it: a listener of ours.
fn guest(receipts: Option<File>) -> (Guest, TcpListener) {
    let allowed = rule(Action::Allow, NetTarget::Domain("allowed.example".into()));
    let mut spec = spec(vec![allowed], vec![]);
    spec.proxy.policy.reach = Reach::None;
    let mut nat = Nat::new(&spec, &[], receipts).unwrap();
    nat.engine.learn("allowed.example", SHARED.ip(), Duration::from_secs(3600), Instant::now());
    let (listener, _) = server();
    nat.engine.detour = Some(listener.local_addr().unwrap());
    (Guest::new(nat), listener)
}

fn connect(guest: &mut Guest, listener: &TcpListener, port: u16) -> (Peer, TcpStream) {
    let mut peer = Peer::new(SHARED);
    peer.local.set_port(port);
    peer.connect(guest);
    let (host, _) = listener.accept().unwrap();
    (peer, host)
}

/// Says `bytes`, which must be acknowledged.
fn say(guest: &mut Guest, peer: &mut Peer, flags: u8, bytes: &[u8]) {
    peer.say(guest, flags, bytes);
    let (answer, _) = guest.segment();
    assert_eq!((answer.flags & RST, answer.acknowledged), (0, peer.next));
}

/// The host has heard nothing and has been reset.
fn assert_reset(guest: &mut Guest, host: TcpStream) {
    assert_eq!(guest.segment().0.flags & RST, RST);
    assert_was_reset(host);
}

#[test]
fn a_hello_for_another_name_reaches_nobody_wherever_it_is_cut() {
    let mut file = tempfile::tempfile().unwrap();
    let (mut guest, listener) = guest(Some(file.try_clone().unwrap()));
    let hello = hello_for("other.example");
    for cut in 0..hello.len() {
        let (mut peer, host) = connect(&mut guest, &listener, 10_000 + u16::try_from(cut).unwrap());
        if cut > 0 {
            say(&mut guest, &mut peer, ACK, &hello[..cut]);
        }
        peer.say(&mut guest, ACK, &[&hello[cut..], b"and more"].concat());
        assert_reset(&mut guest, host);
    }
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    let denied = r#""address":"9.9.9.9","port":443,"names":["other.example"],"reason":"sni"}"#;
    assert_eq!(text.lines().filter(|line| line.ends_with(denied)).count(), hello.len());
}

#[test]
fn a_hello_for_a_name_that_is_allowed_arrives_unchanged_wherever_it_is_cut() {
    let (mut guest, listener) = guest(None);
    let hello = hello_for("Allowed.example");
    for cut in 1..hello.len() {
        let (mut peer, mut host) = connect(&mut guest, &listener, 10_000 + u16::try_from(cut).unwrap());
        say(&mut guest, &mut peer, ACK, &hello[..cut]);
        host.set_nonblocking(true).unwrap();
        assert_eq!(host.read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        host.set_nonblocking(false).unwrap();
        say(&mut guest, &mut peer, ACK, &[&hello[cut..], b"early"].concat());
        assert_eq!(read(&mut host, hello.len() + 5), [&hello[..], b"early"].concat());
        host.write_all(b"welcome").unwrap();
        assert_eq!(peer.receive(&mut guest, 7), b"welcome");
        say(&mut guest, &mut peer, ACK, &hello_for("other.example"));
        read(&mut host, hello_for("other.example").len());
        peer.say(&mut guest, RST | ACK, b"");
    }
}

#[test]
fn a_hello_may_come_byte_by_byte_and_twice() {
    let (mut guest, listener) = guest(None);
    let (mut peer, mut host) = connect(&mut guest, &listener, 10_000);
    let hello = hello_for("allowed.example");
    for byte in &hello {
        say(&mut guest, &mut peer, ACK, &[*byte]);
        let again = Peer { next: peer.next.wrapping_sub(1), ..peer };
        guest.send(&again.frame(ACK, &[*byte]));
        assert_eq!(guest.segment().0.acknowledged, peer.next);
    }
    assert_eq!(read(&mut host, hello.len()), hello);
    say(&mut guest, &mut peer, FIN_ACK, &vec![5; 60_000]);
    let mut rest = Vec::new();
    host.read_to_end(&mut rest).unwrap();
    assert!(rest == [5; 60_000]);
}

#[test]
fn a_hello_and_the_end_in_one_segment_are_both_passed_on() {
    let (mut guest, listener) = guest(None);
    let (mut peer, mut host) = connect(&mut guest, &listener, 10_000);
    let hello = hello_for("allowed.example");
    say(&mut guest, &mut peer, FIN_ACK, &hello);
    let mut seen = Vec::new();
    host.read_to_end(&mut seen).unwrap();
    assert_eq!(seen, hello);
}

#[test]
fn what_begins_as_a_hello_and_is_none_reaches_nobody() {
    let (mut guest, listener) = guest(None);
    let hello = hello_for("allowed.example");
    let (mut peer, host) = connect(&mut guest, &listener, 10_000);
    peer.say(&mut guest, FIN_ACK, &hello[..hello.len() - 1]);
    assert_reset(&mut guest, host);
    // An end of its own, after the hello's beginning.
    let (mut peer, host) = connect(&mut guest, &listener, 10_001);
    say(&mut guest, &mut peer, ACK, &hello[..3]);
    peer.say(&mut guest, FIN_ACK, b"");
    assert_reset(&mut guest, host);
    // Longer than anybody waits for.
    let (mut peer, host) = connect(&mut guest, &listener, 10_002);
    let endless: Vec<u8> = [22, 3, 1, 0, 1, 1]
        .into_iter()
        .chain([22, 3, 1, 0, 1, 0, 22, 3, 1, 0, 1, 0x3f].into_iter().chain([22, 3, 1, 0, 1, 9].repeat(4000)))
        .collect();
    say(&mut guest, &mut peer, ACK, &endless[..16_000]);
    peer.say(&mut guest, ACK, &endless[16_000..]);
    assert_reset(&mut guest, host);
}

#[test]
fn what_is_not_tls_is_let_be() {
    let (mut guest, listener) = guest(None);
    let (mut peer, mut host) = connect(&mut guest, &listener, 10_000);
    host.write_all(b"220 ready").unwrap();
    assert_eq!(peer.receive(&mut guest, 9), b"220 ready");
    say(&mut guest, &mut peer, ACK, b"E");
    assert_eq!(read(&mut host, 1), b"E");
    // It says nothing at all.
    let (mut peer, mut host) = connect(&mut guest, &listener, 10_001);
    say(&mut guest, &mut peer, FIN_ACK, b"");
    assert_eq!(host.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_name_that_is_denied_is_asked_for_in_vain_where_all_else_is_allowed() {
    let denied = rule(Action::Deny, NetTarget::Domain("denied.example".into()));
    let mut nat = Nat::new(&spec(vec![denied], vec![]), &[], None).unwrap();
    let (listener, _) = server();
    nat.engine.detour = Some(listener.local_addr().unwrap());
    let mut guest = Guest::new(nat);
    let (mut peer, host) = connect(&mut guest, &listener, 10_000);
    peer.say(&mut guest, ACK, &hello_for("denied.example"));
    assert_reset(&mut guest, host);
    let hello = hello_for("any.example");
    let (mut peer, mut host) = connect(&mut guest, &listener, 10_001);
    say(&mut guest, &mut peer, ACK, &hello);
    assert_eq!(read(&mut host, hello.len()), hello);
}

#[test]
fn where_an_address_is_allowed_nobody_looks() {
    let mut guest = with_host();
    let (listener, port) = server();
    let mut peer = Peer::new(gateway(true, port));
    peer.connect(&mut guest);
    let (mut host, _) = listener.accept().unwrap();
    let hello = hello_for("other.example");
    say(&mut guest, &mut peer, ACK, &hello[..3]);
    assert_eq!(read(&mut host, 3), hello[..3]);
}
