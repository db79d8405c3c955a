//! Streams to an address that one name let the guest reach and that others have, too.

use std::fs::File;
use std::io::Seek;

use monocore_spec::{NetRule, NetTarget, Reach};

use super::guest::Socket;
use super::*;
use crate::hello::tests::hello_for;
use crate::testing::{assert_was_reset, read};

/// A guest that may reach one name and whatever is at [`shared`] because of it: a listener of ours.
fn guest(receipts: Option<File>) -> (Guest, TcpListener) {
    let allowed = NetRule { target: NetTarget::Domain("allowed.example".into()), ..allow_host() };
    let mut spec = spec(vec![allowed], vec![]);
    spec.policy.reach = Reach::None;
    let mut tsi = Tsi::new(&spec, &[], receipts).unwrap();
    tsi.engine.learn("allowed.example", shared().ip(), Duration::from_secs(3600), Instant::now());
    let (listener, _) = server();
    tsi.engine.detour = Some(listener.local_addr().unwrap());
    (Guest::new(tsi), listener)
}

fn shared() -> SocketAddr {
    SocketAddr::from(([9, 9, 9, 9], 443))
}

fn connect(guest: &mut Guest, listener: &TcpListener) -> (Socket, TcpStream) {
    let socket = guest.connect(shared()).unwrap();
    (socket, listener.accept().unwrap().0)
}

/// The host has heard nothing and has been reset.
fn assert_reset(guest: &mut Guest, socket: Socket, host: TcpStream) {
    assert_eq!(guest.event(socket), (Some(Packet::Reset), ECONNRESET));
    assert_was_reset(host);
}

#[test]
fn a_hello_for_another_name_reaches_nobody_wherever_it_is_cut() {
    let mut file = tempfile::tempfile().unwrap();
    let (mut guest, listener) = guest(Some(file.try_clone().unwrap()));
    let hello = hello_for("other.example");
    for cut in 0..hello.len() {
        let (socket, host) = connect(&mut guest, &listener);
        guest.say(socket, &hello[..cut]);
        guest.say(socket, &[&hello[cut..], b"and more"].concat());
        assert_reset(&mut guest, socket, host);
    }
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    let denied = r#""address":"9.9.9.9","port":443,"names":["other.example"],"reason":"sni"}"#;
    assert_eq!(text.lines().filter(|line| line.ends_with(denied)).count(), hello.len());
    assert_eq!(guest.faults(), 0);
}

#[test]
fn a_hello_for_a_name_that_is_allowed_arrives_unchanged_wherever_it_is_cut() {
    let (mut guest, listener) = guest(None);
    let hello = hello_for("Allowed.example");
    for cut in 1..hello.len() {
        let (socket, mut host) = connect(&mut guest, &listener);
        guest.say(socket, &hello[..cut]);
        host.set_nonblocking(true).unwrap();
        assert_eq!(host.read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        host.set_nonblocking(false).unwrap();
        guest.say(socket, &[&hello[cut..], b"early"].concat());
        assert_eq!(read(&mut host, hello.len() + 5), [&hello[..], b"early"].concat());
        host.write_all(b"welcome").unwrap();
        assert_eq!(guest.read(socket, 7), b"welcome");
        guest.say(socket, &hello_for("other.example"));
        read(&mut host, hello_for("other.example").len());
        guest.send(socket, Packet::Reset, 0, &[]);
    }
}

#[test]
fn a_hello_may_come_byte_by_byte() {
    let (mut guest, listener) = guest(None);
    let (socket, mut host) = connect(&mut guest, &listener);
    let hello = hello_for("allowed.example");
    for byte in &hello {
        guest.say(socket, &[*byte]);
    }
    assert_eq!(read(&mut host, hello.len()), hello);
    guest.say(socket, &[5; 60_000]);
    guest.send(socket, Packet::Shutdown, SHUT_SEND, &[]);
    let mut rest = Vec::new();
    host.read_to_end(&mut rest).unwrap();
    assert!(rest == [5; 60_000]);
}

#[test]
fn what_begins_as_a_hello_and_is_none_reaches_nobody() {
    let (mut guest, listener) = guest(None);
    let hello = hello_for("allowed.example");
    for (end, count) in [(SHUT_SEND, hello.len() - 1), (SHUT_BOTH, 3)] {
        let (socket, host) = connect(&mut guest, &listener);
        guest.say(socket, &hello[..count]);
        guest.send(socket, Packet::Shutdown, end, &[]);
        assert_reset(&mut guest, socket, host);
    }
    // Longer than anybody waits for.
    let (socket, host) = connect(&mut guest, &listener);
    let endless = [
        &[22, 3, 1, 0, 1, 1, 22, 3, 1, 0, 1, 0, 22, 3, 1, 0, 1, 0x3f][..],
        &[22, 3, 1, 0, 1, 9].repeat(4000),
    ]
    .concat();
    guest.say(socket, &endless[..16_000]);
    guest.say(socket, &endless[16_000..]);
    assert_reset(&mut guest, socket, host);
    // A guest that goes leaves nothing behind on the way.
    let (socket, mut host) = connect(&mut guest, &listener);
    guest.say(socket, &hello[..20]);
    guest.send(socket, Packet::Reset, 0, &[]);
    assert!(host.read(&mut [0; 1]).is_err());
}

#[test]
fn what_is_not_tls_is_let_be() {
    let (mut guest, listener) = guest(None);
    let (socket, mut host) = connect(&mut guest, &listener);
    host.write_all(b"220 ready").unwrap();
    assert_eq!(guest.read(socket, 9), b"220 ready");
    guest.say(socket, b"E");
    assert_eq!(read(&mut host, 1), b"E");
    // It says nothing at all.
    let (socket, mut host) = connect(&mut guest, &listener);
    guest.send(socket, Packet::Shutdown, SHUT_SEND, &[]);
    assert_eq!(host.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn what_is_held_back_outlasts_a_pause() {
    let (mut guest, listener) = guest(None);
    let hello = hello_for("allowed.example");
    let (socket, mut host) = connect(&mut guest, &listener);
    guest.say(socket, &hello[..50]);
    guest.pause();
    guest.say(socket, &hello[50..]);
    assert_eq!(read(&mut host, hello.len()), hello);
}

#[test]
fn a_name_that_is_denied_is_asked_for_in_vain_where_all_else_is_allowed() {
    use monocore_spec::Action;
    let target = NetTarget::Domain("denied.example".into());
    let denied = NetRule { action: Action::Deny, target, ..allow_host() };
    let mut tsi = Tsi::new(&spec(vec![denied], vec![]), &[], None).unwrap();
    let (listener, _) = server();
    tsi.engine.detour = Some(listener.local_addr().unwrap());
    let mut guest = Guest::new(tsi);
    let (socket, host) = connect(&mut guest, &listener);
    guest.say(socket, &hello_for("denied.example"));
    assert_reset(&mut guest, socket, host);
    let hello = hello_for("any.example");
    let (socket, mut host) = connect(&mut guest, &listener);
    guest.say(socket, &hello);
    assert_eq!(read(&mut host, hello.len()), hello);
}

#[test]
fn where_an_address_is_allowed_nobody_looks() {
    let mut guest = with_host();
    let (listener, port) = server();
    let socket = guest.connect(gateway(true, port)).unwrap();
    let (mut host, _) = listener.accept().unwrap();
    let hello = hello_for("other.example");
    guest.say(socket, &hello[..3]);
    assert_eq!(read(&mut host, 3), hello[..3]);
}
