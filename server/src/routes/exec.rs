//! A command in a running sandbox, with all its output in one answer.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use monocore_api::{ErrorBody, ErrorCode, ExecRequest, ExecResult};
use monocore_orchestrator::session::{Input, Output, Streams};
use monocore_orchestrator::spec::parse_duration;
use monocore_orchestrator::{ControlClient, ExecCall, registry};
use monocore_protocol::ByteString;

use super::Name;
use crate::api_server::ApiServer;
use crate::body::Json;
use crate::convert;
use crate::error::ApiError;
use crate::work::{self, HangUp};

/// Output kept of each stream unless the request says otherwise, bytes.
const OUTPUT: u64 = 1 << 20;
/// The most output kept of each stream, bytes.
const MOST_OUTPUT: u64 = 16 << 20;
/// The exit code of a command whose time was up, as timeout(1) has it.
const TIMED_OUT: u8 = 124;

/// Runs a command in a running sandbox and answers when it has ended. The command is killed if the
/// client goes away.
#[utoipa::path(
    post, path = "/v1/sandboxes/{name}/exec", tag = "sandboxes", params(("name" = String, Path)),
    request_body = ExecRequest,
    responses((status = 200, body = ExecResult), (status = "default", body = ErrorBody))
)]
pub(super) async fn exec(
    State(context): State<ApiServer>,
    Name(name): Name,
    Json(wanted): Json<ExecRequest>,
) -> Result<Json<ExecResult>, ApiError> {
    let timeout = wanted.timeout.as_ref().map(|text| parse_duration(&text.text())).transpose();
    let timeout = timeout.map_err(|error| ApiError::value("timeout", error))?;
    let input = input(&wanted)?;
    let most = wanted.max_output_bytes.unwrap_or(OUTPUT);
    if most > MOST_OUTPUT {
        return Err(ApiError::value("max_output_bytes", format!("at most {MOST_OUTPUT}")));
    }
    let detach = wanted.detach;
    let call = call(wanted.command, &wanted.env, wanted.workdir, wanted.user)?;
    let (_, client) = connect(&context, name).await?;
    if detach {
        let started = work::short(&context, move |_| Ok(client.exec_detached(call)?));
        return started.await.map(|pid| Json(ExecResult { pid: Some(pid), ..ExecResult::default() }));
    }
    let hang_up = HangUp(client.handle()?);
    let (stdout, stderr) = (Collected::new(most), Collected::new(most));
    let streams = Streams::Pipes { stdin: input, stdout: stdout.output(), stderr: stderr.output() };
    let ended = work::long(&context, move |_| Ok(client.exec(call, streams)?.wait()?.code()));
    let exit_code = tokio::select! {
        ended = ended => ended?,
        () = sleep(timeout) => {
            drop(hang_up);
            return Ok(Json(result(TIMED_OUT, &stdout, &stderr, true)));
        }
        () = context.ended() => return Err(ApiError::new(ErrorCode::TooBusy, "the server ends")),
    };
    Ok(Json(result(exit_code, &stdout, &stderr, false)))
}

/// The ID of a running sandbox, and a connection to its supervisor.
pub(super) async fn connect(context: &ApiServer, name: String) -> Result<(String, ControlClient), ApiError> {
    let connected = work::short(context, move |context| {
        let record = registry::running(&context.home, &name)?;
        let client = ControlClient::connect(&context.home, &record)?;
        Ok((record.id, client))
    });
    connected.await
}

/// What the supervisor is asked to run.
pub(super) fn call(
    command: Vec<String>,
    env: &BTreeMap<String, String>,
    workdir: Option<String>,
    user: Option<String>,
) -> Result<ExecCall, ApiError> {
    if command.first().is_none_or(String::is_empty) {
        return Err(ApiError::value("command", "name a program"));
    }
    if command.iter().chain(&workdir).any(|word| word.contains('\0')) {
        return Err(ApiError::value("command", "a word has a NUL character"));
    }
    convert::check_variables(env)?;
    let bytes = |text: String| ByteString::from(text.into_bytes());
    Ok(ExecCall {
        env: env.iter().map(|(name, value)| bytes(format!("{name}={value}"))).collect(),
        workdir: workdir.map(bytes),
        user,
        ..ExecCall::new(command.into_iter().map(bytes).collect())
    })
}

fn input(wanted: &ExecRequest) -> Result<Input, ApiError> {
    let bytes = match (&wanted.stdin, &wanted.stdin_base64) {
        (None, None) => return Ok(Input::Empty),
        (Some(text), None) => text.clone().into_bytes(),
        (None, Some(text)) => {
            STANDARD.decode(text).map_err(|error| ApiError::value("stdin_base64", error))?
        }
        (Some(_), Some(_)) => return Err(ApiError::value("stdin", "not together with stdin_base64")),
    };
    if wanted.detach {
        return Err(ApiError::value("stdin", "a detached command has no input"));
    }
    Ok(Input::Reader(Box::new(Cursor::new(bytes))))
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

fn result(exit_code: u8, stdout: &Collected, stderr: &Collected, timed_out: bool) -> ExecResult {
    let ((stdout, stdout_base64, lost_out), (stderr, stderr_base64, lost_err)) =
        (stdout.text(), stderr.text());
    ExecResult {
        exit_code: Some(exit_code),
        pid: None,
        stdout,
        stdout_base64,
        stderr,
        stderr_base64,
        truncated: lost_out || lost_err,
        timed_out,
    }
}

/// The beginning of a command's output; what is more is dropped, so that the command never waits.
#[derive(Clone, Debug)]
struct Collected {
    kept: Arc<Mutex<Kept>>,
    most: usize,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Collected {
    fn new(most: u64) -> Self {
        Self { kept: Arc::default(), most: usize::try_from(most).unwrap_or(usize::MAX) }
    }

    fn output(&self) -> Output {
        Output::Writer(Box::new(self.clone()))
    }

    /// As text, as base64 if it is not text, and whether some of it was dropped.
    fn text(&self) -> (String, Option<String>, bool) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = kept.bytes.as_slice();
        if kept.truncated {
            // A character that was cut is not worth base64.
            let cut = std::str::from_utf8(bytes).err().filter(|error| error.error_len().is_none());
            bytes = cut.map_or(bytes, |error| &bytes[..error.valid_up_to()]);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => (text.to_owned(), None, kept.truncated),
            Err(_) => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                (text, Some(STANDARD.encode(bytes)), kept.truncated)
            }
        }
    }
}

impl Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.most.saturating_sub(kept.bytes.len());
        kept.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        kept.truncated |= bytes.len() > room;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_bounded_and_told() {
        let mut all = Collected::new(4);
        all.write_all(b"ab").unwrap();
        assert_eq!(all.text(), ("ab".to_owned(), None, false));
        all.write_all(b"cdef").unwrap();
        assert_eq!(all.text(), ("abcd".to_owned(), None, true));
        let mut raw = Collected::new(8);
        raw.write_all(b"a\xffb").unwrap();
        assert_eq!(raw.text(), ("a\u{fffd}b".to_owned(), Some("Yf9i".to_owned()), false));
        let mut cut = Collected::new(2);
        cut.write_all("aé".as_bytes()).unwrap();
        assert_eq!(cut.text(), ("a".to_owned(), None, true));
    }

    #[test]
    fn a_call_names_a_program() {
        let env = |name: &str| BTreeMap::from([(name.to_owned(), "x".to_owned())]);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(call(words(&["true"]), &env("A"), None, None).is_ok());
        for bad in [&[][..], &[""], &["a\0"]] {
            assert!(call(words(bad), &env("A"), None, None).is_err());
        }
        assert!(call(words(&["true"]), &env("A=B"), None, None).is_err());
    }
}
