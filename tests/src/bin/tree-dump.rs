//! Prints the tree at the first argument, leaving out the paths named by the others; runs on the host and, built
//! statically, in guests.

#![allow(clippy::print_stdout, reason = "the listing is this program's output")]

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((root, skip)) = arguments.split_first() else {
        eprintln!("usage: tree-dump ROOT [PATH-TO-SKIP…]");
        return ExitCode::from(2);
    };
    let skip: Vec<&str> = skip.iter().map(String::as_str).collect();
    match monocore_tests::tree::dump(Path::new(root), &skip) {
        Ok(lines) => {
            println!("{}", lines.join("\n"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tree-dump: {error}");
            ExitCode::FAILURE
        }
    }
}
