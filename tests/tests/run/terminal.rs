//! `-t`: a real terminal's size, mode and restoration.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use monocore_tests::world::{PLAIN, World, binary};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

const SOON: Duration = Duration::from_secs(30);

/// `monocore run -it` on a pseudo-terminal of the test's.
struct Typist {
    child: Child,
    keyboard: File,
    terminal: OwnedFd,
    seen: String,
}

impl Typist {
    fn start(rows: u16, columns: u16, script: &str) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let terminal =
            rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        resize(&keyboard, rows, columns);
        let stream = || terminal.try_clone().unwrap();
        // In a session of its own whose controlling terminal this is, so that a resize is signalled to it.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(binary())
            .args(["run", "-it", "-m", "128m", PLAIN, "sh", "-c", script])
            .env("MONOCORE_HOME", World::get().home())
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .unwrap();
        Self { child, keyboard: keyboard.into(), terminal, seen: String::new() }
    }

    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + SOON;
        while !self.seen.contains(text) {
            assert!(Instant::now() < deadline, "{text:?} is not in {:?}", self.seen);
            let mut ready = [rustix::event::PollFd::new(&self.keyboard, rustix::event::PollFlags::IN)];
            let tick = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            if rustix::event::poll(&mut ready, Some(&tick)).unwrap() > 0 {
                let mut buffer = [0; 4096];
                let count = self.keyboard.read(&mut buffer).unwrap_or(0);
                self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        }
    }

    fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    fn modes(&self) -> LocalModes {
        tcgetattr(&self.terminal).unwrap().local_modes
    }
}

fn resize(keyboard: impl AsFd, rows: u16, columns: u16) {
    tcsetwinsize(keyboard, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

#[test]
fn size_resize_raw_mode_and_restoration() {
    let script = "stty size; tty; read line; echo got $line; stty size; read line; exit 4";
    let mut typist = Typist::start(31, 97, script);
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
        Typist::start(24, 80, "trap 'echo interrupted; exit 6' INT; echo ready; while :; do sleep 0.1; done");
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
