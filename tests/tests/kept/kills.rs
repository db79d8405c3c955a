//! SIGKILL of a client, a supervisor or a machine in the middle of what is asked of a real guest. Every step is tried with
//! played machines (`host_stand_in`); here the data in the guest has to survive, too.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use monocore_tests::wait::eventually;
use monocore_tests::world::{Ran, World, binary};
use rustix::process::Pid;

use crate::support::{Background, machine, ran, supervisor};

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Client,
    Supervisor,
    Machine,
}

/// What is asked, and at which call of the victim's, counted from the moment of the question, it ends.
#[derive(Clone, Copy, Debug)]
struct Case {
    victim: Victim,
    verb: &'static str,
    call: &'static str,
    number: u32,
}

const fn case(victim: Victim, verb: &'static str, call: &'static str, number: u32) -> Case {
    Case { victim, verb, call, number }
}

const SUPERVISOR: [Case; 8] = [
    case(Victim::Supervisor, "exec", "recvmsg", 1),
    case(Victim::Supervisor, "exec", "sendmsg", 2),
    case(Victim::Supervisor, "cp", "sendmsg", 1),
    case(Victim::Supervisor, "stop", "recvmsg", 1),
    case(Victim::Supervisor, "stop", "sendto", 1),
    case(Victim::Supervisor, "stop", "fsync", 1),
    case(Victim::Supervisor, "restart", "rename", 1),
    case(Victim::Supervisor, "restart", "unlinkat", 1),
];

const MACHINE: [Case; 4] = [
    case(Victim::Machine, "exec", "ioctl", 5),
    case(Victim::Machine, "cp", "ioctl", 50),
    case(Victim::Machine, "stop", "ioctl", 5),
    case(Victim::Machine, "restart", "ioctl", 20),
];

const CLIENT: [Case; 8] = [
    case(Victim::Client, "exec", "connect", 1),
    case(Victim::Client, "exec", "sendmsg", 1),
    case(Victim::Client, "exec", "recvmsg", 2),
    case(Victim::Client, "cp", "recvmsg", 1),
    case(Victim::Client, "cp", "recvmsg", 2),
    case(Victim::Client, "stop", "sendmsg", 1),
    case(Victim::Client, "stop", "recvmsg", 1),
    case(Victim::Client, "restart", "recvmsg", 1),
];

fn is_there(process: Pid) -> bool {
    PathBuf::from(format!("/proc/{}/exe", process.as_raw_nonzero())).exists()
}

impl Case {
    fn words(&self, name: &str) -> Vec<String> {
        let file = World::get().path(&format!("{name}-file"));
        std::fs::write(&file, "bytes").unwrap();
        let file = file.to_str().unwrap();
        let to = format!("{name}:/copied");
        let words = match self.verb {
            "exec" => vec!["exec", name, "sh", "-c", "echo first; sleep 1; echo last"],
            "cp" => vec!["cp", file, &to],
            verb => vec![verb, "-t", "1", name],
        };
        words.into_iter().map(str::to_owned).collect()
    }

    fn injection(&self) -> [String; 6] {
        let inject = format!("inject={}:signal=KILL:when={}", self.call, self.number);
        ["-f", "-o", "/dev/null", "-e", &format!("trace={}", self.call), &format!("-e{inject}")]
            .map(str::to_owned)
    }

    /// strace, which has taken hold of the process.
    fn strace(&self, process: Pid) -> Child {
        let mut strace = Command::new("strace");
        strace.args(self.injection()).args(["-p", &process.as_raw_nonzero().to_string()]);
        let mut strace = strace.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(strace.stderr.take().unwrap()).lines();
        let told = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("attached")));
        assert!(told.is_some(), "{self:?}: strace does not take hold");
        // Whoever goes on writing to a pipe without a reader is killed.
        std::thread::spawn(move || lines.count());
        strace
    }

    /// Does it, and says what came of the command.
    fn suffer(&self, sandbox: &Background, name: &str) -> Ran {
        let words = self.words(name);
        let supervisor = supervisor(sandbox);
        let process = match self.victim {
            Victim::Client => {
                let mut strace = Command::new("strace");
                // A supervisor that it starts is not the victim.
                strace.args(["-qq", "-b", "execve"]).args(self.injection()).arg(binary()).args(words);
                return strace.env("MONOCORE_HOME", World::get().home()).output().unwrap().into();
            }
            Victim::Supervisor => supervisor,
            Victim::Machine => machine(supervisor),
        };
        let mut strace = self.strace(process);
        let told = World::get().monocore(&words).output().unwrap().into();
        eventually(&format!("{self:?}: {told:?}: the process is killed"), || !is_there(process));
        strace.wait().unwrap();
        told
    }
}

/// Each of the cases with one sandbox, which is started again where it has ended.
fn all_suffer(name: &'static str, cases: &[Case]) {
    let sandbox = Background::run(name, &[], "sleep 1000");
    let id = sandbox.inspect()["id"].as_str().unwrap().to_owned();
    let run_dir = World::get().home().join("run").join(id);
    for (number, case) in cases.iter().enumerate() {
        let write = format!("echo {number} > /precious; sync");
        assert_eq!(sandbox.exec(&[], &write).code, 0, "{case:?}");
        let before = [supervisor(&sandbox), machine(supervisor(&sandbox))];
        let told = case.suffer(&sandbox, name);
        let case = format!("{case:?}: {told:?}");
        // A sandbox that stops without its client takes a moment.
        eventually(&format!("{case}: what is shown is so"), || {
            let runs = sandbox.inspect()["state"]["status"] == "running";
            let now = runs.then(|| supervisor(&sandbox));
            let stays = before.iter().filter(|process| is_there(**process)).count();
            run_dir.exists() == runs && stays == if now == Some(before[0]) { 2 } else { 0 }
        });
        if sandbox.inspect()["state"]["status"] != "running" {
            ran(&[&["start", name]]).out();
        }
        let kept = sandbox.exec(&[], "cat /precious");
        assert_eq!(kept.out(), format!("{number}\n"), "{case}");
    }
}

#[test]
fn a_supervisor_killed_in_the_middle_loses_no_data() {
    all_suffer("kills-supervisor", &SUPERVISOR);
}

#[test]
fn a_machine_killed_in_the_middle_loses_no_data() {
    all_suffer("kills-machine", &MACHINE);
}

#[test]
fn a_client_killed_in_the_middle_leaves_the_sandbox_as_it_says() {
    all_suffer("kills-client", &CLIENT);
}
