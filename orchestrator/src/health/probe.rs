//! One health check under way. It holds no thread: the supervisor's loop reads what it says.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use monocore_protocol::{Exec, ExitStatus, Purpose, Stdin, Stdio, Stream};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::report::MAX_OUTPUT;
use crate::session::{Process, Remote, Session, SessionError, Streams};
use crate::spec::HealthTest;

/// How long output is awaited after a check's command has ended.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);
/// A command's standard output and standard error.
const OUTPUTS: usize = 2;
/// The exit code of a check that could not be made, and of a failed connection or request.
const FAILED: i32 = 1;

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// 0 is success.
    pub(super) code: i32,
    /// The beginning of the output.
    pub(super) output: String,
}

/// One check under way.
#[derive(Debug)]
pub(super) struct Probe {
    kind: Kind,
    inbox: Option<Arc<Inbox>>,
    /// Connections into the guest whose end has not been read.
    streams: Vec<OwnedFd>,
    /// How many connections have arrived.
    arrived: usize,
    output: Vec<u8>,
    /// Why it could not begin.
    problem: Option<String>,
}

#[derive(Debug)]
enum Kind {
    /// A command; how it ended, and until when its output is awaited.
    Command {
        process: Option<Process>,
        ended: Option<(i32, Instant)>,
    },
    /// A request, until its connection is there.
    Http {
        request: String,
    },
    Tcp,
}

/// What the session's thread says.
#[derive(Debug)]
struct Inbox {
    said: Mutex<Said>,
    wake: OwnedFd,
}

#[derive(Debug, Default)]
struct Said {
    streams: Vec<OwnedFd>,
    ended: Option<Result<i32, (i32, String)>>,
}

impl Probe {
    /// Begins a check. A check that cannot begin has failed.
    pub(super) fn start(test: &HealthTest, session: &Session, main: &Exec) -> Self {
        let kind = match test {
            HealthTest::Http { port, path } => Kind::Http { request: request(*port, path) },
            HealthTest::Tcp { .. } => Kind::Tcp,
            _ => Kind::Command { process: None, ended: None },
        };
        let mut probe =
            Self { kind, inbox: None, streams: Vec::new(), arrived: 0, output: Vec::new(), problem: None };
        if let Err(error) = probe.begin(test, session, main) {
            probe.problem = Some(error.to_string());
        }
        probe
    }

    fn begin(&mut self, test: &HealthTest, session: &Session, main: &Exec) -> Result<(), SessionError> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| SessionError::io("making an event", error))?;
        let inbox = Arc::new(Inbox { said: Mutex::default(), wake });
        self.inbox = Some(Arc::clone(&inbox));
        let argv = match test {
            HealthTest::Http { port, .. } | HealthTest::Tcp { port } => {
                return session.connect_port(*port, inbox);
            }
            HealthTest::Command(words) => words.clone(),
            HealthTest::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
            HealthTest::None => Vec::new(),
        };
        let mut exec = main.clone();
        exec.purpose = Purpose::Extra;
        exec.argv = argv.into_iter().map(Into::into).collect();
        let streams = Streams::Remote { stdio: Stdio::Pipes { stdin: Stdin::Empty }, peer: inbox };
        let started = session.exec(exec, streams)?;
        if let Kind::Command { process, .. } = &mut self.kind {
            *process = Some(started);
        }
        Ok(())
    }

    /// What wakes this check.
    pub(super) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let wake = self.inbox.as_ref().map(|inbox| inbox.wake.as_fd());
        wake.into_iter().chain(self.streams.iter().map(AsFd::as_fd)).collect()
    }

    /// When [`Self::advance`] must be called though nothing happens.
    pub(super) fn next_time(&self) -> Option<Instant> {
        match &self.kind {
            _ if self.problem.is_some() => Some(Instant::now()),
            Kind::Command { ended: Some((_, until)), .. } => Some(*until),
            _ => None,
        }
    }

    /// Reads what there is; the verdict, if there is one.
    pub(super) fn advance(&mut self, now: Instant) -> Option<Verdict> {
        if let Some(problem) = self.problem.take() {
            return Some(Verdict { code: FAILED, output: problem });
        }
        let said = self.inbox.as_ref().map(|inbox| inbox.take()).unwrap_or_default();
        let arrived = !said.streams.is_empty();
        self.arrived += said.streams.len();
        self.streams.extend(said.streams);
        if let Some(Err((code, message))) = said.ended {
            return Some(Verdict { code, output: message });
        }
        match &mut self.kind {
            Kind::Tcp => return arrived.then(|| Verdict { code: 0, output: String::new() }),
            Kind::Http { request } if arrived => {
                let sent = self.streams.first().map(|stream| {
                    send(stream, request.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
                });
                if !matches!(sent, Some(Ok(count)) if count == request.len()) {
                    let output = "the request could not be sent".to_owned();
                    return Some(Verdict { code: FAILED, output });
                }
            }
            Kind::Http { .. } => {}
            Kind::Command { ended, .. } => {
                if let Some(Ok(code)) = said.ended {
                    ended.get_or_insert((code, now + OUTPUT_GRACE));
                }
            }
        }
        let output = &mut self.output;
        self.streams.retain(|stream| read(stream, output));
        match &self.kind {
            Kind::Http { .. } => status(&self.output, self.arrived > 0 && self.streams.is_empty()),
            Kind::Command { ended: Some((code, until)), .. } => {
                let complete = self.arrived >= OUTPUTS && self.streams.is_empty();
                (complete || now >= *until).then(|| Verdict { code: *code, output: text(&self.output) })
            }
            _ => None,
        }
    }

    /// Ends a check that took too long.
    pub(super) fn abandon(&self) {
        if let Kind::Command { process: Some(process), .. } = &self.kind {
            // The session may have ended.
            let _ = process.kill_group();
        }
    }
}

impl Inbox {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Said {
        // A counter that is zero says that nothing came.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        std::mem::take(&mut self.said())
    }

    fn wake(&self) {
        // The only possible failure is a full counter, which is raised.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

impl Remote for Inbox {
    fn stream(&self, _: Stream, connection: OwnedFd) {
        self.said().streams.push(connection);
        self.wake();
    }

    fn started(&self, _: u32) {}

    fn ended(&self, result: &Result<ExitStatus, SessionError>) {
        self.said().ended = Some(match result {
            Ok(status) => Ok(i32::from(status.code())),
            Err(SessionError::Exec { code, message }) => Err((i32::from(*code), message.clone())),
            Err(error) => Err((FAILED, error.to_string())),
        });
        self.wake();
    }
}

/// Reads what has arrived; false once the stream has ended. Output beyond the limit is dropped.
fn read(stream: &OwnedFd, output: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    // One read a turn: a guest that writes without end does not keep the loop to itself.
    match recv(stream, &mut buffer, RecvFlags::DONTWAIT) {
        Ok((0, _)) => false,
        Ok((count, _)) => {
            // One byte more than is kept tells that there was more.
            let room = (MAX_OUTPUT + 1).saturating_sub(output.len());
            output.extend_from_slice(&buffer[..count.min(room)]);
            true
        }
        Err(Errno::AGAIN | Errno::INTR) => true,
        Err(_) => false,
    }
}

fn text(output: &[u8]) -> String {
    let kept = &output[..output.len().min(MAX_OUTPUT)];
    let more = if output.len() > MAX_OUTPUT { "..." } else { "" };
    format!("{}{more}", String::from_utf8_lossy(kept))
}

fn request(port: u16, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: monocore\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
}

/// The verdict of an HTTP answer's first line (RFC 9112, section 4), once it is there or cannot come.
fn status(answer: &[u8], ended: bool) -> Option<Verdict> {
    let line = match answer.iter().position(|byte| *byte == b'\n') {
        Some(end) => &answer[..end],
        None if ended || answer.len() > MAX_OUTPUT => answer,
        None => return None,
    };
    let line = text(line).trim_end().to_owned();
    let code = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    let code = code.and_then(|code| code.parse::<u16>().ok());
    Some(match code {
        Some(200..400) => Verdict { code: 0, output: line },
        Some(_) => Verdict { code: FAILED, output: line },
        None => Verdict { code: FAILED, output: "the answer is not HTTP".to_owned() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answers_first_line_decides() {
        assert_eq!(status(b"HTTP/1.1 200", false), None);
        for (answer, code) in [
            (&b"HTTP/1.1 200 OK\r\n"[..], 0),
            (b"HTTP/1.0 302 Found\r\nLocation: /\r\n", 0),
            (b"HTTP/1.1 404 Not Found\r\n", FAILED),
            (b"HTTP/1.1 500\n", FAILED),
            (b"SSH-2.0-x\r\n", FAILED),
            (b"HTTP/1.1 abc\r\n", FAILED),
            (b"\n", FAILED),
        ] {
            assert_eq!(status(answer, false).unwrap().code, code, "{answer:?}");
        }
        assert_eq!(status(b"", true).unwrap().code, FAILED);
        assert_eq!(status(&vec![b'x'; MAX_OUTPUT + 1], false).unwrap().code, FAILED);
    }

    #[test]
    fn output_is_cut_short_and_made_text() {
        assert_eq!(text(b"fine\n"), "fine\n");
        let long = text(&vec![b'a'; MAX_OUTPUT + 1]);
        assert!(long.len() == MAX_OUTPUT + 3 && long.ends_with("a..."));
        assert_eq!(text(b"\xff"), "\u{fffd}");
    }
}
