//! Signals to this process while it waits for a command, and what becomes of them.

use std::os::fd::{AsFd, OwnedFd};
use std::thread::{JoinHandle, spawn};

use monocore_protocol::TermSize;
use rustix::pty::{OpenptFlags, openpt};
use rustix::termios::{Winsize, tcsetwinsize};
use rustix::thread::{Pid, gettid};

use super::super::sys::send;
use super::*;

const SIGINT: u8 = 2;
const SIGUSR1: u8 = 10;
const SIGTERM: u8 = 15;
const SIGWINCH: u8 = 28;

/// Waits for a command on this thread, whose signals `play` sends; it plays the agent as well.
fn wait_while(
    terminal: Option<&OwnedFd>,
    limit: Option<Duration>,
    play: impl FnOnce(&mut Control, ExecId, Pid) + Send + 'static,
) -> Outcome {
    let signals = Signals::block().unwrap();
    let (agent, session) = Agent::new();
    let process = session.exec(Exec::new(ExecId(0), ["x"]), quiet()).unwrap();
    let waiting = gettid();
    // The agent stays until the wait is over: a session that breaks off ends it, too.
    let played: JoinHandle<Control> = spawn(move || {
        let mut control = agent.control();
        let id = control.exec().id;
        let streams = [Stream::Stdout, Stream::Stderr].map(|stream| agent.stream(id, stream));
        control.say(&Event::Started { exec: id, pid: 7 });
        drop(streams);
        play(&mut control, id, waiting);
        control
    });
    let terminal = terminal.map(|fd| Terminal::new(fd.as_fd()));
    let outcome =
        run_to_end(&process, &signals, terminal, limit.map(|limit| Instant::now() + limit)).unwrap();
    drop(played.join().unwrap());
    outcome
}

/// The signals that are blocked for the calling thread.
fn blocked() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    status.lines().find(|line| line.starts_with("SigBlk:")).unwrap().to_owned()
}

#[test]
fn signals_reach_the_command_and_a_new_size_its_terminal() {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    let size = Winsize { ws_row: 11, ws_col: 33, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, size).unwrap();
    let outcome = wait_while(Some(&terminal), None, |control, id, waiting| {
        for signal in [SIGUSR1, SIGINT] {
            send(waiting, signal);
            assert_eq!(control.request(), Request::Signal { exec: id, signal });
        }
        send(waiting, SIGWINCH);
        let size = TermSize { rows: 11, columns: 33 };
        assert_eq!(control.request(), Request::Resize { exec: id, size });
        control.say(&Event::Exited { exec: id, status: ExitStatus::Code(5) });
    });
    assert_eq!(outcome, Outcome::Exited(ExitStatus::Code(5)));
}

#[test]
fn who_asks_twice_does_not_wait_any_longer() {
    let outcome = wait_while(None, None, |control, id, waiting| {
        send(waiting, SIGINT);
        assert_eq!(control.request(), Request::Signal { exec: id, signal: SIGINT });
        send(waiting, SIGTERM);
    });
    assert_eq!(outcome, Outcome::Insisted(SIGTERM));
}

#[test]
fn every_signal_reaches_a_command_without_a_terminal() {
    let (own, c_librarys) = ([9, 13, 17, 19, 23], [32, 33]);
    let outcome = wait_while(None, None, move |control, id, waiting| {
        for signal in (1..=64).filter(|signal| ![&own[..], &c_librarys].concat().contains(signal)) {
            if signal != SIGTERM {
                send(waiting, signal);
                assert_eq!(control.request(), Request::Signal { exec: id, signal });
            }
        }
        control.say(&Event::Exited { exec: id, status: ExitStatus::Code(5) });
    });
    assert_eq!(outcome, Outcome::Exited(ExitStatus::Code(5)));
}

#[test]
fn a_deadline_ends_the_wait() {
    let limit = Some(Duration::from_millis(200));
    assert_eq!(wait_while(None, limit, |_, _, _| ()), Outcome::TimedOut);
}

#[test]
fn signals_are_given_back() {
    let before = blocked();
    let signals = Signals::block().unwrap();
    assert_ne!(blocked(), before);
    assert_eq!(signals.take(), None);
    send(gettid(), SIGUSR1);
    assert_eq!(signals.take(), Some(SIGUSR1));
    drop(signals);
    assert_eq!(blocked(), before);
}
