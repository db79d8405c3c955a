//! Receipts: one line of JSON for each decision, in the order they were made.
//!
//! `{"time_ms":…,"decision":"allow","direction":"out","protocol":"tcp","address":"1.1.1.1","port":443,"names":["one.one"],
//! "reason":"rule 3"}`

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use monocore_spec::Direction;
use serde::Serialize;

use crate::policy::{Decision, Reason};

/// More lines than this within [`WINDOW`] are only counted: a guest must not fill the disk.
const MAX_LINES: u64 = 2000;
/// The most names in a line, so that a line fits what a pipe takes at once (`PIPE_BUF`).
const MAX_NAMES: usize = 6;
const WINDOW: Duration = Duration::from_secs(1);

/// A decision, as it is written down.
#[derive(Debug, Serialize)]
pub struct Receipt<'a> {
    /// When, milliseconds since 1970.
    time_ms: u64,
    decision: &'static str,
    direction: &'static str,
    /// `tcp`, `udp`, `icmp`, or `dns` for a question about a name.
    protocol: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// Those the address has, at most [`MAX_NAMES`]; under the reason `sni` the one that was asked for, or none where the hello
    /// cannot be read.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    names: &'a [String],
    /// How many names more it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    more_names: Option<usize>,
    reason: String,
}

/// What was decided about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Which way.
    pub direction: Direction,
    /// `tcp`, `udp`, `icmp` or `dns`.
    pub protocol: &'a str,
    /// The address outside the guest, and the port that is connected to.
    pub peer: Option<(IpAddr, u16)>,
    /// The names it goes by.
    pub names: &'a [String],
}

/// Where receipts go.
#[derive(Debug)]
pub struct Receipts {
    sink: Option<File>,
    max_bytes: Option<u64>,
    /// Since the file was begun.
    written_bytes: u64,
    window: Instant,
    lines: u64,
}

impl Receipts {
    /// Receipts that are appended to `sink`, or to nothing.
    pub fn new(sink: Option<File>) -> Self {
        Self { sink, max_bytes: None, written_bytes: 0, window: Instant::now(), lines: 0 }
    }

    /// The same, whose file is emptied before it gets longer than `max_bytes`, what it holds already included. It must be open for
    /// appending. A FIFO or a device has no length.
    #[must_use]
    pub fn at_most(self, max_bytes: Option<u64>) -> Self {
        let metadata = self.sink.as_ref().and_then(|sink| sink.metadata().ok());
        let file = metadata.filter(std::fs::Metadata::is_file);
        let written_bytes = file.as_ref().map_or(0, std::fs::Metadata::len);
        Self { max_bytes: max_bytes.filter(|_| file.is_some()), written_bytes, ..self }
    }

    /// Writes down that `decision` was made about `subject`.
    pub fn write(&mut self, subject: Subject<'_>, decision: Decision) {
        if self.sink.is_none() || !self.has_room() {
            return;
        }
        let receipt = Receipt {
            time_ms: now_ms(),
            decision: if decision.allowed { "allow" } else { "deny" },
            direction: if subject.direction == Direction::Out { "out" } else { "in" },
            protocol: subject.protocol,
            address: subject.peer.map(|(address, _)| address),
            port: subject.peer.map(|(_, port)| port),
            names: subject.names.get(..MAX_NAMES).unwrap_or(subject.names),
            more_names: subject.names.len().checked_sub(MAX_NAMES).filter(|more| *more > 0),
            reason: reason(decision.reason),
        };
        self.line(&receipt);
    }

    fn has_room(&mut self) -> bool {
        if self.window.elapsed() >= WINDOW {
            let skipped = self.lines.saturating_sub(MAX_LINES);
            self.window = Instant::now();
            self.lines = 0;
            if skipped > 0 {
                self.line(&serde_json::json!({ "time_ms": now_ms(), "skipped": skipped }));
            }
        }
        self.lines += 1;
        self.lines <= MAX_LINES
    }

    /// A sink that takes no more is left alone: the guest's connections do not hang on it.
    fn line(&mut self, value: &impl Serialize) {
        let (Some(sink), Ok(mut line)) = (&mut self.sink, serde_json::to_vec(value)) else { return };
        line.push(b'\n');
        self.written_bytes += line.len() as u64;
        let full = self.max_bytes.is_some_and(|max| self.written_bytes > max);
        let begun = if full { sink.set_len(0) } else { Ok(()) };
        if full {
            self.written_bytes = line.len() as u64;
        }
        if let Err(error) = begun.and_then(|()| sink.write_all(&line)) {
            if error.kind() == ErrorKind::WouldBlock {
                // A FIFO that nobody empties: the line is lost, and the network does not wait.
                return;
            }
            tracing::warn!(device = "net", %error, "no more receipts");
            self.sink = None;
        }
    }
}

fn reason(reason: Reason) -> String {
    match reason {
        Reason::Rule(number) => format!("rule {}", number + 1),
        Reason::Reach => "reach".into(),
        Reason::Guarded(class) => format!("{} address", class.name()),
        Reason::Published => "published".into(),
        Reason::Group => "group".into(),
        Reason::Limit => "too many connections".into(),
        Reason::Sni => "sni".into(),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    fn subject(names: &[String]) -> Subject<'_> {
        let peer = Some((IpAddr::from([1, 2, 3, 4]), 443));
        Subject { direction: Direction::Out, protocol: "tcp", peer, names }
    }

    #[test]
    fn a_decision_is_a_line() {
        let mut file = tempfile::tempfile().unwrap();
        let mut receipts = Receipts::new(Some(file.try_clone().unwrap()));
        receipts.write(subject(&["a.b".into()]), Decision { allowed: true, reason: Reason::Rule(0) });
        receipts.write(subject(&[]), Decision { allowed: false, reason: Reason::Reach });
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[0]["decision"], &lines[0]["names"][0], &lines[0]["reason"]),
            (&"allow".into(), &"a.b".into(), &"rule 1".into())
        );
        assert_eq!(
            (&lines[1]["decision"], &lines[1]["address"], &lines[1]["port"]),
            (&"deny".into(), &"1.2.3.4".into(), &443.into())
        );
    }

    #[test]
    fn a_file_with_a_limit_is_begun_anew() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let sink = std::fs::OpenOptions::new().append(true).open(file.path()).unwrap();
        let mut receipts = Receipts::new(Some(sink)).at_most(Some(1000));
        let mut longest = 0;
        for number in 0..100 {
            receipts.write(subject(&[]), Decision { allowed: true, reason: Reason::Rule(number) });
            let text = std::fs::read_to_string(file.path()).unwrap();
            assert!(text.ends_with(&format!("\"rule {}\"}}\n", number + 1)), "{text}");
            longest = longest.max(text.len());
        }
        assert!((500..=1000).contains(&longest), "{longest}");
    }

    #[test]
    fn what_a_file_holds_counts_and_a_fifo_has_no_length() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [b'x'; 990]).unwrap();
        let sink = std::fs::OpenOptions::new().append(true).open(file.path()).unwrap();
        let decision = Decision { allowed: true, reason: Reason::Reach };
        Receipts::new(Some(sink)).at_most(Some(1000)).write(subject(&[]), decision);
        assert!(std::fs::read_to_string(file.path()).unwrap().starts_with('{'), "it was emptied");

        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let mut receipts = Receipts::new(Some(writer.into())).at_most(Some(1));
        let names: Vec<String> = (0..64).map(|n| format!("{n:\">250}")).collect();
        for _ in 0..100 {
            receipts.write(subject(&names), decision);
        }
        assert!(receipts.sink.is_some(), "a full FIFO loses lines and nothing else");
        let mut text = vec![0; 200_000];
        let count = rustix::io::read(&reader, &mut text).unwrap();
        let text = std::str::from_utf8(&text[..count]).unwrap();
        assert!(text.ends_with('\n') && text.lines().count() > 10);
        for line in text.lines() {
            assert!(line.len() < 4096);
            assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap()["more_names"], 58);
        }
    }

    #[test]
    fn a_flood_of_decisions_is_counted_not_written() {
        let mut file = tempfile::tempfile().unwrap();
        let mut receipts = Receipts::new(Some(file.try_clone().unwrap()));
        for _ in 0..MAX_LINES + 500 {
            receipts.write(subject(&[]), Decision { allowed: false, reason: Reason::Reach });
        }
        receipts.window = Instant::now().checked_sub(WINDOW).unwrap();
        receipts.write(subject(&[]), Decision { allowed: false, reason: Reason::Reach });
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert!(text.lines().count() as u64 <= MAX_LINES * 2 + 2);
        assert!(text.contains("\"skipped\":"));
    }
}
