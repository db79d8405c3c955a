//! Loads a network and attacks it, in a guest; see `monocore_tests::net_load`.

#![allow(clippy::print_stdout, reason = "the outcome is this program's output")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match monocore_tests::net_load::run(&arguments) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("net-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}
