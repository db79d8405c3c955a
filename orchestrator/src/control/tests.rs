use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use monocore_protocol::{ExitStatus, Stream};
use proptest::prelude::*;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};

use super::message::ExecCall;
use super::wire::{self, Received};
use super::{ControlPeer, ControlReply, ControlRequest, ControlSocket, socket};
use crate::session::Remote;
use crate::session::SessionError;

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn call(argument: String) -> ControlRequest {
    ControlRequest::Exec(Box::new(ExecCall::new(vec![argument.into_bytes().into()])))
}

proptest! {
    #[test]
    fn bytes_of_a_stranger_are_a_message_or_an_error(bytes: Vec<u8>, versioned: bool) {
        let mut frame = if versioned { wire::CONTROL_VERSION.to_le_bytes().to_vec() } else { Vec::new() };
        frame.extend(bytes);
        let _ = wire::decode::<ControlRequest>(&frame);
        let _ = wire::decode::<ControlReply>(&frame);
    }

    #[test]
    fn a_request_comes_back(argument: String) {
        let request = call(argument);
        let frame = wire::encode(&request).unwrap();
        prop_assert_eq!(wire::decode::<ControlRequest>(&frame).unwrap(), request);
    }
}

#[test]
fn another_version_and_a_long_message_are_told() {
    let mut frame = wire::encode(&ControlRequest::Wait).unwrap();
    frame[0] ^= 1;
    let error = wire::decode::<ControlRequest>(&frame).unwrap_err().to_string();
    assert!(error.contains("restart the sandbox"), "{error}");
    let error = wire::encode(&call("x".repeat(wire::MAX_FRAME_BYTES))).unwrap_err().to_string();
    assert!(error.contains("too many"), "{error}");
    assert!(wire::decode::<ControlRequest>(&[]).is_err());
}

#[test]
fn a_streams_descriptor_arrives_with_its_name() {
    let (ours, theirs) = pair();
    let (reader, writer) = std::io::pipe().unwrap();
    let peer = ControlPeer::new(theirs);
    peer.stream(Stream::Stdout, reader.into());
    peer.ended(&Ok(ExitStatus::Code(7)));
    drop(peer);
    let Received::Message(ControlReply::Stream(Stream::Stdout), Some(stream)) =
        wire::receive(&ours, RecvFlags::empty()).unwrap()
    else {
        panic!("no stream")
    };
    std::fs::File::from(OwnedFd::from(writer)).write_all(b"hello").unwrap();
    assert_eq!(std::io::read_to_string(std::fs::File::from(stream)).unwrap(), "hello");
    let exited = wire::receive::<ControlReply>(&ours, RecvFlags::empty()).unwrap();
    assert!(matches!(exited, Received::Message(ControlReply::Exited(ExitStatus::Code(7)), None)));
    assert!(matches!(wire::receive::<ControlReply>(&ours, RecvFlags::empty()).unwrap(), Received::Closed));
}

#[test]
fn a_command_whose_machine_is_lost_counts_as_killed() {
    let (ours, theirs) = pair();
    ControlPeer::new(theirs).ended(&Err(SessionError::Lost));
    let Received::Message(ControlReply::NotStarted { code, .. }, None) =
        wire::receive(&ours, RecvFlags::empty()).unwrap()
    else {
        panic!("no end")
    };
    assert_eq!(code, 137);
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let (ours, theirs) = pair();
    let peer = ControlPeer::new(theirs);
    // Nothing waits, however much is said.
    for _ in 0..100_000 {
        peer.reply(&ControlReply::Refused("x".repeat(1000)));
    }
    while let Received::Message(..) = wire::receive::<ControlReply>(&ours, RecvFlags::DONTWAIT).unwrap() {}
    assert!(wire::send(&ours, &ControlRequest::Wait, None, SendFlags::DONTWAIT).is_err());
}

#[test]
fn the_socket_is_private_and_found_below_a_long_path() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("x".repeat(200));
    std::fs::create_dir(&long).unwrap();
    assert!(socket::connect(&long).is_err());
    let listening = ControlSocket::listen(&long).unwrap();
    let mode = std::fs::metadata(long.join("control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let client = socket::connect(&long).unwrap();
    let peer = ControlPeer::new(listening.accept().unwrap());
    wire::send(client.as_fd(), &ControlRequest::Wait, None, SendFlags::empty()).unwrap();
    assert!(matches!(peer.receive(), Received::Message(ControlRequest::Wait, None)));
    drop(client);
    assert!(matches!(peer.receive(), Received::Closed));
}
