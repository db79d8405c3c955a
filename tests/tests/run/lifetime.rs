//! Ends: signals to the CLI, its sudden death, and that nothing is left behind.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use monocore_tests::world::{PLAIN, World};
use rustix::process::{Pid, Signal, kill_process};

/// Starts a script that says `ready` first, and returns once it has.
fn started(script: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child =
        World::get().run_command([PLAIN, "sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, stdout)
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The virtual machine's process: the only child of the CLI.
fn machine(child: &Child) -> PathBuf {
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let children = std::fs::read_to_string(children).unwrap();
    PathBuf::from(format!("/proc/{}", children.trim()))
}

/// The run directory of the sandbox that the CLI supervises.
fn run_directory(child: &Child) -> PathBuf {
    let needle = format!("\"pid\":{}", child.id());
    let mut entries =
        std::fs::read_dir(World::get().home().join("run")).unwrap().flatten().map(|entry| entry.path());
    let is_its = |path: &PathBuf| {
        std::fs::read_to_string(path.join("sandbox.json")).is_ok_and(|text| text.contains(&needle))
    };
    entries.find(is_its).unwrap()
}

#[test]
fn an_interrupt_reaches_the_command() {
    let (mut child, mut stdout) =
        started("trap 'echo got it; exit 7' INT; echo ready; while :; do sleep 0.1; done");
    send(&child, Signal::INT);
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), child.wait().unwrap().code()), ("got it\n", Some(7)));
}

#[test]
fn a_second_interrupt_kills() {
    let (mut child, _stdout) = started("trap '' INT; echo ready; sleep 100");
    send(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(137));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn a_termination_is_passed_on() {
    let (mut child, _stdout) = started("echo ready; exec sleep 100");
    send(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn the_sudden_death_of_the_cli_takes_the_machine_along() {
    let (mut child, _stdout) =
        started("dd if=/dev/zero of=/big bs=1M count=4 2>/dev/null; echo ready; sleep 100");
    let machine = machine(&child);
    assert!(machine.exists());
    let directory = run_directory(&child);
    assert!(directory.exists());
    send(&child, Signal::KILL);
    let killed = Instant::now();
    child.wait().unwrap();
    while machine.exists() && killed.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    // The scratch disk never had a name; the next command removes the directory.
    assert!(!find(&World::get().home(), 1 << 32), "a scratch disk is left");
    World::get().monocore(["prune"]).output().unwrap();
    assert!(!directory.exists(), "{}", directory.display());
}

/// Whether a file of at least `bytes` lies beneath `dir`.
fn find(dir: &std::path::Path, bytes: u64) -> bool {
    std::fs::read_dir(dir).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        path.symlink_metadata()
            .is_ok_and(|meta| meta.len() >= bytes && meta.is_file() || meta.is_dir() && find(&path, bytes))
    })
}

#[test]
fn a_run_leaves_nothing() {
    let world = World::get();
    let home = world.path("quiet-home");
    std::fs::create_dir_all(&home).unwrap();
    std::os::unix::fs::symlink(world.home().join("oci"), home.join("oci")).unwrap();
    let ran = world.run_command([PLAIN, "true"]).env("MONOCORE_HOME", &home).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let left: Vec<_> =
        std::fs::read_dir(home.join("run")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, [".lock"]);
}

#[test]
fn a_new_window_size_without_a_terminal_is_a_signal_like_others() {
    let script = "for s in HUP QUIT USR1 USR2 WINCH; do trap \"echo $s\" $s; done; trap 'exit 9' TERM; echo ready; \
                  while :; do sleep 0.1; done";
    let (mut child, mut stdout) = started(script);
    let signals =
        [("HUP", Signal::HUP), ("QUIT", Signal::QUIT), ("USR1", Signal::USR1), ("WINCH", Signal::WINCH)];
    for (name, signal) in signals {
        send(&child, signal);
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), name);
    }
    send(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(9));
}
