//! `shell`: a shell in a running sandbox.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use monocore_orchestrator::session::DetachKeys;

use super::args::{ExecArgs, ShellArgs};
use super::exec;

/// The sandbox's own choice of a shell, else the best one there is.
const SCRIPT: &str = "[ -n \"$SHELL\" ] && command -v \"$SHELL\" >/dev/null 2>&1 && exec \"$SHELL\"; \
                      command -v bash >/dev/null 2>&1 && exec bash; exec sh";

pub(super) fn main(args: ShellArgs) -> ExitCode {
    let command = command(args.shell);
    exec::main(ExecArgs {
        interactive: true,
        // A script that is piped in needs no terminal.
        tty: io::stdin().is_terminal(),
        detach: false,
        detach_keys: DetachKeys::default(),
        privileged: false,
        env: args.env,
        env_file: Vec::new(),
        workdir: args.workdir,
        user: args.user,
        sandbox: args.sandbox,
        command,
    })
}

/// The words that open `shell`, or else the best one there is.
pub(super) fn command(shell: Option<OsString>) -> Vec<OsString> {
    match shell {
        Some(shell) => vec![shell],
        None => ["sh", "-c", SCRIPT].map(Into::into).to_vec(),
    }
}
