//! SIGKILL of a client, a supervisor or a machine at each step of a sandbox's life. Afterwards a
//! listing says what is so, no process is left over, and the sandbox can be removed without a
//! trace.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use monocore_tests::wait::eventually;
use monocore_tests::world::Ran;

use crate::played::{IMAGE, Played, is_long};
use crate::power;

/// The calls at which a process ends: those that others can see something of.
const CALLS: &str = "openat,rename,renameat2,fsync,fdatasync,mkdir,mkdirat,unlink,unlinkat,rmdir,symlink,symlinkat,ftruncate,\
                     write,flock,socket,bind,connect,accept4,sendmsg,recvmsg,read,poll,clone,clone3,waitid,pidfd_send_signal";
/// The calls that change files, or find them.
const FILE_CALLS: &str = "openat,rename,fsync,mkdir,unlink,unlinkat,ftruncate";
/// The calls that write files, name or sync them.
const WRITING_CALLS: &str =
    "openat,write,pwrite64,ftruncate,fallocate,copy_file_range,fsync,fdatasync,rename";
/// Each run takes the first of so many steps.
const STRIDE: usize = 3;

/// The commands of a sandbox's life. `FILE` is a file of this host.
type Life = &'static [&'static [&'static str]];

/// A sandbox that is kept.
const KEPT: Life = &[
    &["create", "--name", "a", IMAGE, "sleep", "1000"],
    &["start", "a"],
    &["exec", "a", "hello"],
    &["cp", "FILE", "a:/x"],
    &["cp", "a:/x", "FILE.copy"],
    &["restart", "a"],
    &["stop", "a"],
    &["rm", "-f", "a"],
];

/// A sandbox that its supervisor removes at its end.
const PASSING: Life =
    &[&["run", "-d", "--rm", "--name", "a", IMAGE, "sleep", "1000"], &["exec", "a", "hello"], &["stop", "a"]];

/// Whose end it is.
#[derive(Clone, Copy, Debug)]
enum Victim {
    /// The command of this number in the life.
    Client(usize),
    /// A process of the sandbox, by the name of its role.
    Of(&'static str),
}

const SUPERVISOR: Victim = Victim::Of("Supervisor");

/// The `number`th call of this name that a thread of the victim makes.
#[derive(Clone, Debug)]
struct Step {
    life: Life,
    victim: Victim,
    call: String,
    number: usize,
}

impl Played {
    /// The words of a command.
    fn words(&self, command: &[&str]) -> Vec<String> {
        let file = self.fault().with_extension("file");
        std::fs::write(&file, "bytes").unwrap();
        command.iter().map(|word| word.replace("FILE", file.to_str().unwrap())).collect()
    }

    /// A life, in which `strace` looks at the victim with these words. What it ran is
    /// given back.
    fn live(&self, (life, victim): (Life, Victim), strace: &[&str], ends_with_victim: bool) -> Vec<Ran> {
        if let Victim::Of(role) = victim {
            std::fs::write(self.fault(), [&[role], strace].concat().join("\n")).unwrap();
        }
        let mut ran = Vec::new();
        let mut was_there = false;
        for (number, command) in life.iter().enumerate() {
            let words = self.words(command);
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let mut tracer = Command::new("strace");
            tracer.args(["-f", "-qq", "-b", "execve"]).args(strace);
            let is_victim = matches!(victim, Victim::Client(client) if client == number);
            let mut call = self.command(is_victim.then_some(&mut tracer), &words);
            ran.push(call.output().unwrap().into());
            was_there |= ["start", "run"].contains(&command[0]);
            if is_victim || (ends_with_victim && was_there && self.processes("supervise").is_empty()) {
                break;
            }
        }
        let _ = std::fs::remove_file(self.fault());
        ran
    }

    /// What the victim does in a life that nothing disturbs.
    fn steps(&self, life: Life, victim: Victim, calls: &str) -> Vec<Step> {
        let file = self.fault().with_extension("trace");
        let trace = file.to_str().unwrap();
        let ran = self.live((life, victim), &["-o", trace, "-e", &format!("trace={calls}")], false);
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
                (1..=count).map(move |number| Step { life, victim, call: call.to_owned(), number })
            })
            .collect();
        assert!(steps.len() > 5, "{victim:?}: {steps:?}");
        steps
    }

    /// A life with `fault` at `step`.
    fn suffer(&self, step: &Step, fault: Fault) -> Vec<Ran> {
        let inject = fault.injection(step);
        if fault != Fault::PowerCut {
            let trace = format!("trace={}", step.call);
            let words = ["-o", "/dev/null", "-e", &trace, "-e", &inject];
            return self.live((step.life, step.victim), &words, false);
        }
        let before = power::lengths(&self.kept);
        let file = self.fault().with_extension("trace");
        let trace = format!("trace={WRITING_CALLS},{}", step.call);
        let words = ["-y", "-s", "0", "-o", file.to_str().unwrap(), "-e", &trace, "-e", &inject];
        let ran = self.live((step.life, step.victim), &words, true);
        self.no_process_stays("a power cut");
        power::cut(&before, &std::fs::read_to_string(&file).unwrap());
        ran
    }

    /// The next listing is true, a sandbox that runs can be used, and one that is removed leaves
    /// nothing.
    #[track_caller]
    fn put_away(&self, case: &str) {
        let shown = |ran: &Ran| ran.stdout.split_whitespace().nth(1).map(str::to_owned);
        let mut state = None;
        eventually(&format!("{case}: the listing is true"), || {
            let listed = self.run(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
            assert_eq!(listed.code, 0, "{case}: {listed:?}");
            state = shown(&listed);
            let runs = state.as_deref() == Some("running");
            let is_true =
                ["supervise", "vmm"].iter().all(|role| self.processes(role).len() == usize::from(runs));
            // It may have been asked to end a moment ago.
            is_true && (!runs || self.run(&["exec", "a", "alive"]).stdout == "alive\n")
        });
        if state.is_some() {
            let removed = self.run(&["rm", "-f", "a"]);
            assert_eq!(removed.code, 0, "{case}: {removed:?}");
        }
        self.no_process_stays(case);
    }
}

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Killed,
    /// The power is cut: nothing runs any more, and what the process did not sync is gone.
    PowerCut,
    /// The call fails with this error, of which a user reads this.
    Error(&'static str, &'static str),
}

impl Fault {
    fn injection(self, step: &Step) -> String {
        let what = match self {
            Self::Killed | Self::PowerCut => "signal=KILL".to_owned(),
            Self::Error(name, _) => format!("error={name}"),
        };
        format!("inject={}:{what}:when={}", step.call, step.number)
    }
}

/// Cases of which each is suffered once, in several state directories at a time; gives back how many of
/// them a client has noticed.
fn all_suffer(played: &[Played], cases: Vec<(Step, Fault)>) -> usize {
    let left = Mutex::new(cases);
    let take = || left.lock().unwrap().pop();
    let noticed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for played in played {
            scope.spawn(|| {
                let nothing = played.kept.tree();
                while let Some((step, fault)) = take() {
                    let ran = played.suffer(&step, fault);
                    noticed.fetch_add(usize::from(ran.iter().any(|ran| ran.code != 0)), Ordering::Relaxed);
                    let case = format!("{fault:?} at {step:?}: {ran:?}");
                    let start = step.life.iter().position(|words| ["start", "run"].contains(&words[0]));
                    if let (Fault::Error(_, text), Some(start)) = (fault, start.and_then(|at| ran.get(at)))
                        && start.code != 0
                    {
                        assert!(start.stderr.contains(text), "{case}: the error does not say why");
                    }
                    played.put_away(&case);
                    played.kept.holds_only(&nothing, &case);
                }
            });
        }
    });
    noticed.into_inner()
}

/// State directories of a test.
fn homes(name: &str) -> Vec<Played> {
    const HOMES: usize = 3;
    (0..HOMES).map(|_| Played::new(name)).collect()
}

/// The steps that this run takes.
fn chosen(steps: Vec<Step>, stride: usize) -> Vec<Step> {
    steps.into_iter().step_by(if is_long() { 1 } else { stride }).collect()
}

/// A life for every `stride`th step of the victims, who are killed there; gives back how many.
fn all_die(name: &str, victims: &[(Life, Victim)], stride: usize) -> usize {
    let played = homes(name);
    let victims = victims.iter().copied();
    let steps = victims.flat_map(|(life, victim)| played[0].steps(life, victim, CALLS)).collect();
    let cases: Vec<_> = chosen(steps, stride).into_iter().map(|step| (step, Fault::Killed)).collect();
    let count = cases.len();
    let noticed = all_suffer(&played, cases);
    eprintln!("{name}: {count} cases, {noticed} of which a client has noticed");
    // The rest are steps of threads that were late, or after the last answer.
    assert!(2 * noticed > count, "{name}: {noticed} of {count}");
    count
}

#[test]
fn a_client_that_is_killed_anywhere_leaves_a_sandbox_that_is_told_truly() {
    // What `create` does is tried in `host_faults`.
    let of_kept = (1..KEPT.len()).map(|number| (KEPT, Victim::Client(number)));
    let victims: Vec<_> = of_kept.chain([(PASSING, Victim::Client(0))]).collect();
    assert!(all_die("kills-client", &victims, STRIDE) >= 60);
}

#[test]
fn a_supervisor_that_is_killed_anywhere_leaves_no_machine_and_no_file() {
    assert!(all_die("kills-supervisor", &[(KEPT, SUPERVISOR), (PASSING, SUPERVISOR)], STRIDE) >= 60);
}

#[test]
fn a_machine_that_is_killed_anywhere_ends_its_sandbox_alone() {
    assert!(all_die("kills-machine", &[(KEPT, Victim::Of("Machine"))], 1) >= 10);
}

#[test]
fn a_supervisor_that_the_file_system_refuses_something_says_so_and_loses_nothing() {
    const ERRORS: [Fault; 3] = [
        Fault::Error("ENOSPC", "No space left on device"),
        Fault::Error("EIO", "Input/output error"),
        Fault::Error("EDQUOT", "Disk quota exceeded"),
    ];
    let played = homes("refused-supervisor");
    let lives = [KEPT, PASSING].into_iter();
    let steps = lives.flat_map(|life| played[0].steps(life, SUPERVISOR, FILE_CALLS)).collect();
    let steps = chosen(steps, 2);
    let cases: Vec<_> = steps.into_iter().zip(ERRORS.into_iter().cycle()).collect();
    let count = cases.len();
    let noticed = all_suffer(&played, cases);
    eprintln!("refused-supervisor: {count} cases, {noticed} of which a client has noticed");
    assert!(count >= 20 && noticed >= 5, "{noticed} of {count}");
}

#[test]
fn a_power_cut_at_each_step_of_a_supervisor_leaves_what_is_true() {
    let played = homes("cut-supervisor");
    let lives = [KEPT, PASSING].into_iter();
    let steps = lives.flat_map(|life| played[0].steps(life, SUPERVISOR, FILE_CALLS)).collect();
    let steps = chosen(steps, STRIDE);
    let cases: Vec<_> = steps.into_iter().map(|step| (step, Fault::PowerCut)).collect();
    let count = cases.len();
    let noticed = all_suffer(&played, cases);
    eprintln!("cut-supervisor: {count} cases, {noticed} of which a client has noticed");
    assert!(count >= 15 && noticed >= 10, "{noticed} of {count}");
}
