//! `mc`: `monocore` under its short name.

use std::process::ExitCode;

fn main() -> ExitCode {
    monocore_cli::command::main()
}
