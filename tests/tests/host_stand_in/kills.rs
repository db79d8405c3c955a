//! SIGKILL of a client, a supervisor or a machine at each step of a sandbox's life. Afterwards a listing says what is so,
//! no process is left over, and the sandbox can be removed without a trace.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use monocore_tests::wait::eventually;
use monocore_tests::world::Ran;

use crate::played::{Played, is_long};

/// The calls at which a process ends: those that others can see something of.
const CALLS: &str = "openat,rename,renameat2,fsync,fdatasync,mkdir,mkdirat,unlink,unlinkat,rmdir,symlink,symlinkat,ftruncate,\
                     write,flock,socket,bind,connect,accept4,sendmsg,recvmsg,read,poll,clone,clone3,waitid,pidfd_send_signal";
/// Each run takes the first of so many steps.
const STRIDE: usize = 3;

/// A life, from its start to its end. `FILE` is a file of this host.
const LIFE: [&[&str]; 7] = [
    &["start", "a"],
    &["exec", "a", "hello"],
    &["cp", "FILE", "a:/x"],
    &["cp", "a:/x", "FILE.copy"],
    &["restart", "a"],
    &["stop", "a"],
    &["rm", "-f", "a"],
];

/// Whose end it is.
#[derive(Clone, Copy, Debug)]
enum Victim {
    /// The command of this number in [`LIFE`].
    Client(usize),
    /// A process of the sandbox, by the name of its role.
    Of(&'static str),
}

/// The `number`th call of this name that a thread of the victim makes.
#[derive(Clone, Debug)]
struct Step {
    victim: Victim,
    call: String,
    number: usize,
}

impl Played {
    /// The words of the command of this number.
    fn words(&self, number: usize) -> Vec<String> {
        let file = self.fault().with_extension("file");
        std::fs::write(&file, "bytes").unwrap();
        LIFE[number].iter().map(|word| word.replace("FILE", file.to_str().unwrap())).collect()
    }

    /// A sandbox's life, in which `strace` looks at the victim with these words. What it ran is given back.
    fn live(&self, victim: Victim, strace: &[&str]) -> Vec<Ran> {
        self.create("a", &[], &["sleep", "1000"]);
        if let Victim::Of(role) = victim {
            std::fs::write(self.fault(), [&[role], strace].concat().join("\n")).unwrap();
        }
        let mut ran = Vec::new();
        for number in 0..LIFE.len() {
            let words = self.words(number);
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let mut tracer = Command::new("strace");
            tracer.args(["-f", "-qq", "-b", "execve"]).args(strace);
            let is_victim = matches!(victim, Victim::Client(client) if client == number);
            let mut command = self.command(is_victim.then_some(&mut tracer), &words);
            ran.push(command.output().unwrap().into());
            if is_victim {
                break;
            }
        }
        let _ = std::fs::remove_file(self.fault());
        ran
    }

    /// What the victim does in a life that nothing disturbs.
    fn steps(&self, victim: Victim) -> Vec<Step> {
        let file = self.fault().with_extension("trace");
        let trace = file.to_str().unwrap();
        let ran = self.live(victim, &["-o", trace, "-e", &format!("trace={CALLS}")]);
        assert!(ran.iter().all(|ran| ran.code == 0), "{victim:?}: {ran:?}");
        self.put_away(&format!("{victim:?}, undisturbed"));
        let text = std::fs::read_to_string(&file).unwrap();
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for line in text.lines() {
            // `1234  openat(AT_FDCWD, …) = 3`
            let Some((start, _)) = line.split_once('(') else { continue };
            let mut words = start.split_whitespace();
            if let (Some(thread), Some(call), None) = (words.next(), words.next(), words.next()) {
                *counts.entry((call, thread)).or_default() += 1;
            }
        }
        let mut most: BTreeMap<&str, usize> = BTreeMap::new();
        for ((call, _), count) in counts {
            let known = most.entry(call).or_default();
            *known = count.max(*known);
        }
        let steps: Vec<_> = most
            .into_iter()
            .flat_map(|(call, count)| {
                (1..=count).map(move |number| Step { victim, call: call.to_owned(), number })
            })
            .collect();
        assert!(steps.len() > 5, "{victim:?}: {steps:?}");
        steps
    }

    /// The next listing is true, a sandbox that runs can be used, and one that is removed leaves nothing.
    #[track_caller]
    fn put_away(&self, case: &str) {
        let shown = |ran: &Ran| ran.stdout.split_whitespace().nth(1).map(str::to_owned);
        let mut state = None;
        eventually(&format!("{case}: the listing is true"), || {
            let listed = self.run(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
            assert_eq!(listed.code, 0, "{case}: {listed:?}");
            state = shown(&listed);
            let count = if state.as_deref() == Some("running") { 1 } else { 0 };
            ["supervise", "vmm"].iter().all(|role| self.processes(role).len() == count)
        });
        if state.as_deref() == Some("running") {
            assert_eq!(self.run(&["exec", "a", "alive"]).out(), "alive\n", "{case}");
        }
        if state.is_some() {
            let removed = self.run(&["rm", "-f", "a"]);
            assert_eq!(removed.code, 0, "{case}: {removed:?}");
        }
        self.no_process_stays(case);
    }
}

/// A life for every `stride`th step of the victims, in several state directories at a time; gives back how many.
fn all_die(name: &str, victims: &[Victim], stride: usize) -> usize {
    const HOMES: usize = 3;
    let played: Vec<_> = (0..HOMES).map(|_| Played::new(name)).collect();
    let steps: Vec<_> = victims.iter().flat_map(|victim| played[0].steps(*victim)).collect();
    let every = if is_long() { 1 } else { stride };
    let chosen: Vec<_> = steps.into_iter().step_by(every).collect();
    let count = chosen.len();
    let left = Mutex::new(chosen);
    let take = || left.lock().unwrap().pop();
    let disturbed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for played in &played {
            scope.spawn(|| {
                let nothing = played.kept.tree();
                while let Some(step) = take() {
                    let inject = format!("inject={}:signal=KILL:when={}", step.call, step.number);
                    let trace = format!("trace={}", step.call);
                    let ran = played.live(step.victim, &["-o", "/dev/null", "-e", &trace, "-e", &inject]);
                    let is_disturbed = ran.iter().any(|ran| ran.code != 0);
                    disturbed.fetch_add(usize::from(is_disturbed), Ordering::Relaxed);
                    let case = format!("{step:?}: {ran:?}");
                    played.put_away(&case);
                    played.kept.holds_only(&nothing, &case);
                }
            });
        }
    });
    let disturbed = disturbed.into_inner();
    eprintln!("{name}: {count} cases, {disturbed} of which a client has noticed");
    // The rest are steps of threads that were late, or after the last answer.
    assert!(2 * disturbed > count, "{name}: {disturbed} of {count}");
    count
}

#[test]
fn a_client_that_is_killed_anywhere_leaves_a_sandbox_that_is_told_truly() {
    let victims: Vec<_> = (0..LIFE.len()).map(Victim::Client).collect();
    assert!(all_die("kills-client", &victims, STRIDE) >= 60);
}

#[test]
fn a_supervisor_that_is_killed_anywhere_leaves_no_machine_and_no_file() {
    assert!(all_die("kills-supervisor", &[Victim::Of("Supervisor")], STRIDE) >= 40);
}

#[test]
fn a_machine_that_is_killed_anywhere_ends_its_sandbox_alone() {
    assert!(all_die("kills-machine", &[Victim::Of("Machine")], 1) >= 10);
}
