//! The command and what it sees: flags, and what the image says.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use monocore_tests::world::{CONFIGURED, PLAIN, Ran, World};

#[test]
fn environment_user_directory_and_limits() {
    let world = World::get();
    let file = world.path("env-file");
    std::fs::write(&file, "# comment\nFROM_FILE=file value\nBOTH=file\n").unwrap();
    let flags = [
        "-e",
        "FROM_FLAG=flag value",
        "-e",
        "BOTH=flag",
        "-e",
        "PASSED",
        "--env-file",
        &file.display().to_string(),
        "-w",
        "/made/here",
        "-u",
        "app",
        "--hostname",
        "guest.example",
        "--add-host",
        "db:10.1.2.3",
        "--ulimit",
        "nofile=100:200",
        "--name",
        "named",
    ]
    .map(str::to_owned);
    let script = "echo $FROM_FILE,$FROM_FLAG,$BOTH,$PASSED,$HOME; pwd; id -u; id -g; id -G; hostname; ulimit -Sn; ulimit -Hn; \
                  grep -c '10.1.2.3.*db' /etc/hosts";
    let mut command = world.run_command(flags);
    let ran: Ran = command.args([PLAIN, "sh", "-c", script]).env("PASSED", "on").output().unwrap().into();
    let expected = "file value,flag value,flag,on,/home/app\n/made/here\n1000\n1000\n1000 77\nguest.example\n100\n200\n1\n";
    assert_eq!(ran.out(), expected, "{ran:?}");
}

#[test]
fn users_by_number_and_group() {
    let world = World::get();
    for (user, expected) in
        [("1234:4321", "1234 4321\n"), ("other", "2000 50\n"), ("app:staff", "1000 50\n"), ("0", "0 0\n")]
    {
        assert_eq!(world.script(&["-u", user], "echo $(id -u) $(id -g)").out(), expected, "{user}");
    }
}

#[test]
fn an_image_says_how_it_is_run() {
    let world = World::get();
    assert_eq!(world.run([CONFIGURED]).out(), "entry /bin/pwd\n/var/work\n");
    let script = "echo $FROM_IMAGE; id -un; cat /data/from-image; touch /data/new && echo writable";
    let ran = world.run(["-u", "root", CONFIGURED, "sh", "-c", script]);
    assert_eq!(ran.out(), format!("entry sh -c {script}\n1\nroot\noriginal\nwritable\n"));
    assert_eq!(world.run([CONFIGURED, "id", "-un"]).out(), "entry id -un\napp\n");
}

#[test]
fn a_read_only_root_has_its_working_directory_and_writable_volumes() {
    let script = "pwd; cat /data/from-image; touch /data/x && echo volume; touch /x 2>/dev/null || echo root";
    let ran = World::get().run(["--read-only", "-u", "0", "--entrypoint", "sh", CONFIGURED, "-c", script]);
    assert_eq!(ran.out(), "/var/work\noriginal\nvolume\nroot\n");
}

#[test]
fn an_entrypoint_of_the_users_replaces_the_images() {
    let world = World::get();
    assert_eq!(world.run(["--entrypoint", "echo", CONFIGURED, "a", "b"]).out(), "a b\n");
    assert_eq!(world.run(["--entrypoint", "", CONFIGURED, "echo", "c"]).out(), "c\n");
}

#[test]
fn arguments_after_the_image_are_untouched() {
    let world = World::get();
    for (args, expected) in [
        // busybox's echo would take -e for itself.
        (&[PLAIN, "echo", "x", "-e", "A=1", "--name", "--"][..], "x -e A=1 --name --\n"),
        (&[PLAIN, "--", "printf", "%s|", "--", "-x", "", "a b"], "--|-x||a b|"),
        (&["--", PLAIN, "echo", "--rm"], "--rm\n"),
        (&[PLAIN], "default\n"),
    ] {
        assert_eq!(world.run(args).out(), expected, "{args:?}");
    }
}

#[test]
fn an_argument_need_not_be_utf8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let world = World::get();
    let mut command = world.run_command([PLAIN, "printf", "%s"]);
    let output = command.arg(OsStr::from_bytes(b"\xff\xfe")).output().unwrap();
    assert_eq!(output.stdout, b"\xff\xfe");
}

#[test]
fn a_name_is_taken_while_its_sandbox_runs() {
    let world = World::get();
    let mut first = world
        .run_command(["-i", "--name", "taken", PLAIN, "sh", "-c", "echo ready; cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(first.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let refused = world.run(["--name", "taken", PLAIN, "true"]);
    assert_eq!(refused.code, 125);
    assert!(refused.stderr.contains("\"taken\""), "{refused:?}");
    drop(first.stdin.take());
    assert_eq!(first.wait().unwrap().code(), Some(0));
    assert_eq!(world.script(&["--name", "taken"], "echo free").out(), "free\n");
}
