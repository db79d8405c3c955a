//! `logs`: the output of a sandbox in the background.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::time::SystemTime;

use anyhow::Context;
use monocore_orchestrator::{Home, LogEntry, LogReader, LogStream, registry, spec};

use super::args::LogsArgs;

/// How many of the last lines are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    All,
    Lines(usize),
}

/// Reads `all` or a number.
pub(super) fn parse_tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail::All),
        _ => text.parse().map(Tail::Lines).map_err(|_| "give a number of lines, or all".to_owned()),
    }
}

/// Reads a time, or how long ago it was.
pub(super) fn parse_since(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Ok(time);
    }
    spec::parse_duration(text)
        .ok()
        .and_then(|ago| SystemTime::now().checked_sub(ago))
        .ok_or_else(|| "give a time such as 2026-11-30T04:41:00Z, or a duration such as 10m".to_owned())
}

pub(super) fn main(args: &LogsArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    let entry = registry::find(&home, &args.sandbox)?;
    let kept = entry.kept.as_ref().with_context(|| {
        format!("sandbox {} runs in the foreground: its output is where it was started", entry.name)
    })?;
    // What is there already is read first, so that the last lines of it can be told.
    let mut reader = LogReader::open(&home, kept, args.follow)?;
    let mut printer = Printer::new(args.timestamps);
    if let Tail::Lines(count) = args.tail {
        for entry in last_lines(LogReader::open(&home, kept, false)?, args.since, count, &mut reader)? {
            if !printer.print(&entry)? {
                return Ok(());
            }
        }
    }
    while let Some(entry) = reader.next_entry().context("reading the log")? {
        let is_shown = args.since.is_none_or(|since| entry.time >= since);
        if is_shown && !printer.print(&entry)? {
            return Ok(());
        }
    }
    Ok(())
}

/// The entries of the last `count` lines that `now` has. `reader` is left behind them.
pub(super) fn last_lines(
    mut now: LogReader,
    since: Option<SystemTime>,
    count: usize,
    reader: &mut LogReader,
) -> anyhow::Result<VecDeque<LogEntry>> {
    let mut kept = VecDeque::new();
    let mut lines = 0;
    while let Some(entry) = now.next_entry().context("reading the log")? {
        reader.next_entry().context("reading the log")?;
        if since.is_some_and(|since| entry.time < since) {
            continue;
        }
        let begins = kept.back().is_none_or(|last: &LogEntry| last.bytes.ends_with(b"\n"));
        lines += usize::from(begins);
        kept.push_back(entry);
        while lines > count {
            // A line goes with all its parts.
            while kept.pop_front().is_some_and(|part| !part.bytes.ends_with(b"\n")) {}
            lines -= 1;
        }
    }
    Ok(kept)
}

/// Writes entries where they were written to.
#[derive(Debug)]
pub(super) struct Printer {
    timestamps: bool,
    /// The last entry of each stream ended its line.
    at_start: [bool; 2],
}

impl Printer {
    pub(super) fn new(timestamps: bool) -> Self {
        Self { timestamps, at_start: [true; 2] }
    }

    /// False when the reader has gone away.
    pub(super) fn print(&mut self, entry: &LogEntry) -> anyhow::Result<bool> {
        let mut line = Vec::new();
        let at_start = &mut self.at_start[usize::from(entry.stream == LogStream::Stderr)];
        if self.timestamps && *at_start {
            line.extend(format!("{} ", humantime::format_rfc3339_nanos(entry.time)).bytes());
        }
        *at_start = entry.bytes.ends_with(b"\n");
        line.extend(&entry.bytes);
        let written = match entry.stream {
            LogStream::Stdout => write(&mut io::stdout().lock(), &line),
            LogStream::Stderr => write(&mut io::stderr().lock(), &line),
        };
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            other => other.map(|()| true).context("writing the log"),
        }
    }
}

fn write(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_and_times_are_read() {
        assert_eq!(parse_tail("all"), Ok(Tail::All));
        assert_eq!(parse_tail("10"), Ok(Tail::Lines(10)));
        assert!(parse_tail("-1").is_err() && parse_tail("").is_err());
        assert!(parse_since("2026-11-30T04:41:00Z").is_ok() && parse_since("10m").is_ok());
        assert!(parse_since("yesterday").is_err());
    }
}
