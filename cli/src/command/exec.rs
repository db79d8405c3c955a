//! `exec`: one more command in a running sandbox.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use anyhow::Context;
use monocore_orchestrator::session::{Input, KeyedInput, Outcome, SessionError, Signals, Streams, Terminal};
use monocore_orchestrator::spec::{parse_env, read_env_file};
use monocore_orchestrator::{ControlClient, ExecCall, Home};
use monocore_protocol::ByteString;

use super::args::ExecArgs;
use super::terminal::RawMode;
use super::{named, output, run};

/// The status of a command that was killed: 128 and SIGKILL's number.
const KILLED: u8 = 137;

pub(super) fn main(args: ExecArgs) -> ExitCode {
    match exec(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => run::failure(&error),
    }
}

fn exec(args: ExecArgs) -> anyhow::Result<u8> {
    let home = Home::locate()?;
    let env = environment(&args)?;
    let record = named::running(&home, &args.sandbox)?;
    let client = ControlClient::connect(&home, &record)?;
    let mut command = args.command;
    if command.first().is_some_and(|word| word == "--") {
        command.remove(0);
    }
    let call = ExecCall {
        env,
        workdir: args.workdir.map(Into::into),
        user: args.user,
        detach: args.detach,
        privileged: args.privileged,
        ..ExecCall::new(command.iter().map(|word| ByteString::from(word.as_os_str())).collect())
    };
    if args.detach {
        client.exec_detached(call)?;
        return Ok(0);
    }
    let signals = Signals::block()?;
    let mut streams = run::streams(args.interactive, args.tty)?;
    let mut leave = None;
    if let Streams::Terminal { input, .. } = &mut streams
        && let Input::Fd(typed) = std::mem::replace(input, Input::Empty)
    {
        let (keyed, event) = KeyedInput::new(typed, args.detach_keys)?;
        *input = Input::Reader(Box::new(keyed));
        leave = Some(event);
    }
    let raw = if args.tty && args.interactive { RawMode::enter()? } else { None };
    let stdin = io::stdin();
    let terminal = args.tty.then(|| Terminal::new(stdin.as_fd()));
    let outcome = client.exec(call, streams)?.run_to_end(&signals, terminal, leave.as_ref());
    // Messages are for a terminal in its usual mode.
    drop(raw);
    match outcome {
        Ok(Outcome::Exited(status)) => Ok(status.code()),
        Ok(Outcome::Left) => Ok(0),
        Ok(Outcome::Insisted(_) | Outcome::TimedOut) => Ok(KILLED),
        Err(SessionError::Exec { code, message }) => {
            output::error(&anyhow::Error::msg(message));
            Ok(code)
        }
        Err(SessionError::Lost) => {
            output::error(&anyhow::anyhow!("sandbox {} ended before the command did", record.name));
            Ok(KILLED)
        }
        Err(error) => Err(error.into()),
    }
}

/// Files first, then flags: what is said last counts.
fn environment(args: &ExecArgs) -> anyhow::Result<Vec<ByteString>> {
    let host = |name: &std::ffi::OsStr| std::env::var_os(name);
    let mut env = Vec::new();
    for file in &args.env_file {
        env.extend(read_env_file(file, host).context("--env-file")?);
    }
    for variable in &args.env {
        env.extend(parse_env(variable, host).context("--env")?);
    }
    let pair = |name: OsString, value: OsString| [name.as_bytes(), b"=", value.as_bytes()].concat().into();
    Ok(env.into_iter().map(|variable| pair(variable.name, variable.value)).collect())
}
