//! `shell`, `top`, `diff`, `rename`.

use std::io::Write;
use std::process::Stdio;

use monocore_tests::wait::eventually;
use monocore_tests::world::World;

use crate::support::{Background, ran};

#[test]
fn changes_of_files_are_told_as_docker_tells_them() {
    let script = "echo x > /bin/new; rm /bin/ls; mkdir -p /a/b; echo y > /a/b/c; echo done; sleep 1000";
    let sandbox = Background::run("inside-diff", &[], script);
    eventually("the command is done", || ran(&[&["logs", "inside-diff"]]).out().contains("done"));
    let wanted = "A /a\nA /a/b\nA /a/b/c\nC /bin\nD /bin/ls\nA /bin/new\n";
    assert_eq!(ran(&[&["diff", "inside-diff"]]).out(), wanted);
    ran(&[&["stop", "-t", "0", "inside-diff"]]).out();
    assert_eq!(ran(&[&["diff", "inside-diff"]]).out(), wanted, "it need not run");
    drop(sandbox);
    let gone = ran(&[&["diff", "inside-diff"]]);
    assert_eq!((gone.code, gone.stderr.contains("no such sandbox: inside-diff")), (1, true));
}

#[test]
fn processes_are_shown_in_the_columns_of_ps() {
    let _sandbox = Background::run("inside-top", &[], "sleep 998 & exec sleep 999");
    let shown = ran(&[&["top", "inside-top"]]);
    let lines: Vec<Vec<&str>> = shown.out().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert!(
        lines.iter().any(|line| line[7..] == ["sleep", "999"] && line[0] == "root" || line[0] == "0"),
        "{shown:?}"
    );
    assert!(lines.iter().any(|line| line[7..] == ["sleep", "998"]), "{shown:?}");
    let shown = ran(&[&["top", "inside-top", "-o", "pid,args"]]);
    assert!(shown.out().starts_with("PID") && shown.stdout.contains("sleep 998\n"), "{shown:?}");
    assert_eq!(ran(&[&["top", "inside-top", "-Z"]]).code, 1);
    ran(&[&["kill", "inside-top"]]).out();
    let refused = ran(&[&["top", "inside-top"]]);
    assert_eq!((refused.code, refused.stderr.contains("is not running")), (1, true));
}

#[test]
fn a_new_name_counts_at_once() {
    let sandbox = Background::run("inside-old", &[], "sleep 1000");
    let taken = ran(&[&["rename", "inside-old", "inside-old"]]);
    assert_eq!(taken.code, 1, "{taken:?}");
    assert_eq!(ran(&[&["rename", "inside-old", "inside-new"]]).out(), "");
    assert_eq!(ran(&[&["exec", "inside-new", "echo", "here"]]).out(), "here\n");
    assert_eq!(ran(&[&["exec", "inside-old", "true"]]).code, 125);
    assert!(ran(&[&["ps"]]).out().contains("inside-new"));
    ran(&[&["rename", "inside-new", "inside-old"]]).out();
    assert_eq!(sandbox.inspect()["name"], "inside-old");
}

#[test]
fn a_shell_is_found_and_reads_what_is_typed() {
    let _sandbox = Background::run("inside-shell", &["-w", "/tmp"], "sleep 1000");
    let shell = |flags: &[&str]| {
        let mut child = World::get()
            .monocore([&["shell"], flags, &["inside-shell"]].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"pwd; echo $A; exit 5\n").unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(shell(&[]), (Some(5), "/tmp\n\n".to_owned()));
    assert_eq!(shell(&["-e", "A=1", "-w", "/"]), (Some(5), "/\n1\n".to_owned()));
    ran(&[&["kill", "inside-shell"]]).out();
    let refused = ran(&[&["shell", "inside-shell"]]);
    assert_eq!(refused.code, 125);
    assert!(refused.stderr.contains("monocore start inside-shell"), "{refused:?}");
}
