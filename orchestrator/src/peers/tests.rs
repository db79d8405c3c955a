use std::io::IoSliceMut;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, recvmsg, send};

use super::*;
use crate::control::wire::Received;
use crate::control::{ControlPeer, ControlRequest, ControlSocket};
use crate::run_dir::{RunDir, RunRecord};
use crate::spec::GroupMembership;

/// A running member: its directory, control socket, line, and its machine's end of that.
struct Member {
    run_dir: RunDir,
    control: ControlSocket,
    line: PeerLine,
    machine: OwnedFd,
}

impl Member {
    fn new(home: &Home, name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|group| GroupMembership::new(*group)).collect();
        let run = RunRecord { groups, ..RunRecord::default() };
        let run_dir = RunDir::claim(home, Some(name), run).unwrap();
        let control = ControlSocket::listen(run_dir.path()).unwrap();
        let (line, machine) = PeerLine::new(home, &run_dir.record().groups, "eth0").unwrap();
        Self { run_dir, control, line, machine }
    }

    fn address(&self) -> Ipv4Addr {
        self.run_dir.record().groups[0].address
    }

    /// Asks the supervisor; the reply and its descriptor.
    fn ask(&self, request: &PeerRequest) -> (PeerReply, Option<OwnedFd>) {
        send(&self.machine, &serde_json::to_vec(request).unwrap(), SendFlags::empty()).unwrap();
        self.line.serve();
        self.hear().expect("a reply")
    }

    fn hear(&self) -> Option<(PeerReply, Option<OwnedFd>)> {
        let mut bytes = [0; PEER_MESSAGE_MAX_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let count = recvmsg(&self.machine, &mut slices, &mut ancillary, flags).ok()?.bytes;
        let descriptor = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Some((serde_json::from_slice(&bytes[..count]).unwrap(), descriptor))
    }

    /// Takes the links that other supervisors hand over.
    fn take_links(&self) {
        while let Ok(client) = self.control.accept() {
            if let Received::Message(ControlRequest::PeerLink(link), Some(end)) =
                ControlPeer::new(client).receive()
            {
                self.line.take_link(&link, end.as_fd());
            }
        }
    }
}

fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path());
    (dir, home)
}

#[test]
fn two_machines_get_the_ends_of_one_link() {
    let (_dir, home) = home();
    let (a, b) = (Member::new(&home, "a", &["g"]), Member::new(&home, "b", &["g"]));
    let (reply, near) = a.ask(&PeerRequest::Link { own: a.address(), peer: b.address() });
    assert_eq!(reply, PeerReply::Linked { own: a.address(), peer: b.address() });
    b.take_links();
    let (reply, far) = b.hear().unwrap();
    assert_eq!(reply, PeerReply::Linked { own: b.address(), peer: a.address() });
    send(near.unwrap(), b"call", SendFlags::empty()).unwrap();
    assert_eq!(recv(far.unwrap(), &mut [0; 8][..], RecvFlags::DONTWAIT).unwrap().0, 4);
    let (reply, _) = a.ask(&PeerRequest::Resolve { id: 7, name: "b".to_owned() });
    assert_eq!(reply, PeerReply::Resolved { id: 7, addresses: Some(vec![b.address()]) });
}

#[test]
fn a_machine_gets_no_link_to_others_than_running_members_of_its_groups() {
    let (_dir, home) = home();
    let (a, other) = (Member::new(&home, "a", &["g"]), Member::new(&home, "other", &["h"]));
    let gone = Member::new(&home, "gone", &["g"]);
    let gone_address = gone.address();
    drop(gone);
    let nobody = Ipv4Addr::new(127, 0, 0, 1);
    for (own, peer) in [
        (a.address(), other.address()),
        (other.address(), a.address()),
        (other.address(), other.address()),
        (a.address(), a.address()),
        (a.address(), gone_address),
        (a.address(), nobody),
        (nobody, nobody),
    ] {
        let (reply, end) = a.ask(&PeerRequest::Link { own, peer });
        assert_eq!((reply, end.is_none()), (PeerReply::Absent { peer }, true), "{own} to {peer}");
    }
    assert!(other.control.accept().is_err(), "nobody was asked");
    let (reply, _) = a.ask(&PeerRequest::Resolve { id: 1, name: "other".to_owned() });
    assert_eq!(reply, PeerReply::Resolved { id: 1, addresses: None });
}

#[test]
fn a_link_of_a_stranger_is_not_taken() {
    let (_dir, home) = home();
    let (a, b, other) =
        (Member::new(&home, "a", &["g"]), Member::new(&home, "b", &["g"]), Member::new(&home, "o", &["h"]));
    let (end, _theirs) = pair().unwrap();
    let link = |group: &str, own, peer| PeerLink { project: None, group: group.to_owned(), own, peer };
    for link in [
        link("g", a.address(), other.address()),
        link("h", a.address(), other.address()),
        link("h", other.address(), a.address()),
        link("g", b.address(), a.address()),
        PeerLink { project: Some("p".to_owned()), ..link("g", a.address(), b.address()) },
    ] {
        a.line.take_link(&link, end.as_fd());
        assert!(a.hear().is_none(), "{link:?}");
    }
    a.line.take_link(&link("g", a.address(), b.address()), end.as_fd());
    assert!(a.hear().is_some());
}

#[test]
fn a_machine_that_joins_a_group_is_told_and_gets_links_in_it() {
    let (_dir, home) = home();
    let (a, other) = (Member::new(&home, "a", &["g"]), Member::new(&home, "other", &["h"]));
    let joined = {
        let _alone = crate::registry::lock(&home).unwrap();
        let wanted = [GroupMembership::new("h")];
        groups::join(&home, (&a.run_dir.record().id, "a"), &wanted).unwrap().remove(0)
    };
    let own = joined.address;
    let link = PeerRequest::Link { own, peer: other.address() };
    assert_eq!(a.ask(&link).0, PeerReply::Absent { peer: other.address() }, "not before it is told");
    let both = [a.line.groups(), vec![joined]].concat();
    a.line.regroup(both.clone()).unwrap();
    let told = both.iter().map(JoinedGroup::address).collect();
    assert_eq!(a.hear().unwrap().0, PeerReply::Groups { groups: told });
    assert_eq!(a.ask(&link).0, PeerReply::Linked { own, peer: other.address() });
    // Who is there has not left.
    let gone = |peer| PeerLink { project: None, group: "h".to_owned(), own, peer };
    a.line.drop_links(&gone(other.address()));
    assert!(a.hear().is_none());
    let nobody = Ipv4Addr::new(10, 200, 0, 99);
    a.line.drop_links(&gone(nobody));
    assert_eq!(a.hear().unwrap().0, PeerReply::Gone { peer: nobody });
    a.line.regroup(vec![both[0].clone()]).unwrap();
    a.hear().unwrap();
    assert_eq!(a.ask(&link).0, PeerReply::Absent { peer: other.address() });
    drop(a.machine);
    assert!(a.line.regroup(both).is_err(), "nobody hears it");
}

#[test]
fn what_makes_no_sense_is_passed_over_and_a_machine_that_does_not_listen_holds_up_nobody() {
    let (_dir, home) = home();
    let a = Member::new(&home, "a", &["g"]);
    let deep = "[".repeat(5000);
    for nonsense in [&b"{"[..], b"null", b"{\"link\":{}}", &[0xff; 100], deep.as_bytes(), &[b'x'; 9000]] {
        send(&a.machine, nonsense, SendFlags::empty()).unwrap();
    }
    a.line.serve();
    assert!(a.hear().is_none() && a.line.socket().is_some());
    let request = PeerRequest::Resolve { id: 1, name: "b".to_owned() };
    for _ in 0..5000 {
        send(&a.machine, &serde_json::to_vec(&request).unwrap(), SendFlags::empty()).unwrap();
        a.line.serve();
    }
    while a.hear().is_some() {}
    a.ask(&request);
    drop(a.machine);
    a.line.serve();
    assert!(a.line.socket().is_none(), "nothing to poll");
}
