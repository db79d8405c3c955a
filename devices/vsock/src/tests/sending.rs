//! Connections of which a vCPU's thread is sending while others work on them.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use monocore_hypervisor::GuestRam;
use monocore_virtio::Buffers;
use monocore_virtio::test_driver::test_ram;
use vm_memory::{Bytes, GuestAddress};

use crate::connection::{Connection, Delivery, Host, Key, Phase};
use crate::device::{Limits, Metrics};
use crate::packet::{SHUT_BOTH, SHUT_SEND};
use crate::session::Session;

const KEY: Key = Key { host_port: 7, guest_port: 9 };

fn pair() -> (Host, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    (Host::Backend(Arc::new(near.into())), far)
}

fn payload<'m>(ram: &'m GuestRam, at: u64, bytes: &[u8]) -> Buffers<'m> {
    ram.write_slice(bytes, GuestAddress(at)).unwrap();
    let mut buffers = Buffers::new();
    assert!(buffers.push(ram, GuestAddress(at), bytes.len().try_into().unwrap()));
    buffers
}

fn all_of(far: &mut UnixStream) -> Vec<u8> {
    let mut bytes = [0; 64];
    let count = far.read(&mut bytes).unwrap();
    bytes[..count].to_vec()
}

#[test]
fn what_comes_meanwhile_comes_after_it() {
    let ram = test_ram();
    let (host, mut far) = pair();
    let mut connection = Connection::new(KEY, host, Phase::Open, 1 << 16);
    let mut first = payload(&ram, 0, b"hello");
    let socket = connection.begin_sending(5).unwrap();
    assert!(connection.begin_sending(1).is_none());
    assert_eq!(connection.deliver(&mut payload(&ram, 64, b", world")), Delivery::Fine);
    assert!(connection.has_backlog() && !connection.may_drain());
    // The socket takes two bytes.
    let mut part = payload(&ram, 128, b"he");
    let sent = part.send(&socket);
    part.clear();
    assert_eq!(connection.end_sending(&mut first, sent), Delivery::Fine);
    assert!(connection.may_drain());
    assert_eq!(connection.drain(usize::MAX), (10, Delivery::Fine));
    assert_eq!(all_of(&mut far), b"hello, world");
}

#[test]
fn an_end_the_guest_announces_meanwhile_comes_after_it() {
    let ram = test_ram();
    let (host, mut far) = pair();
    let mut connection = Connection::new(KEY, host, Phase::Open, 1 << 16);
    let mut bytes = payload(&ram, 0, b"hello");
    let socket = connection.begin_sending(5).unwrap();
    connection.guest_shuts(SHUT_SEND);
    let sent = bytes.send(&socket);
    assert_eq!(sent.as_ref().unwrap(), &5);
    assert_eq!(connection.end_sending(&mut bytes, sent), Delivery::Fine);
    assert_eq!(all_of(&mut far), b"hello");
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
    connection.guest_shuts(SHUT_BOTH);
    assert!(!connection.has_backlog());
}

#[test]
fn a_guest_that_was_told_too_little_meanwhile_is_told_again() {
    let ram = test_ram();
    let (host, _far) = pair();
    let mut connection = Connection::new(KEY, host, Phase::Open, 1 << 16);
    let mut bytes = payload(&ram, 0, b"hello");
    let socket = connection.begin_sending(5).unwrap();
    assert_eq!(connection.tell_window().1, 0);
    let sent = bytes.send(&socket);
    assert_eq!(connection.end_sending(&mut bytes, sent), Delivery::Fine);
    assert!(connection.take_told_sending());
    assert_eq!(connection.tell_window().1, 5);
    assert!(!connection.take_told_sending());
}

#[test]
fn the_number_of_a_connection_that_ends_meanwhile_is_not_used_again_before() {
    let mut session = Session::new(Limits::default());
    let metrics = Metrics::default();
    let (host, _far) = pair();
    let id = session.insert(KEY, host, Phase::Open).unwrap();
    let socket = session.get(id).unwrap().begin_sending(5).unwrap();
    session.remove(id, &metrics);
    let (host, _other) = pair();
    let next = session.insert(KEY, host, Phase::Open).unwrap();
    assert_ne!(next, id);
    drop(socket);
    session.end_sending(id);
    session.remove(next, &metrics);
    assert_eq!(session.len(), 0);
}
