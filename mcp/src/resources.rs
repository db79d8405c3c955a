//! Resources: the output of sandboxes.

use std::collections::VecDeque;
use std::time::SystemTime;

use monocore_orchestrator::{Error, LogEntry, LogReader, LogSelection, LogStream, SandboxEntry, SelectedLog};
use rmcp::model::Resource;

use crate::context::Context;
use crate::error::ToolError;
use crate::work::Interrupt;

/// A resource's address: this, the sandbox's ID, and [`SUFFIX`].
const PREFIX: &str = "monocore://sandboxes/";
const SUFFIX: &str = "/logs";
/// The last lines that a resource has.
pub(crate) const LINES: usize = 2_000;
/// Its last bytes.
pub(crate) const BYTES: usize = 128 << 10;

/// The last lines of a sandbox's output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LastLines {
    pub(crate) text: String,
    /// Lines before them that fit the question and not the bound.
    pub(crate) left_out: u64,
}

/// Reads the last lines of a sandbox's output, at most `most` bytes of them.
///
/// # Errors
/// The sandbox keeps no output, it cannot be read, or nobody waits any more.
pub(crate) fn logs(
    context: &Context,
    entry: &SandboxEntry,
    since: Option<SystemTime>,
    tail: usize,
    most: usize,
    is_over: &dyn Fn() -> bool,
) -> Result<LastLines, ToolError> {
    let kept = entry.kept.as_ref().ok_or_else(|| Error::NoSandbox(entry.name.clone()))?;
    let selection = LogSelection { tail: None, since, follow: false };
    let mut log = SelectedLog::open(context.home(), kept, selection, None)?;
    let mut last = Last::new(tail, most);
    while let Some(entry) = log.next_entry()? {
        if is_over() {
            return Err(ToolError::cancelled());
        }
        last.push(&entry);
    }
    Ok(last.finish())
}

/// Lines, of which the oldest go when there are too many.
struct Last {
    lines: VecDeque<String>,
    bytes: usize,
    tail: usize,
    most: usize,
    left_out: u64,
}

impl Last {
    fn new(tail: usize, most: usize) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, tail, most, left_out: 0 }
    }

    fn push(&mut self, entry: &LogEntry) {
        let text = String::from_utf8_lossy(&entry.bytes);
        match self.lines.back_mut().filter(|line| !line.ends_with('\n') && line.len() < self.most) {
            // A long line comes in parts.
            Some(line) => {
                line.push_str(&text);
                self.bytes += text.len();
            }
            None => {
                let mark = if entry.stream == LogStream::Stderr { "[stderr] " } else { "" };
                let line = format!("{mark}{text}");
                self.bytes += line.len();
                self.lines.push_back(line);
            }
        }
        while self.lines.len() > self.tail || (self.bytes > self.most && self.lines.len() > 1) {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
            self.left_out += 1;
        }
    }

    fn finish(self) -> LastLines {
        let mut text: String = self.lines.into_iter().collect();
        if text.len() > self.most {
            let from = text.ceil_char_boundary(text.len() - self.most);
            text.drain(..from);
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        LastLines { text, left_out: self.left_out }
    }
}

/// The resources that there are.
pub(crate) fn list(context: &Context) -> Result<Vec<Resource>, ToolError> {
    let resource = |entry: &SandboxEntry| {
        let description = format!("The last output of sandbox {} ({})", entry.name, entry.root);
        Resource::new(uri(&entry.id), format!("{}.log", entry.name))
            .with_title(format!("Logs of {}", entry.name))
            .with_description(description)
            .with_mime_type("text/plain")
    };
    Ok(context.list()?.iter().filter(|entry| entry.kept.is_some()).map(resource).collect())
}

/// The sandbox whose output has this address.
pub(crate) fn find(context: &Context, uri: &str) -> Result<SandboxEntry, ToolError> {
    let name = uri.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    let name = name.filter(|name| !name.is_empty() && !name.contains('/'));
    context.find(name.ok_or_else(|| ToolError::value("uri", format!("{PREFIX}SANDBOX{SUFFIX} is expected")))?)
}

/// The address of the output of the sandbox with this ID.
pub(crate) fn uri(id: &str) -> String {
    format!("{PREFIX}{id}{SUFFIX}")
}

/// The pattern of all addresses.
pub(crate) fn template() -> String {
    uri("{sandbox}")
}

/// Waits for new output of the sandbox again and again until it ends or nobody waits; `changed` is told of it.
///
/// # Errors
/// The output cannot be followed.
pub(crate) fn follow(
    context: &Context,
    entry: &SandboxEntry,
    interrupt: &Interrupt,
    mut changed: impl FnMut(),
) -> Result<(), ToolError> {
    let kept = entry.kept.as_ref().ok_or_else(|| Error::NoSandbox(entry.name.clone()))?;
    let reader = LogReader::open_at_end(context.home(), kept)?;
    let mut reader = reader.interrupted_by(interrupt.descriptor()?);
    while reader.next_entry()?.is_some() {
        changed();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(tail: usize, most: usize, parts: &[(&str, LogStream)]) -> LastLines {
        let mut last = Last::new(tail, most);
        for (text, stream) in parts {
            let bytes = text.as_bytes().to_vec();
            last.push(&LogEntry { bytes, stream: *stream, time: SystemTime::UNIX_EPOCH });
        }
        last.finish()
    }

    #[test]
    fn the_last_lines_are_shown_within_their_bound() {
        use LogStream::{Stderr, Stdout};
        let shown = |text: &str, left_out| LastLines { text: text.to_owned(), left_out };
        let lines = [("a\n", Stdout), ("b", Stdout), ("b\n", Stdout), ("c\n", Stderr)];
        assert_eq!(last(9, 99, &lines), shown("a\nbb\n[stderr] c\n", 0));
        assert_eq!(last(2, 99, &lines), shown("bb\n[stderr] c\n", 1));
        assert_eq!(last(9, 15, &lines), shown("bb\n[stderr] c\n", 1));
        assert_eq!(last(9, 99, &[("a", Stdout)]), shown("a\n", 0));
        assert_eq!(last(9, 99, &[]), shown("", 0));
        let long = "é".repeat(100);
        let cut = last(9, 5, &[(&long, Stdout), (&long, Stdout), ("\n", Stdout)]);
        assert!(cut.text.len() <= 6, "{cut:?}");
    }
}
