//! Commands in a running sandbox: at once with all their output, or as streams over a WebSocket.
//!
//! On the WebSocket a binary message is one byte that names a stream ([`Channel`]), then bytes of
//! it. A text message is JSON: the client's first is an [`ExecStart`], later ones are
//! [`ClientMessage`]; the server sends [`ServerMessage`]. Where a command was kept, the first message
//! may be an [`ExecResume`] instead.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::TextOrNumber;

/// A command whose output is sent when it has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"command": ["echo", "hello"]}))]
pub struct ExecRequest {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables, over the sandbox's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The directory the command starts in.
    #[serde(default)]
    pub workdir: Option<String>,
    /// `NAME|UID[:GROUP|GID]`.
    #[serde(default)]
    pub user: Option<String>,
    /// What the command reads.
    #[serde(default)]
    pub stdin: Option<String>,
    /// The same as base64, for what is not UTF-8.
    #[serde(default)]
    pub stdin_base64: Option<String>,
    /// The command is killed after this time (exit code 124): `30s`, or seconds.
    #[serde(default)]
    pub timeout: Option<TextOrNumber>,
    /// Output beyond this many bytes of each stream is dropped; 1 MiB by default, 16 MiB at most.
    #[serde(default)]
    pub max_output_bytes: Option<u64>,
    /// The command goes on when the request is over. Its output is dropped; the answer has its
    /// `pid`.
    #[serde(default)]
    pub detach: bool,
}

/// What became of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecResult {
    /// The exit code; 128 and the signal's number where a signal ended the command, 124 where its
    /// time was up. Absent for a detached command.
    pub exit_code: Option<u8>,
    /// The command's process in the sandbox, for a detached command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Standard output; bytes that are not UTF-8 are replaced, then `stdout_base64` has all of
    /// them.
    pub stdout: String,
    /// Standard output where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout_base64: Option<String>,
    /// Standard error, in the same way.
    pub stderr: String,
    /// Standard error where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr_base64: Option<String>,
    /// Output was dropped.
    pub truncated: bool,
    /// The time was up.
    pub timed_out: bool,
}

/// A command with streams: the first message of a WebSocket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecStart {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables, over the sandbox's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The directory the command starts in.
    #[serde(default)]
    pub workdir: Option<String>,
    /// `NAME|UID[:GROUP|GID]`.
    #[serde(default)]
    pub user: Option<String>,
    /// The command reads what the client sends on channel 0; otherwise it reads end of file.
    #[serde(default)]
    pub stdin: bool,
    /// The command gets a terminal of this size; its output is on channel 1.
    #[serde(default)]
    pub terminal: Option<TerminalSize>,
    /// The command goes on for this long after its connection is gone: `60s`, at most 10 minutes.
    /// Needs a terminal. The server's first message then names the session.
    #[serde(default)]
    pub keep: Option<TextOrNumber>,
}

/// Goes on with a command that was kept: the first message of a WebSocket instead of an
/// [`ExecStart`]. The server sends the end of the command's output, then the session's name, and
/// then what is new. A connection that the command still has is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecResume {
    /// The name that the server gave.
    pub session: String,
    /// The size of the terminal now.
    pub terminal: TerminalSize,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// What a client says after [`ExecStart`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "type", deny_unknown_fields)]
pub enum ClientMessage {
    /// Standard input has ended.
    StdinEnd,
    /// The terminal has another size.
    Resize(TerminalSize),
    /// A signal for the command.
    Signal {
        /// Such as `SIGINT`.
        signal: String,
    },
}

/// What the server says. The last message is `exit` or `error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum ServerMessage {
    /// The command is kept for a while when the connection is gone. Output that came before this
    /// message was sent to an earlier connection.
    Session {
        /// For an `ExecResume`. Whoever knows it may type to the command.
        id: String,
    },
    /// The command has ended, and all its output was sent.
    Exit {
        /// The exit code.
        exit_code: u8,
    },
    /// The command could not be started, or its sandbox ended.
    Error {
        /// For programs.
        code: crate::ErrorCode,
        /// For people.
        message: String,
    },
}

/// A stream of a command, by the first byte of a binary message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[repr(u8)]
pub enum Channel {
    /// Standard input, from the client.
    Stdin = 0,
    /// Standard output, or the terminal.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

/// A binary message: a stream and bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamFrame<'a> {
    /// The stream.
    pub channel: Channel,
    /// The bytes; none are allowed.
    pub bytes: &'a [u8],
}

impl<'a> StreamFrame<'a> {
    /// Reads a message; nothing if it is empty or names no stream.
    #[must_use]
    pub fn decode(message: &'a [u8]) -> Option<Self> {
        let (first, bytes) = message.split_first()?;
        let channel = match first {
            0 => Channel::Stdin,
            1 => Channel::Stdout,
            2 => Channel::Stderr,
            _ => return None,
        };
        Some(Self { channel, bytes })
    }

    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(1 + self.bytes.len());
        message.push(self.channel as u8);
        message.extend_from_slice(self.bytes);
        message
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_come_back(message: Vec<u8>) {
            match StreamFrame::decode(&message) {
                Some(frame) => prop_assert_eq!(frame.encode(), message),
                None => prop_assert!(message.first().is_none_or(|first| *first > 2)),
            }
        }
    }

    #[test]
    fn messages_have_their_type() {
        let read = |text: &str| serde_json::from_str::<ClientMessage>(text);
        assert_eq!(read(r#"{"type":"stdin_end"}"#).unwrap(), ClientMessage::StdinEnd);
        let size = TerminalSize { rows: 24, columns: 80 };
        assert_eq!(read(r#"{"type":"resize","rows":24,"columns":80}"#).unwrap(), ClientMessage::Resize(size));
        assert!(read(r#"{"type":"resize","rows":24}"#).is_err());
    }
}
