//! `-t`: a real terminal's size, mode and restoration.

use std::time::Duration;

use monocore_tests::typist::{Typist, resize};
use monocore_tests::world::{PLAIN, World};
use rustix::termios::LocalModes;

fn start(rows: u16, columns: u16, script: &str) -> Typist {
    Typist::start(rows, columns, &["run", "-it", "-m", "128m", PLAIN, "sh", "-c", script])
}

#[test]
fn size_resize_raw_mode_and_restoration() {
    let script = "stty size; tty; read line; echo got $line; stty size; read line; exit 4";
    let mut typist = start(31, 97, script);
    let usual = LocalModes::ICANON | LocalModes::ECHO;
    assert!(typist.modes().contains(usual));
    typist.wait_for("31 97\r\n");
    typist.wait_for("/dev/pts/0");
    assert!(!typist.modes().intersects(usual), "raw while the command runs");
    resize(&typist.keyboard, 40, 120);
    std::thread::sleep(Duration::from_millis(500));
    typist.type_in("hello\n");
    typist.wait_for("got hello\r\n");
    typist.wait_for("40 120\r\n");
    typist.type_in("\n");
    assert_eq!(typist.child.wait().unwrap().code(), Some(4));
    assert!(typist.modes().contains(usual), "as it was afterwards");
}

#[test]
fn control_c_is_a_key_of_the_guests() {
    let mut typist =
        start(24, 80, "trap 'echo interrupted; exit 6' INT; echo ready; while :; do sleep 0.1; done");
    typist.wait_for("ready");
    typist.type_in("\x03");
    typist.wait_for("interrupted");
    assert_eq!(typist.child.wait().unwrap().code(), Some(6));
}

#[test]
fn a_terminal_without_input_has_one_stream() {
    let ran = World::get().script(&["-t"], "echo out; echo err >&2; test -t 1 && echo terminal");
    assert_eq!(ran.out(), "out\r\nerr\r\nterminal\r\n");
}
