//! Output of commands within bounds: its beginning and its end.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use monocore_orchestrator::session::{Input, Output, Streams};
use tokio::sync::watch;

/// What a stream wrote, as much of it as fits. What does not fit is counted and dropped, so that
/// the command never waits.
#[derive(Clone, Debug)]
pub(crate) struct Collected {
    kept: Arc<Mutex<Kept>>,
    /// Told how many bytes came so far.
    told: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    head_most: usize,
    tail_most: usize,
    total: u64,
}

impl Collected {
    pub(crate) fn new(most: usize, told: watch::Sender<u64>) -> Self {
        let kept = Kept { head_most: most.div_ceil(2), tail_most: most / 2, ..Kept::default() };
        Self { kept: Arc::new(Mutex::new(kept)), told }
    }

    /// The text, and how it was cut if it was.
    pub(crate) fn text(&self) -> Shown {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let total = kept.total;
        let shown = kept.head.len() + kept.tail.len();
        let left_out = total - shown as u64;
        if left_out == 0 {
            let mut bytes = std::mem::take(&mut kept.head);
            bytes.extend(std::mem::take(&mut kept.tail));
            return Shown { text: String::from_utf8_lossy(&bytes).into_owned(), total, left_out };
        }
        let head = String::from_utf8_lossy(&kept.head).into_owned();
        let tail = String::from_utf8_lossy(kept.tail.make_contiguous()).into_owned();
        let text = format!(
            "{}\n[… {left_out} bytes left out …]\n{}",
            head.trim_end_matches(char::REPLACEMENT_CHARACTER),
            tail.trim_start_matches(char::REPLACEMENT_CHARACTER)
        );
        Shown { text, total, left_out }
    }
}

impl Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.total += bytes.len() as u64;
        let room = kept.head_most.saturating_sub(kept.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(room);
        kept.head.extend_from_slice(head);
        let tail_most = kept.tail_most;
        kept.tail.extend(&rest[rest.len().saturating_sub(tail_most)..]);
        let over = kept.tail.len().saturating_sub(tail_most);
        kept.tail.drain(..over);
        self.told.send_modify(|total| *total += bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream's text as a result has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) text: String,
    /// Bytes that the stream wrote.
    pub(crate) total: u64,
    /// Bytes of them that the text lacks.
    pub(crate) left_out: u64,
}

/// Both streams of a command.
#[derive(Clone, Debug)]
pub(crate) struct Collectors {
    stdout: Collected,
    stderr: Collected,
}

impl Collectors {
    /// `most` bytes are kept of each stream; `told` is told how many bytes came.
    pub(crate) fn new(most: usize, told: &watch::Sender<u64>) -> Self {
        Self { stdout: Collected::new(most, told.clone()), stderr: Collected::new(most, told.clone()) }
    }

    /// The streams of a command with this input.
    pub(crate) fn streams(&self, stdin: Option<String>) -> Streams {
        let stdin = match stdin {
            None => Input::Empty,
            Some(text) => Input::Reader(Box::new(io::Cursor::new(text.into_bytes()))),
        };
        let output = |to: &Collected| Output::Writer(Box::new(to.clone()));
        Streams::Pipes { stdin, stdout: output(&self.stdout), stderr: output(&self.stderr) }
    }

    /// A result: `first`, the streams, and how to get what was left out.
    pub(crate) fn report(&self, first: &str, rest: &str) -> String {
        let mut text = first.to_owned();
        let streams = [("stdout", self.stdout.text()), ("stderr", self.stderr.text())];
        for (name, shown) in &streams {
            if shown.total > 0 {
                // Writing into a string cannot fail.
                let _ = write!(text, "\n--- {name}\n{}", shown.text.trim_end_matches('\n'));
            }
        }
        let cut: Vec<_> = streams
            .iter()
            .filter(|(_, shown)| shown.left_out > 0)
            .map(|(name, shown)| format!("{} of {} bytes of {name}", shown.left_out, shown.total))
            .collect();
        if !cut.is_empty() {
            let _ = write!(text, "\n--- cut\n{} are left out. {rest}", cut.join(" and "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(most: usize, parts: &[&[u8]]) -> Shown {
        let mut all = Collected::new(most, watch::channel(0).0);
        parts.iter().for_each(|part| all.write_all(part).unwrap());
        all.text()
    }

    #[test]
    fn beginning_and_end_are_kept() {
        let whole = |text: &str| Shown { text: text.to_owned(), total: text.len() as u64, left_out: 0 };
        assert_eq!(collected(4, &[b"ab", b"cd"]), whole("abcd"));
        assert_eq!(collected(4, &[b"abcd"]), whole("abcd"));
        let cut = collected(4, &[b"abc", b"defg", b"h"]);
        assert_eq!(cut, Shown { text: "ab\n[… 4 bytes left out …]\ngh".into(), total: 8, left_out: 4 });
        let characters = collected(4, &["aéééb".as_bytes()]);
        assert_eq!(characters.text, "a\n[… 4 bytes left out …]\nb", "half a character is not shown");
        assert_eq!(collected(1, &[b"xyz"]).text, "x\n[… 2 bytes left out …]\n");
    }

    #[test]
    fn a_long_stream_costs_its_bound() {
        let mut all = Collected::new(1000, watch::channel(0).0);
        for _ in 0..1000 {
            all.write_all(&[b'x'; 10_000]).unwrap();
        }
        let kept = all.kept.lock().unwrap();
        assert_eq!((kept.head.len(), kept.tail.len(), kept.total), (500, 500, 10_000_000));
        assert!(kept.tail.capacity() < 30_000);
    }

    #[test]
    fn a_report_says_what_is_missing() {
        let told = watch::channel(0);
        let mut both = Collectors::new(4, &told.0);
        both.stdout.write_all(b"hello world\n").unwrap();
        both.stderr.write_all(b"err\n").unwrap();
        let report = both.report("exit code 0", "Write it to a file.");
        assert_eq!(
            report,
            "exit code 0\n--- stdout\nhe\n[… 8 bytes left out …]\nd\n--- stderr\nerr\n--- cut\n8 of 12 bytes of stdout \
             are left out. Write it to a file."
        );
        assert_eq!(*told.1.borrow(), 16);
        assert_eq!(Collectors::new(4, &told.0).report("exit code 0", ""), "exit code 0");
    }
}
