//! `net tail`: what a running sandbox's network lets through and what not, as it happens.

use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use monocore_orchestrator::{Home, Receipts};
use serde::Deserialize;

use super::args::{NetCommand, TailArgs, TailFormat};
use super::named;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A receipt, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Line {
    time_ms: u64,
    #[serde(default)]
    decision: String,
    #[serde(default)]
    direction: String,
    #[serde(default)]
    protocol: String,
    address: Option<IpAddr>,
    port: Option<u16>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    reason: String,
    /// How many were counted only, in place of all the others.
    skipped: Option<u64>,
}

pub(super) fn main(command: &NetCommand) -> anyhow::Result<()> {
    match command {
        NetCommand::Tail(args) => tail(args),
    }
}

/// Ends with the sandbox, or with the reader of this process's output.
fn tail(args: &TailArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    let record = named::running(&home, &args.sandbox)?;
    let mut receipts = Receipts::follow(&home, &record)?;
    let mut stdout = io::stdout().lock();
    while let Some(lines) = receipts.next_lines().context("reading receipts")? {
        let text = match args.format {
            TailFormat::Json => lines,
            TailFormat::Text => text(&lines).into_bytes(),
        };
        match stdout.write_all(&text).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            result => result.context("writing to standard output")?,
        }
    }
    Ok(())
}

/// Receipts for people, one a line. A guest chooses the names in them: nothing of theirs reaches a terminal as a command.
fn text(lines: &[u8]) -> String {
    let mut text = String::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let shown = match serde_json::from_slice::<Line>(line) {
            Ok(line) => line.to_string(),
            Err(_) => String::from_utf8_lossy(line).into_owned(),
        };
        text.extend(shown.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }));
        text.push('\n');
    }
    text
}

impl fmt::Display for Line {
    /// `07:51:32.123Z deny  out tcp  10.0.0.1:80 (db.example): private address`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.time_ms % DAY_MS;
        let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(f, "{hours:02}:{minutes:02}:{seconds:02}.{:03}Z ", ms % 1000)?;
        if let Some(skipped) = self.skipped {
            return write!(f, "{skipped} more were not written down");
        }
        write!(
            f,
            "{:<5} {:<3} {:<4} {}: {}",
            self.decision,
            self.direction,
            self.protocol,
            self.whom(),
            self.reason
        )
    }
}

impl Line {
    /// The address and port, and the names it goes by.
    fn whom(&self) -> String {
        let mut whom = match (self.address, self.port) {
            // An echo has no port.
            (Some(address), None | Some(0)) => address.to_string(),
            (Some(address), Some(port)) => SocketAddr::new(address, port).to_string(),
            (None, _) => return self.names.join(", "),
        };
        if !self.names.is_empty() {
            // Writing to a string does not fail.
            let _ = write!(whom, " ({})", self.names.join(", "));
        }
        whom
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_for_people() {
        for (line, shown) in [
            (
                r#"{"time_ms":86400001,"decision":"allow","direction":"out","protocol":"tcp","address":"1.1.1.1","port":443,"names":["a.b"],"reason":"rule 3"}"#,
                "00:00:00.001Z allow out tcp  1.1.1.1:443 (a.b): rule 3\n",
            ),
            (
                r#"{"time_ms":45296789,"decision":"deny","direction":"in","protocol":"udp","address":"::1","port":53,"reason":"reach"}"#,
                "12:34:56.789Z deny  in  udp  [::1]:53: reach\n",
            ),
            (
                r#"{"time_ms":0,"decision":"deny","direction":"out","protocol":"dns","names":["x.y"],"reason":"reach","more":1}"#,
                "00:00:00.000Z deny  out dns  x.y: reach\n",
            ),
            (
                r#"{"time_ms":0,"decision":"allow","direction":"out","protocol":"icmp","address":"1.1.1.1","port":0,"reason":"reach"}"#,
                "00:00:00.000Z allow out icmp 1.1.1.1: reach\n",
            ),
            (r#"{"time_ms":0,"skipped":7}"#, "00:00:00.000Z 7 more were not written down\n"),
            ("what is this?", "what is this?\n"),
        ] {
            assert_eq!(text(format!("{line}\n").as_bytes()), shown);
        }
    }

    #[test]
    fn a_guest_does_not_speak_to_the_terminal() {
        let line = br#"{"time_ms":0,"protocol":"dns","names":["a\u001b[2Jb\u009b\n"],"reason":"reach"}"#;
        let shown = text(line);
        assert_eq!(shown.chars().filter(|c| c.is_control()).count(), 1, "{shown:?}");
        assert!(text(b"\x1b[2J\n").starts_with('\u{fffd}'));
    }
}
