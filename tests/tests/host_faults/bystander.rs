//! Process ids that have been given to others: a record names a supervisor that is gone, and its number is a bystander's.

use std::path::Path;
use std::process::Command;

use monocore_orchestrator::{Home, RunDir, RunRecord};
use monocore_tests::world::Ran;

use crate::kept::Kept;

/// Replaces every number after `"pid":` in a JSON file.
fn give_pid(path: &Path, pid: u32) {
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    record["pid"] = pid.into();
    std::fs::write(path, serde_json::to_vec(&record).unwrap()).unwrap();
}

/// A sandbox that seems to run, supervised by `pid`, of which nothing is left but its files.
fn orphan(kept: &Kept, pid: u32) {
    kept.all(&[&["create", "--name", "a", "test/plain:latest", "sleep", "1000"]]);
    let id = kept.run(&["inspect", "--format", "{{.Id}}", "a"]);
    let id = &id.out().trim()[..12];
    let state = kept.home().join("sandboxes").join(id).join("state.json");
    let mut written: serde_json::Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    written["status"] = "running".into();
    std::fs::write(&state, serde_json::to_vec(&written).unwrap()).unwrap();
    give_pid(&state, pid);
    // A record as a supervisor writes it; the lock is gone with its holder.
    let other = RunDir::claim(&Home::at(kept.home()), Some("other"), RunRecord::default()).unwrap();
    let from = other.path().to_owned();
    let to = kept.home().join("run").join(id);
    assert!(Command::new("cp").arg("-a").arg(from).arg(&to).status().unwrap().success());
    drop(other);
    let record = to.join("sandbox.json");
    let mut written: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    (written["id"], written["name"]) = (id.into(), "a".into());
    std::fs::write(&record, serde_json::to_vec(&written).unwrap()).unwrap();
    give_pid(&record, pid);
}

#[test]
fn a_bystander_with_a_supervisors_number_is_never_signalled() {
    const CALLS: &str = "trace=kill,tkill,tgkill,pidfd_send_signal,pidfd_open,rt_sigqueueinfo,ptrace";
    let kept = Kept::new("bystander");
    let mut bystander = Command::new("sleep").arg("1000").spawn().unwrap();
    let commands: [&[&str]; 9] = [
        &["ps"],
        &["stop", "-t", "0", "a"],
        &["kill", "a"],
        &["restart", "-t", "0", "a"],
        &["rm", "-f", "a"],
        &["exec", "a", "true"],
        &["pause", "a"],
        &["wait", "a"],
        &["prune", "-f"],
    ];
    for command in commands {
        orphan(&kept, bystander.id());
        let mut strace = Command::new("strace");
        // What it starts itself it may end.
        strace.args(["-f", "-qq", "-b", "execve", "-e", CALLS, "-e", "signal=none", "-o", "|cat >&2"]);
        let ran: Ran = kept.command(Some(&mut strace), command).output().unwrap().into();
        let number = bystander.id().to_string();
        assert!(!ran.stderr.contains(&number), "{command:?}: {ran:?}");
        assert_eq!(bystander.try_wait().unwrap(), None, "{command:?}: {ran:?}");
        let seen = kept.run(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
        assert!(!seen.out().contains("running"), "{command:?}: {seen:?}");
        kept.run(&["rm", "-f", "a"]);
        assert_eq!(kept.run(&["ps", "-aq"]).out(), "", "{command:?}");
    }
    assert_eq!(bystander.try_wait().unwrap(), None);
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}
