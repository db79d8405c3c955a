//! `logs`: the output of a sandbox in the background.

use std::io::{self, ErrorKind, Write};
use std::time::SystemTime;

use anyhow::Context;
use monocore_orchestrator::{Home, LogEntry, LogSelection, LogStream, SelectedLog, spec};

use super::args::LogsArgs;
use super::named;

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
    let entry = named::find(&home, &args.sandbox)?;
    let kept = entry.kept.as_ref().with_context(|| {
        format!("sandbox {} runs in the foreground: its output is where it was started", entry.name)
    })?;
    let tail = match args.tail {
        Tail::All => None,
        Tail::Lines(count) => Some(count),
    };
    let selection = LogSelection { tail, since: args.since, follow: args.follow };
    let mut log = SelectedLog::open(&home, kept, selection, None)?;
    let mut printer = Printer::new(args.timestamps);
    while let Some(entry) = log.next_entry().context("reading the log")? {
        if !printer.print(&entry)? {
            return Ok(());
        }
    }
    Ok(())
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
