//! Locks on a share: they exclude other sandboxes and the host.

use std::fs::File;
use std::process::Stdio;

use monocore_tests::world::World;
use rustix::fs::{FlockOperation, flock};

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
    while !share.join("held").exists() {}
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
