//! Locks on a share: they exclude other sandboxes and the host.

use std::fs::File;
use std::process::Stdio;

use monocore_tests::wait::eventually;
use monocore_tests::world::World;
use rustix::fs::{FlockOperation, flock};

use crate::probe::Sharers;
use crate::support::Background;

/// This machine's flock(1), which the image lacks, by its own loader.
const FLOCK: &str = "/host/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path \
                     /host/lib/x86_64-linux-gnu /host/bin/flock";

#[test]
fn flock_excludes_the_host_and_other_sandboxes() {
    let world = World::get();
    let share = world.path("locked-share");
    std::fs::create_dir_all(&share).unwrap();
    let file = File::create(share.join("file")).unwrap();
    let mount = format!("{}:/s", share.display());
    let first = Background::run("locks-first", &["-v", &mount, "-v", "/usr:/host:ro"], "sleep 1000");
    let second = Background::run("locks-second", &["-v", &mount, "-v", "/usr:/host:ro"], "sleep 1000");
    let try_lock = &format!("{FLOCK} -n /s/file true");

    assert_eq!(first.exec(&[], try_lock).code, 0);
    flock(&file, FlockOperation::LockExclusive).unwrap();
    assert_eq!(first.exec(&[], try_lock).code, 1, "the host holds the lock");
    assert_eq!(first.exec(&[], &format!("{FLOCK} -sn /s/file true")).code, 1);
    flock(&file, FlockOperation::Unlock).unwrap();
    assert_eq!(first.exec(&[], try_lock).code, 0);

    // A waiting lock is had once the other guest's holder has ended.
    let mut holder = world
        .monocore([
            "exec",
            "locks-first",
            "sh",
            "-c",
            &format!("exec {FLOCK} /s/file sh -c 'echo held > /s/held; exec sleep 1000'"),
        ])
        .spawn()
        .unwrap();
    eventually("the lock is held", || share.join("held").exists());
    assert_eq!(second.exec(&[], try_lock).code, 1, "the other sandbox holds the lock");
    assert!(flock(&file, FlockOperation::NonBlockingLockExclusive).is_err());
    let waiting = world
        .monocore(["exec", "locks-second", "sh", "-c", &format!("exec {FLOCK} /s/file echo mine")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(second.exec(&[], "echo a guest whose program waits still serves").code, 0);
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(waiting.wait_with_output().unwrap().stdout, b"mine\n");
}

/// What processes of two sandboxes (`A1`, `A2`, `B1`, `B2`) and of this machine (`H1`, `H2`) do in turn, and what they are
/// told. Each has the file open as `f`. `...` is a call that waits; `-` tells how it ended.
const CASES: &[(&str, &str)] = &[
    (
        "flock: one writer",
        "A1 flock f wr = ok; B1 flock f wr = busy; H1 flock f wr = busy; A2 flock f wr = busy",
    ),
    (
        "flock: many readers",
        "A1 flock f rd = ok; B1 flock f rd = ok; H1 flock f rd = ok; B2 flock f wr = busy",
    ),
    (
        "flock: the host first",
        "H1 flock f wr = ok; A1 flock f rd = busy; B1 flock f wr = busy; H2 flock f rd = busy",
    ),
    ("flock: given up", "A1 flock f wr = ok; A1 flock f un = ok; B1 flock f wr = ok; H1 flock f wr = busy"),
    ("flock: closed", "A1 flock f wr = ok; A1 close f = ok; B1 flock f wr = ok"),
    ("flock: died", "A1 flock f wr = ok; A1 die; B1 flock f wr = ok"),
    (
        "flock: read to write",
        "A1 flock f rd = ok; A1 flock f wr = ok; B1 flock f rd = busy; H1 flock f rd = busy",
    ),
    (
        "flock: write to read",
        "A1 flock f wr = ok; A1 flock f rd = ok; B1 flock f rd = ok; H1 flock f wr = busy",
    ),
    ("flock: two opens of one process", "A1 open g file rw = ok; A1 flock f wr = ok; A1 flock g wr = busy"),
    (
        "flock: opened for reading",
        "A1 open g file r = ok; A1 flock g wr = ok; H1 flock f rd = busy; B1 flock f rd = busy",
    ),
    (
        "flock: waits for the host",
        "H1 flock f wr = ok; A1 flock f wr wait ...; H1 flock f un = ok; A1 - ok; B1 flock f rd = busy",
    ),
    (
        "flock: the host waits",
        "B1 flock f wr = ok; H1 flock f wr wait ...; B1 flock f un = ok; H1 - ok; A1 flock f rd = busy",
    ),
    (
        "flock: waits for a sandbox",
        "B1 flock f wr = ok; A1 flock f wr wait ...; B1 close f = ok; A1 - ok; H1 flock f rd = busy",
    ),
    (
        "flock: waits for one that dies",
        "B1 flock f wr = ok; A1 flock f rd wait ...; B1 die; A1 - ok; H1 flock f wr = busy",
    ),
    (
        "flock: a wait interrupted",
        "H1 flock f wr = ok; A1 flock f wr wait ...; A2 interrupt A1; A1 - interrupted; H1 flock f un = ok; B1 flock f wr = ok",
    ),
    (
        "posix: ranges",
        "A1 posix f wr 0 10 = ok; B1 posix f wr 9 1 = busy; B1 posix f wr 10 5 = ok; H1 posix f rd 0 1 = busy; H1 posix f wr 15 0 = ok; A2 posix f rd 14 1 = busy",
    ),
    (
        "posix: readers",
        "A1 posix f rd 0 10 = ok; B1 posix f rd 5 10 = ok; H1 posix f rd 0 0 = ok; B2 posix f wr 3 1 = busy; H2 posix f wr 12 1 = busy",
    ),
    (
        "posix: the middle given up",
        "A1 posix f wr 0 30 = ok; A1 posix f un 10 10 = ok; B1 posix f wr 10 10 = ok; H1 posix f wr 9 1 = busy; H1 posix f wr 20 1 = busy",
    ),
    (
        "posix: to the end",
        "A1 posix f wr 100 0 = ok; B1 posix f wr 4000000000 1 = busy; B1 posix f wr 0 100 = ok; H1 posix f rd 99 1 = busy",
    ),
    (
        "posix: any close",
        "A1 open g file rw = ok; A1 posix f wr 0 10 = ok; A1 close g = ok; B1 posix f wr 0 10 = ok",
    ),
    ("posix: died", "A1 posix f wr 0 10 = ok; A1 die; B1 posix f wr 0 10 = ok; H1 posix f rd 0 1 = busy"),
    ("posix: the host died", "H1 posix f wr 0 10 = ok; A1 posix f wr 0 10 wait ...; H1 die; A1 - ok"),
    (
        "posix: one process has it once",
        "A1 open g file rw = ok; A1 posix f wr 0 10 = ok; A1 posix g wr 0 10 = ok; A2 posix f wr 0 10 = busy",
    ),
    (
        "posix: waits for a part",
        "B1 posix f wr 0 10 = ok; A1 posix f wr 5 10 wait ...; B1 posix f un 5 5 = ok; A1 - ok; H1 posix f wr 4 1 = busy; H1 posix f wr 14 1 = busy",
    ),
    (
        "posix: the host waits",
        "A1 posix f wr 0 10 = ok; H1 posix f rd 0 1 wait ...; A1 posix f un 0 10 = ok; H1 - ok; B1 posix f wr 0 1 = busy",
    ),
    (
        "posix: waits for one that dies",
        "B1 posix f wr 0 10 = ok; A1 posix f wr 0 10 wait ...; B1 die; A1 - ok; H1 posix f rd 0 1 = busy",
    ),
    (
        "posix: two readers wait",
        "H1 posix f wr 0 10 = ok; A1 posix f rd 0 10 wait ...; B1 posix f rd 0 10 wait ...; H1 posix f un 0 10 = ok; A1 - ok; B1 - ok",
    ),
    (
        "posix: a wait interrupted",
        "B1 posix f wr 0 10 = ok; A1 posix f wr 0 10 wait ...; A2 interrupt A1; A1 - interrupted; B1 posix f un 0 10 = ok; H1 posix f wr 0 10 = ok",
    ),
    (
        "posix: read to write",
        "A1 posix f rd 0 10 = ok; B1 posix f rd 0 10 = ok; A1 posix f wr 0 10 = busy; B1 posix f un 0 10 = ok; A1 posix f wr 0 10 = ok; H1 posix f rd 0 1 = busy",
    ),
    (
        "posix: a part made read",
        "A1 posix f wr 0 10 = ok; A1 posix f rd 0 5 = ok; B1 posix f rd 0 5 = ok; B1 posix f rd 5 1 = busy; H1 posix f wr 0 1 = busy",
    ),
    (
        "posix: who is in the way",
        "A1 posix f wr 2 3 = ok; B1 test f rd 0 10 = wr 2 3; H1 test f wr 0 10 = wr 2 3; A2 test f rd 4 1 = wr 2 3; A1 test f wr 0 10 = free; B1 test f wr 5 5 = free",
    ),
    (
        "posix and flock know nothing of each other",
        "A1 flock f wr = ok; B1 posix f wr 0 0 = ok; H1 flock f rd = busy; H1 posix f rd 0 1 = busy",
    ),
    (
        "contents under a flock",
        "A1 flock f wr = ok; A1 put f one = ok; A1 flock f un = ok; B1 flock f wr = ok; B1 get f = one; B1 put f two = ok; B1 flock f un = ok; A1 flock f rd = ok; A1 get f = two; H1 get f = two",
    ),
    (
        "contents under a range",
        "A1 posix f wr 0 3 = ok; A1 get f = old; A1 put f six = ok; A1 posix f un 0 3 = ok; H1 posix f wr 0 3 = ok; H1 put f ten = ok; H1 posix f un 0 3 = ok; B1 posix f rd 0 3 = ok; B1 get f = ten; A1 posix f rd 0 3 = ok; A1 get f = ten",
    ),
];

/// Does one step; an error says what else was answered.
fn step(sharers: &mut Sharers, step: &str) -> Result<(), String> {
    let (name, rest) = step.split_once(' ').unwrap();
    if rest == "die" {
        sharers.kill(name);
        return Ok(());
    }
    if let Some(other) = rest.strip_prefix("interrupt ") {
        let pid = sharers.probe(other).pid.clone();
        let answer = sharers.probe(name).ask(&format!("interrupt {pid}"));
        return if answer == "ok" { Ok(()) } else { Err(answer) };
    }
    if let Some(expected) = rest.strip_prefix("- ") {
        let answer = sharers.probe(name).hear();
        return if answer == expected { Ok(()) } else { Err(answer) };
    }
    if let Some(command) = rest.strip_suffix(" ...") {
        sharers.probe(name).say(command);
        // Enough for an answer, had it come at once.
        let neighbour = format!("{}2", &name[..1]);
        let _ = sharers.probe(&neighbour).ask("pid");
        std::thread::sleep(std::time::Duration::from_millis(100));
        return if sharers.probe(name).is_silent() { Ok(()) } else { Err("it did not wait".into()) };
    }
    let (command, expected) = rest.split_once(" = ").unwrap();
    let answer = sharers.probe(name).ask(command);
    if answer == expected { Ok(()) } else { Err(answer) }
}

#[test]
fn locks_exclude_as_between_processes_of_one_machine() {
    let mut sharers = Sharers::new(["lock-table-a", "lock-table-b"]);
    let mut wrong = Vec::new();
    for (case, steps) in CASES {
        std::fs::write(sharers.folder.join("file"), "old").unwrap();
        for name in ["A1", "A2", "B1", "B2", "H1", "H2"] {
            assert_eq!(sharers.probe(name).ask("open f file rw"), "ok", "{case}");
        }
        for text in steps.split("; ") {
            if let Err(answer) = step(&mut sharers, text) {
                wrong.push(format!("{case}: {text}, but: {answer}"));
                break;
            }
        }
        for name in sharers.names() {
            if sharers.probe(&name).owed > 0 {
                sharers.kill(&name);
            } else {
                assert_eq!(sharers.probe(&name).ask("reset"), "ok", "{case}");
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases: {wrong:#?}", wrong.len(), CASES.len());
}
