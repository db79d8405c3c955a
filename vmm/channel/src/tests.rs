use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

use proptest::prelude::*;
use rustix::net::{SendFlags, send};

use super::*;

type Supervisor = Asker<MachineRequest, MachineReply, &'static str>;
type Machine = Answerer<MachineRequest, MachineReply>;

fn ends() -> (Supervisor, Machine) {
    let (near, far) = pair().unwrap();
    (Asker::new(near), Answerer::new(far))
}

fn asked(machine: &Machine) -> (u32, MachineRequest, usize) {
    match machine.question() {
        Question::Asked(number, Ok(request), descriptors) => (number, request, descriptors.len()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn replies_find_their_requests_in_any_order() {
    let (mut supervisor, machine) = ends();
    assert!(matches!(supervisor.reply(), Asked::Nothing));
    supervisor.ask(&MachineRequest::Ping, &[], "ping").unwrap();
    supervisor.ask(&MachineRequest::Pause, &[], "pause").unwrap();
    let (ping, pause) = (asked(&machine), asked(&machine));
    assert_eq!((&ping.1, &pause.1), (&MachineRequest::Ping, &MachineRequest::Pause));
    machine.answer(pause.0, &MachineReply::Refused("no".into()), &[]).unwrap();
    machine.answer(999, &MachineReply::Done, &[]).unwrap();
    machine.answer(ping.0, &MachineReply::Done, &[]).unwrap();
    machine.answer(ping.0, &MachineReply::Done, &[]).unwrap();
    let mut replies = Vec::new();
    while let Asked::Reply(reply) = supervisor.reply() {
        replies.push((reply.key, reply.message.unwrap()));
    }
    let expected = [("pause", MachineReply::Refused("no".into())), ("ping", MachineReply::Done)];
    assert_eq!(replies, expected);
    drop(machine);
    assert!(matches!(supervisor.reply(), Asked::Closed));
    let (key, _) = supervisor.ask(&MachineRequest::Ping, &[], "late").unwrap_err();
    assert_eq!(key, "late");
}

#[test]
fn descriptors_travel_with_their_request_only() {
    let (mut supervisor, machine) = ends();
    let (near, far) = std::io::pipe().unwrap();
    let share = MachineRequest::AddShare { name: "m0".into(), read_only: true };
    supervisor.ask(&share, &[far.as_fd()], "share").unwrap();
    supervisor.ask(&MachineRequest::Ping, &[], "ping").unwrap();
    drop(far);
    let Question::Asked(number, Ok(request), mut descriptors) = machine.question() else { panic!() };
    assert_eq!(request, share);
    File::from(descriptors.pop().unwrap()).write_all(b"x").unwrap();
    assert!(descriptors.is_empty());
    let mut text = String::new();
    File::from(std::os::fd::OwnedFd::from(near)).read_to_string(&mut text).unwrap();
    assert_eq!(text, "x");
    assert_eq!(asked(&machine).2, 0);
    // And back.
    machine.answer(number, &MachineReply::Done, &[machine.as_fd()]).unwrap();
    let Asked::Reply(reply) = supervisor.reply() else { panic!() };
    assert_eq!(reply.descriptors.len(), 1);
    let all = [machine.as_fd(); MAX_DESCRIPTORS + 1];
    assert!(supervisor.ask(&share, &all, "many").is_err());
}

#[test]
fn what_is_no_request_is_told_with_its_number_and_the_next_one_is_served() {
    let (mut supervisor, machine) = ends();
    let good = encode(7, &MachineRequest::Metrics).unwrap();
    let mut other_version = good.clone();
    other_version[0] ^= 0xff;
    let long = vec![0xff; MAX_PACKET_BYTES + 1];
    let unknown = encode(8, &200_u32).unwrap();
    for (packet, number) in [
        (&b"x"[..], 0),
        (&other_version, 7),
        (&long, 0xffff_ffff),
        (&unknown, 8),
        (&[&good[..], &[0]].concat(), 7),
    ] {
        send(&supervisor, packet, SendFlags::empty()).unwrap();
        match machine.question() {
            Question::Asked(seen, Err(_), _) => assert_eq!(seen, number),
            other => panic!("{other:?}"),
        }
    }
    supervisor.ask(&MachineRequest::Ping, &[], "ping").unwrap();
    assert_eq!(asked(&machine).1, MachineRequest::Ping);
}

#[test]
fn replies_that_nobody_asked_for_keep_no_one_busy() {
    let (mut supervisor, machine) = ends();
    supervisor.ask(&MachineRequest::Ping, &[], "ping").unwrap();
    let (number, ..) = asked(&machine);
    for _ in 0..100 {
        machine.answer(number + 1, &MachineReply::Done, &[]).unwrap();
    }
    machine.answer(number, &MachineReply::Done, &[]).unwrap();
    assert!(matches!(supervisor.reply(), Asked::Nothing));
    assert!(matches!(supervisor.reply(), Asked::Reply(Reply { key: "ping", .. })));
}

#[test]
fn an_end_that_does_not_read_costs_the_other_nothing_but_an_error() {
    let (mut supervisor, _machine) = ends();
    let refused = (0..10_000).find_map(|_| supervisor.ask(&MachineRequest::Ping, &[], "x").err());
    assert_eq!(refused.unwrap().1.kind(), std::io::ErrorKind::WouldBlock);
    let before = supervisor.waiting().count();
    assert!(before > 0);
    assert_eq!(supervisor.give_up(|_| true).len(), before);
    assert_eq!(supervisor.waiting().count(), 0);
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (number, request) = decode::<MachineRequest>(&bytes);
        if let Ok(request) = request {
            prop_assert_eq!(decode(&encode(number, &request).unwrap()), (number, Ok(request)));
        }
        let _ = decode::<MachineReply>(&bytes);
    }
}
