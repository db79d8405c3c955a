//! The agent as a process of this host, with a real session on the other side of a Unix socket.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "agent/sockets.rs"]
mod sockets;

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use monocore_orchestrator::session::{
    Input, Listener, Output, Process, Session, SessionError, Streams, Waited,
};
use monocore_protocol::{
    ByteString, Configure, Exec, ExecId, ExitStatus, FileKind, Mount, MountSource, Purpose, Resource, Rlimit,
    Root, TermSize, Tmpfs,
};

const SOON: Duration = Duration::from_secs(20);

/// An agent and the session with it.
struct Guest {
    session: Session,
    agent: Child,
    dir: tempfile::TempDir,
}

impl Guest {
    fn new() -> Self {
        Self::with(|_, _| ())
    }

    /// A guest that `prepare` configures; it is given a folder of the guest's own.
    fn with(prepare: impl FnOnce(&mut Configure, &std::path::Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent");
        let listener = Listener::new(UnixListener::bind(&path).unwrap()).unwrap();
        let mut configure = Configure::new(Root::Current);
        configure.hostname = "box".to_owned();
        prepare(&mut configure, dir.path());
        let session = Session::start(listener, configure).unwrap();
        // Whoever started the tests may have had signals ignored, as `nohup` has; a guest's first process has not.
        let mut agent = Command::new("env");
        agent.args(["--default-signal", env!("CARGO_BIN_EXE_monocore-init"), "--socket"]).arg(&path);
        let agent = agent.spawn().unwrap();
        Self { session, agent, dir }
    }

    fn run(&self, exec: Exec) -> (Result<ExitStatus, SessionError>, Vec<u8>, Vec<u8>) {
        let (stdout, out) = tap();
        let (stderr, err) = tap();
        let process =
            self.session.exec(exec, Streams::Pipes { stdin: Input::Empty, stdout, stderr }).unwrap();
        let status = wait(&process);
        (status, out.try_iter().flatten().collect(), err.try_iter().flatten().collect())
    }

    fn shell(&self, script: &str) -> (ExitStatus, String, String) {
        let (status, out, err) = self.run(shell(script));
        (status.unwrap(), String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended with its session.
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

fn wait(process: &Process) -> Result<ExitStatus, SessionError> {
    match process.wait_until(Some(Instant::now() + SOON), None)? {
        Waited::Ended(status) => Ok(status),
        other => panic!("the command hangs: {other:?}"),
    }
}

fn exec(argv: &[&str]) -> Exec {
    Exec::new(ExecId(0), argv.iter().copied())
}

fn shell(script: &str) -> Exec {
    exec(&["sh", "-c", script])
}

struct Tap(mpsc::Sender<Vec<u8>>);

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Nobody may be interested any more.
        let _ = self.0.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn tap() -> (Output, mpsc::Receiver<Vec<u8>>) {
    let (sender, receiver) = mpsc::channel();
    (Output::Writer(Box::new(Tap(sender))), receiver)
}

#[test]
fn output_errors_and_status_arrive_apart() {
    let guest = Guest::new();
    let (status, out, err) = guest.shell("echo out; echo err >&2; exit 3");
    assert_eq!((status, out.as_str(), err.as_str()), (ExitStatus::Code(3), "out\n", "err\n"));
    let (status, _, _) = guest.shell("kill -TERM $$");
    assert_eq!(status.code(), 143);
}

#[test]
fn what_cannot_be_executed_says_so_with_the_shells_code() {
    let guest = Guest::new();
    let folder = guest.dir.path().to_str().unwrap().to_owned();
    let plain = format!("{folder}/plain");
    std::fs::write(&plain, "no program").unwrap();
    for (program, wanted, reason) in [
        ("nosuchprogram", 127, "executable file not found in $PATH"),
        ("/nosuch/program", 127, "no such file or directory"),
        (plain.as_str(), 126, "permission denied"),
        (folder.as_str(), 126, "is a directory"),
        ("", 127, "not found"),
    ] {
        match guest.run(exec(&[program])).0 {
            Err(SessionError::Exec { code, message }) => {
                assert_eq!(code, wanted, "{message}");
                assert!(message.contains(reason), "{message}");
            }
            other => panic!("{program}: {other:?}"),
        }
    }
    // An entry of PATH that is no program is passed over.
    let mut hidden = exec(&["plain"]);
    hidden.env = vec![ByteString::from(format!("PATH={folder}"))];
    assert!(matches!(guest.run(hidden).0, Err(SessionError::Exec { code: 127, .. })));
}

#[test]
fn environment_working_directory_user_and_limits_are_as_asked() {
    let guest = Guest::new();
    let folder = guest.dir.path().join("made/here");
    std::fs::set_permissions(guest.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut it = shell(
        "echo $A $HOSTNAME $HOME; pwd; id -u; id -g; id -G; ulimit -n; cat /proc/self/fd/0; echo >/dev/stdout",
    );
    it.env = vec!["A=1".into()];
    it.cwd = folder.clone().into();
    it.user = "1234:55".to_owned();
    it.rlimits = vec![Rlimit { resource: Resource::Nofile, soft: 99, hard: 100 }];
    let (status, out, err) = guest.run(it);
    assert_eq!(status.unwrap(), ExitStatus::Code(0), "{}", String::from_utf8_lossy(&err));
    let wanted = format!("1 box /\n{}\n1234\n55\n55\n99\n\n", folder.display());
    assert_eq!(String::from_utf8(out).unwrap(), wanted);
    let mut nobody = shell("true");
    nobody.user = "nosuchuser".to_owned();
    assert!(matches!(guest.run(nobody).0, Err(SessionError::Exec { code: 125, .. })));
}

#[test]
fn signals_are_as_a_program_expects_them() {
    let guest = Guest::new();
    let (_, out, _) = guest.shell("sed -nE 's/^Sig(Blk|Ign):\\t//p' /proc/self/status");
    for mask in out.lines() {
        // Signals 32 and up are the C library's, and whoever runs this test may have ignored them.
        assert_eq!(u64::from_str_radix(mask, 16).unwrap() & 0x7fff_ffff, 0);
    }
    assert_eq!(out.lines().count(), 2);
    let (stdout, seen) = tap();
    let streams = Streams::Pipes { stdin: Input::Empty, stdout, stderr: Output::Discard };
    let process = guest
        .session
        .exec(shell("trap 'echo caught; exit 9' USR1; echo ready; while :; do sleep 0.05; done"), streams)
        .unwrap();
    assert_eq!(seen.recv_timeout(SOON).unwrap(), b"ready\n");
    process.signal(10).unwrap();
    assert_eq!(wait(&process).unwrap(), ExitStatus::Code(9));
    assert_eq!(seen.try_iter().flatten().collect::<Vec<_>>(), b"caught\n");
}

#[test]
fn many_megabytes_pass_both_ways_unchanged() {
    let guest = Guest::new();
    let data: Vec<u8> = (0..8u32 << 20).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let (input, mut feed) = std::io::pipe().unwrap();
    let (mut drain, output) = std::io::pipe().unwrap();
    let streams = Streams::Pipes {
        stdin: Input::Fd(input.into()),
        stdout: Output::Fd(output.into()),
        stderr: Output::Discard,
    };
    let process = guest.session.exec(exec(&["cat"]), streams).unwrap();
    let sent = data.clone();
    let feeder = std::thread::spawn(move || feed.write_all(&sent).unwrap());
    let mut seen = Vec::new();
    drain.read_to_end(&mut seen).unwrap();
    feeder.join().unwrap();
    assert_eq!(wait(&process).unwrap(), ExitStatus::Code(0));
    assert!(seen == data, "{} bytes came back", seen.len());
}

#[test]
fn a_slow_reader_holds_the_command_back_and_loses_nothing() {
    let guest = Guest::new();
    let (mut drain, output) = std::io::pipe().unwrap();
    let streams =
        Streams::Pipes { stdin: Input::Empty, stdout: Output::Fd(output.into()), stderr: Output::Discard };
    let process = guest.session.exec(exec(&["seq", "1", "300000"]), streams).unwrap();
    let early = process.wait_until(Some(Instant::now() + Duration::from_millis(300)), None).unwrap();
    assert_eq!(early, Waited::TimedOut);
    let mut text = String::new();
    drain.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 300_000);
    assert_eq!(wait(&process).unwrap(), ExitStatus::Code(0));
}

#[test]
fn a_reader_that_goes_away_breaks_the_commands_pipe() {
    let guest = Guest::new();
    let (drain, output) = std::io::pipe().unwrap();
    let streams =
        Streams::Pipes { stdin: Input::Empty, stdout: Output::Fd(output.into()), stderr: Output::Discard };
    let process = guest.session.exec(exec(&["yes"]), streams).unwrap();
    drop(drain);
    assert_eq!(wait(&process).unwrap(), ExitStatus::Signal(13));
}

#[test]
fn a_terminal_has_a_size_that_follows_and_takes_what_is_typed() {
    let guest = Guest::new();
    let (input, mut keyboard) = std::io::pipe().unwrap();
    let (output, screen) = tap();
    let size = TermSize { rows: 11, columns: 33 };
    let script =
        "stty size; tty | grep -q pts && echo tty; echo $TERM; read a; stty size; echo got $a; cat; exit 4";
    let streams = Streams::Terminal { size, input: Input::Fd(input.into()), output };
    let process = guest.session.exec(shell(script), streams).unwrap();
    let mut seen = String::new();
    while !seen.contains("xterm") {
        seen.push_str(&String::from_utf8(screen.recv_timeout(SOON).unwrap()).unwrap());
    }
    process.resize(TermSize { rows: 22, columns: 44 }).unwrap();
    keyboard.write_all(b"line\n").unwrap();
    // The end of what is typed is an end of file at the terminal.
    drop(keyboard);
    assert_eq!(wait(&process).unwrap(), ExitStatus::Code(4));
    seen.extend(screen.try_iter().map(|bytes| String::from_utf8(bytes).unwrap()));
    for part in ["11 33\r\n", "tty\r\nxterm\r\n", "22 44\r\n", "got line\r\n"] {
        assert!(seen.contains(part), "{part:?} is not in {seen:?}");
    }
}

#[test]
fn the_terminals_interrupt_key_reaches_the_command() {
    let guest = Guest::new();
    let (input, mut keyboard) = std::io::pipe().unwrap();
    let (output, screen) = tap();
    let size = TermSize { rows: 24, columns: 80 };
    let streams = Streams::Terminal { size, input: Input::Fd(input.into()), output };
    let process = guest.session.exec(shell("echo ready; exec sleep 60"), streams).unwrap();
    assert_eq!(screen.recv_timeout(SOON).unwrap(), b"ready\r\n");
    keyboard.write_all(&[3]).unwrap();
    assert_eq!(wait(&process).unwrap(), ExitStatus::Signal(2));
}

#[test]
fn an_orphan_that_holds_the_output_delays_the_end_only_so_long() {
    let guest = Guest::new();
    let mut it = shell("sleep 30 & echo done");
    it.purpose = Purpose::Extra;
    let began = Instant::now();
    let (status, out, _) = guest.run(it);
    assert_eq!((status.unwrap(), out.as_slice()), (ExitStatus::Code(0), &b"done\n"[..]));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn several_commands_run_side_by_side() {
    let guest = Guest::new();
    let (input, mut feed) = std::io::pipe().unwrap();
    let streams = |stdin, stdout| Streams::Pipes { stdin, stdout, stderr: Output::Discard };
    let (stdout, seen) = tap();
    let first = guest.session.exec(exec(&["cat"]), streams(Input::Fd(input.into()), stdout)).unwrap();
    let mut second = shell("echo second");
    second.purpose = Purpose::Extra;
    assert_eq!(guest.run(second).1, b"second\n");
    feed.write_all(b"still here").unwrap();
    assert_eq!(seen.recv_timeout(SOON).unwrap(), b"still here");
    first.close_stdin().unwrap();
    assert_eq!(wait(&first).unwrap(), ExitStatus::Code(0));
}

#[test]
fn files_can_be_written_read_and_looked_at() {
    let guest = Guest::new();
    let path = guest.dir.path().join("file");
    let data = vec![7; 3 << 20];
    let input = Input::Reader(Box::new(std::io::Cursor::new(data.clone())));
    guest.session.write_file(path.clone(), 0o600, input, SOON).unwrap();
    let stat = guest.session.stat_file(path.clone(), SOON).unwrap();
    assert_eq!((stat.kind, stat.mode, stat.size_bytes), (FileKind::Regular, 0o600, 3 << 20));
    let (output, seen) = tap();
    guest.session.read_file(path, output, SOON).unwrap();
    assert!(seen.try_iter().flatten().collect::<Vec<_>>() == data);
    let missing = guest.session.read_file("/nosuch", Output::Discard, SOON);
    assert!(matches!(missing, Err(SessionError::Refused(_))), "{missing:?}");
}

#[test]
fn questions_are_answered_and_impossible_ones_refused() {
    let guest = Guest::new();
    guest.session.ping(SOON).unwrap();
    assert!(guest.session.stats(SOON).unwrap().memory_total_bytes > 0);
    guest.session.sync(SOON).unwrap();
    let mount = Mount {
        source: MountSource::Share { name: "..".into(), populate: false },
        target: "/mnt".into(),
        read_only: false,
    };
    assert!(matches!(guest.session.add_mount(mount, SOON), Err(SessionError::Refused(_))));
    let relative =
        Mount { source: MountSource::Tmpfs(Tmpfs::default()), target: "mnt".into(), read_only: false };
    assert!(matches!(guest.session.add_mount(relative, SOON), Err(SessionError::Refused(_))));
}

#[test]
fn an_agent_that_is_killed_ends_the_wait() {
    let mut guest = Guest::new();
    let (stdout, seen) = tap();
    let streams = Streams::Pipes { stdin: Input::Empty, stdout, stderr: Output::Discard };
    let process = guest.session.exec(shell("echo ready; exec sleep 5"), streams).unwrap();
    assert_eq!(seen.recv_timeout(SOON).unwrap(), b"ready\n");
    guest.agent.kill().unwrap();
    assert!(matches!(wait(&process), Err(SessionError::Lost)));
}
