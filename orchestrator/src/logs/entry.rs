//! One line of a log.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Which of the command's streams a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output, and everything under a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of output, or a part of one: its bytes end in a newline unless more of the line follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// What was written.
    pub bytes: Vec<u8>,
    /// Where to.
    pub stream: LogStream,
    /// When it arrived.
    pub time: SystemTime,
}

/// The same in a file.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
    stream: LogStream,
    time: String,
}

impl LogEntry {
    /// A line of the file, with its newline.
    pub(super) fn write(bytes: &[u8], stream: LogStream, time: &str, to: &mut Vec<u8>) {
        let (log, raw) = match std::str::from_utf8(bytes) {
            Ok(text) => (Some(text.into()), None),
            Err(_) => (None, Some(STANDARD.encode(bytes))),
        };
        let line = Line { log, bytes: raw, stream, time: time.to_owned() };
        // Plain data into memory: there is nothing that could fail.
        let _ = serde_json::to_writer(&mut *to, &line);
        to.push(b'\n');
    }

    /// What a line of the file says; nothing if it is none, after a crash for instance.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let line: Line<'_> = serde_json::from_slice(line).ok()?;
        let bytes = match (line.log, line.bytes) {
            (Some(text), _) => text.into_owned().into_bytes(),
            (None, Some(raw)) => STANDARD.decode(raw).ok()?,
            (None, None) => return None,
        };
        Some(Self { bytes, stream: line.stream, time: humantime::parse_rfc3339(&line.time).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_byte_comes_back(bytes: Vec<u8>) {
            let mut line = Vec::new();
            let time = "2026-11-30T04:41:09.123456789Z";
            LogEntry::write(&bytes, LogStream::Stderr, time, &mut line);
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            let read = LogEntry::read(&line).unwrap();
            prop_assert_eq!(read.bytes, bytes);
            prop_assert_eq!(read.stream, LogStream::Stderr);
            prop_assert_eq!(humantime::format_rfc3339_nanos(read.time).to_string(), time);
        }
    }

    #[test]
    fn the_shape_is_dockers() {
        let mut line = Vec::new();
        LogEntry::write(b"hello\n", LogStream::Stdout, "2026-11-30T04:41:09.000000000Z", &mut line);
        let expected = r#"{"log":"hello\n","stream":"stdout","time":"2026-11-30T04:41:09.000000000Z"}"#;
        assert_eq!(String::from_utf8(line).unwrap().trim_end(), expected);
    }

    #[test]
    fn what_is_no_line_is_nothing() {
        for text in
            ["", "{}", r#"{"log":"x"}"#, r#"{"stream":"stdout","time":"2026-11-30T04:41:09Z"}"#, "[1]"]
        {
            assert_eq!(LogEntry::read(text.as_bytes()), None, "{text}");
        }
    }
}
