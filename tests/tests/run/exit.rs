//! Exit statuses.

use std::time::{Duration, Instant};

use monocore_tests::world::{CONFIGURED, PLAIN, World};

#[test]
fn the_commands_status_is_ours() {
    let world = World::get();
    assert_eq!(world.run([PLAIN, "true"]).code, 0);
    assert_eq!(world.script(&[], "exit 3").code, 3);
}

#[test]
fn a_signal_gives_128_and_its_number() {
    let world = World::get();
    assert_eq!(world.script(&[], "kill -KILL $$").code, 137);
    assert_eq!(world.script(&[], "kill -TERM $$").code, 143);
}

#[test]
fn what_cannot_be_started_gives_126_or_127() {
    let world = World::get();
    let missing = world.run([PLAIN, "no-such-program"]);
    assert_eq!(missing.code, 127);
    assert!(missing.stderr.contains("no-such-program"), "{missing:?}");
    assert_eq!(world.run([PLAIN, "/no/such/program"]).code, 127);
    assert_eq!(world.run([PLAIN, "/etc/passwd"]).code, 126);
    assert_eq!(world.run([PLAIN, "/etc"]).code, 126);
}

#[test]
fn what_is_ours_gives_125() {
    let world = World::get();
    for (args, named) in [
        (&["--no-such-flag", PLAIN][..], "--no-such-flag"),
        (&["--pull", "never", "test/absent"], "test/absent"),
        (&["-v", "relative", PLAIN], "--volume"),
        (&["--mount", "type=bind,src=/nonexistent,dst=/x", PLAIN, "true"], "/nonexistent"),
        (&["-u", "nobody-here", PLAIN, "true"], "nobody-here"),
        (&["--rootfs", "/nonexistent", "true"], "--rootfs"),
    ] {
        let ran = world.run(args);
        assert_eq!(ran.code, 125, "{args:?}: {ran:?}");
        assert!(ran.stderr.contains(named), "{args:?}: {ran:?}");
    }
}

#[test]
fn a_timeout_gives_124_after_the_images_stop_signal() {
    let world = World::get();
    let started = Instant::now();
    let script = "trap 'echo asked; exit 9' USR1; echo ready; while :; do sleep 0.1; done";
    // The time runs from the start of the machine, which takes seconds in emulation.
    let ran = world.run(["--timeout", "20s", "--entrypoint", "sh", CONFIGURED, "-c", script]);
    assert_eq!((ran.code, ran.stdout.as_str()), (124, "ready\nasked\n"), "{ran:?}");
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
}

#[test]
fn a_command_that_will_not_stop_is_killed() {
    let world = World::get();
    let started = Instant::now();
    let flags = ["--timeout", "3s", "--stop-timeout", "1s", "--stop-signal", "INT"];
    let ran = world.script(&flags, "trap '' INT; sleep 100");
    assert_eq!(ran.code, 124, "{ran:?}");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}
