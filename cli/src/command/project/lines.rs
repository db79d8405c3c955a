//! Steps and output of several sandboxes, a line each.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use monocore_orchestrator::{LogEntry, LogStream, ProjectEvent, ServiceStep};

use super::live::Live;
use crate::command::args::Format;
use crate::command::output::{Bars, colours_wanted};

/// Colours of prefixes, in turn (ECMA-48 SGR): cyan, yellow, green, magenta, blue, and their bright variants.
const COLOURS: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];

/// Tells the steps of a project: for people on standard error, for programs on standard output.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    format: Format,
    coloured: bool,
    /// On a terminal.
    live: Option<Arc<Live>>,
}

impl Lines {
    pub(super) fn new(format: Format) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let live = (is_terminal && format != Format::Json).then(|| Arc::new(Live::new()));
        Self { format, coloured: is_terminal && colours_wanted(), live }
    }

    /// How images arrive, beside the steps.
    pub(super) fn bars(&self) -> Bars {
        self.live.as_ref().map_or_else(|| Bars::new(false), |live| Bars::among(live.all()))
    }

    /// Lines that changed in place stay as they are; from here on each step has a line of its own.
    pub(super) fn settle(&self) {
        self.live.iter().for_each(|live| live.settle());
    }

    /// Writes one step. A reader that went away is no reason to stop the work.
    pub(super) fn event(&self, event: &ProjectEvent) {
        if self.format == Format::Json {
            if let Ok(line) = serde_json::to_string(event) {
                let _ = writeln!(io::stdout().lock(), "{line}");
            }
            return;
        }
        let detail = match &event.step {
            ServiceStep::Waiting { needed } => format!(" for {needed}"),
            ServiceStep::Synced { files: 1 } => " 1 file".to_owned(),
            ServiceStep::Synced { files } => format!(" {files} files"),
            // The message follows at the end.
            _ => String::new(),
        };
        let colour = match event.step {
            ServiceStep::Failed { .. } => 31,
            ServiceStep::Started
            | ServiceStep::Updated
            | ServiceStep::Healthy
            | ServiceStep::Completed
            | ServiceStep::Kept => 32,
            _ => 0,
        };
        let word = paint(self.coloured && colour > 0, colour, event.step.word());
        if self.live.as_ref().is_some_and(|live| live.show(&event.sandbox, &format!("{word}{detail}"))) {
            return;
        }
        let _ = writeln!(io::stderr().lock(), " {}  {word}{detail}", event.sandbox);
    }
}

fn paint(coloured: bool, colour: u8, text: &str) -> String {
    if coloured { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Writes the output of several sandboxes to this process's streams, line by line: lines of two sandboxes are never
/// mixed.
#[derive(Debug)]
pub(super) struct Output {
    timestamps: bool,
    prefix_chars: Option<usize>,
    coloured: bool,
    /// One line at a time.
    alone: Mutex<()>,
}

/// Where one sandbox's output goes.
#[derive(Debug)]
pub(super) struct Source<'a> {
    output: &'a Output,
    prefix: String,
    /// Lines that have not ended, by stream.
    open: [Vec<u8>; 2],
    grep: Option<&'a regex::bytes::Regex>,
}

impl Output {
    /// Prefixes are as wide as the longest of `names`; there are none with `no_prefix`.
    pub(super) fn new<'n>(names: impl Iterator<Item = &'n str>, timestamps: bool, no_prefix: bool) -> Self {
        let widest = names.map(|name| name.chars().count()).max().unwrap_or(0);
        let coloured = io::stdout().is_terminal() && colours_wanted();
        Self { timestamps, prefix_chars: (!no_prefix).then_some(widest), coloured, alone: Mutex::new(()) }
    }

    /// The output of the sandbox `name`, the `index`th.
    pub(super) fn source<'a>(
        &'a self,
        name: &str,
        index: usize,
        grep: Option<&'a regex::bytes::Regex>,
    ) -> Source<'a> {
        let prefix = self.prefix_chars.map_or_else(String::new, |width| {
            let text = format!("{name:<width$} |");
            format!("{} ", paint(self.coloured, COLOURS[index % COLOURS.len()], &text))
        });
        Source { output: self, prefix, open: [Vec::new(), Vec::new()], grep }
    }

    fn write(&self, stream: LogStream, line: &[u8]) -> io::Result<()> {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let all = |to: &mut dyn Write| to.write_all(line).and_then(|()| to.flush());
        match stream {
            LogStream::Stdout => all(&mut io::stdout().lock()),
            LogStream::Stderr => all(&mut io::stderr().lock()),
        }
    }
}

/// The longest line that is held back until it ends, bytes.
const LONGEST_LINE: usize = 64 << 10;

impl Source<'_> {
    /// Takes in an entry and writes the line that it ends, if it ends one; false when the reader has gone away.
    pub(super) fn entry(&mut self, entry: &LogEntry) -> io::Result<bool> {
        let open = &mut self.open[usize::from(entry.stream == LogStream::Stderr)];
        if open.is_empty() && self.output.timestamps {
            open.extend(format!("{} ", humantime::format_rfc3339_nanos(entry.time)).bytes());
        }
        open.extend(&entry.bytes);
        if !entry.bytes.ends_with(b"\n") {
            if open.len() < LONGEST_LINE {
                return Ok(true);
            }
            open.push(b'\n');
        }
        let text = std::mem::take(open);
        self.line(entry.stream, &text)
    }

    /// Writes what has not ended, with an end.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        for (index, stream) in [LogStream::Stdout, LogStream::Stderr].into_iter().enumerate() {
            let mut text = std::mem::take(&mut self.open[index]);
            if !text.is_empty() {
                text.push(b'\n');
                self.line(stream, &text)?;
            }
        }
        Ok(())
    }

    /// Writes a line of our own.
    pub(super) fn note(&mut self, text: &str) -> io::Result<bool> {
        self.line(LogStream::Stderr, format!("{text}\n").as_bytes())
    }

    fn line(&self, stream: LogStream, text: &[u8]) -> io::Result<bool> {
        if self.grep.is_some_and(|grep| !grep.is_match(text.trim_ascii_end())) {
            return Ok(true);
        }
        let line = [self.prefix.as_bytes(), text].concat();
        match self.output.write(stream, &line) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            other => other.map(|()| true),
        }
    }
}
