//! `monocore`: runs OCI images as microVM sandboxes.

use std::process::ExitCode;

fn main() -> ExitCode {
    monocore_cli::command::main()
}
