//! `stand-in`: `monocore` with every verb, but its virtual machines are played by a program of this host.
//!
//! What becomes of supervisors, records and clients can be seen with it where no guest can run, and a thousand times over. A
//! played guest has no disk. Its commands are a few words:
//!
//! - `sleep …` runs until a signal ends it;
//! - `exit N` ends with status N at once;
//! - anything else says its words and ends with status 0.
//!
//! The file that [`monocore_tests::stand_in::FAULT_VARIABLE`] names says which process is traced, and where it ends.

mod agent;
mod fault;
mod sys;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use fault::Role;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let role = words.get(1).and_then(|word| Role::of(word));
    if let Some(role) = role
        && let Some(error) = fault::suffer(role)
    {
        return failed(&error);
    }
    match role {
        Some(Role::Machine) => match agent::play(&words[2..]) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        Some(Role::Supervisor) => {
            monocore_orchestrator::testing::restart_without_delay();
            monocore_cli::command::main()
        }
        None => monocore_cli::command::main(),
    }
}

#[allow(clippy::print_stderr, reason = "a program of the tests")]
fn failed(error: &io::Error) -> ExitCode {
    eprintln!("stand-in: {error}");
    ExitCode::FAILURE
}
