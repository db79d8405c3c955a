//! `monocore` on a pseudo-terminal of a test's.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::world::{World, binary};

const SOON: Duration = Duration::from_secs(60);

/// A program at a terminal, and who types there.
pub struct Typist {
    /// The program.
    pub child: Child,
    /// The other side of its terminal.
    pub keyboard: File,
    terminal: OwnedFd,
    /// What the terminal has shown.
    pub seen: String,
}

impl Typist {
    /// Starts `monocore` with these words at a terminal of this size.
    ///
    /// # Panics
    /// The system gives no terminal.
    pub fn start(rows: u16, columns: u16, words: &[&str]) -> Self {
        Self::start_in(World::get(), rows, columns, words)
    }

    /// The same in another world.
    ///
    /// # Panics
    /// The system gives no terminal.
    pub fn start_in(world: &World, rows: u16, columns: u16, words: &[&str]) -> Self {
        let keyboard =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&keyboard).expect("a terminal");
        unlockpt(&keyboard).expect("a terminal");
        let name = ptsname(&keyboard, Vec::new()).expect("a terminal");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(name, flags, Mode::empty()).expect("a terminal");
        resize(&keyboard, rows, columns);
        let stream = || terminal.try_clone().expect("a descriptor");
        // In a session of its own whose controlling terminal this is, so that a resize is signalled to it.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(binary())
            .args(words)
            .env("MONOCORE_HOME", world.home())
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .expect("setsid");
        Self { child, keyboard: keyboard.into(), terminal, seen: String::new() }
    }

    /// Waits until the terminal has shown `text`.
    ///
    /// # Panics
    /// It does not within a minute.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + SOON;
        while !self.seen.contains(text) {
            assert!(Instant::now() < deadline, "{text:?} is not in {:?}", self.seen);
            let mut ready = [rustix::event::PollFd::new(&self.keyboard, rustix::event::PollFlags::IN)];
            let tick = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            if rustix::event::poll(&mut ready, Some(&tick)).expect("poll") > 0 {
                let mut buffer = [0; 4096];
                let count = self.keyboard.read(&mut buffer).unwrap_or(0);
                self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        }
    }

    /// Types.
    ///
    /// # Panics
    /// The terminal is gone.
    pub fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("a terminal");
    }

    /// The terminal's modes.
    ///
    /// # Panics
    /// The terminal is gone.
    pub fn modes(&self) -> LocalModes {
        tcgetattr(&self.terminal).expect("a terminal").local_modes
    }

    /// Waits for the program's end; its exit code.
    ///
    /// # Panics
    /// A signal ended it.
    pub fn end(&mut self) -> i32 {
        self.child.wait().expect("a child").code().expect("an exit code")
    }
}

/// Gives a terminal another size.
///
/// # Panics
/// The terminal is gone.
pub fn resize(keyboard: impl AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(keyboard, size).expect("a terminal");
}
