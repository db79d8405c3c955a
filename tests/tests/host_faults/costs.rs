//! What a command costs among many sandboxes.

use std::process::Command;

use monocore_orchestrator::{Home, RunDir, RunRecord};
use monocore_tests::world::Ran;
use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, recv,
    socket_with,
};

use crate::kept::Kept;

/// Calls that concern files, descriptors, sockets and processes.
const CALLS: &str = "trace=%file,%desc,%network,%process";

/// A record of a running sandbox. Its supervisor takes one request of each client and hangs up.
struct Running {
    run_dir: RunDir,
}

impl Running {
    fn new(home: &Home, name: &str) -> Self {
        Self { run_dir: RunDir::claim(home, Some(name), RunRecord::default()).unwrap() }
    }

    fn listen(&self) {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let address = SocketAddrUnix::new(self.run_dir.path().join("control.sock")).unwrap();
        bind(&socket, &address).unwrap();
        listen(&socket, 4).unwrap();
        std::thread::spawn(move || serve(&socket));
    }
}

fn serve(socket: &OwnedFd) {
    while let Ok(client) = accept_with(socket, SocketFlags::CLOEXEC) {
        recv(&client, &mut [0; 4096][..], RecvFlags::empty()).unwrap();
    }
}

/// The calls of `exec one true`, in their order.
fn calls(kept: &Kept) -> Vec<String> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", CALLS, "-e", "signal=none", "-o", "|cat >&2"]);
    let ran: Ran = kept.command(Some(&mut strace), &["exec", "one", "true"]).output().unwrap().into();
    assert!(ran.stderr.contains("ended before the command did"), "{ran:?}");
    let call = |line: &str| Some(line.split_once('(')?.0.split_whitespace().last()?.to_owned());
    ran.stderr.lines().filter_map(call).collect()
}

#[test]
fn exec_costs_the_same_among_a_hundred_sandboxes_and_starts_no_process() {
    let kept = Kept::new("costs");
    let home = Home::at(kept.home());
    let one = Running::new(&home, "one");
    one.listen();
    let alone = calls(&kept);
    assert!(alone.iter().any(|call| call == "connect"), "{alone:?}");
    let processes = ["fork", "vfork", "clone", "clone3"];
    assert!(!alone.iter().any(|call| processes.contains(&call.as_str())), "{alone:?}");
    assert_eq!(alone.iter().filter(|call| *call == "execve").count(), 1, "{alone:?}");
    let others: Vec<_> = (0..50).map(|number| Running::new(&home, &format!("running-{number}"))).collect();
    for number in 0..50 {
        kept.all(&[&["create", "--name", &format!("kept-{number}"), "test/plain:latest"]]);
    }
    assert_eq!(kept.run(&["ps", "-aq"]).stdout.lines().count(), 101);
    assert_eq!(calls(&kept), alone);
    drop(others);
}
