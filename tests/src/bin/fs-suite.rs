//! Runs the file-operation suite in the directory named by the first argument; runs on the host and, built statically, in
//! guests. Needs root.

#![allow(clippy::print_stdout, reason = "the outcome is this program's output")]

use std::path::Path;
use std::process::ExitCode;

use monocore_tests::fs_suite::{Expectations, run};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), option) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: fs-suite DIR [--no-device-nodes]");
        return ExitCode::from(2);
    };
    let expect = Expectations {
        no_device_nodes: option.as_deref() == Some("--no-device-nodes"),
        ..Expectations::default()
    };
    match run(Path::new(&dir), expect) {
        Ok(report) => {
            report.failed.iter().for_each(|line| println!("FAILED {line}"));
            println!("fs-suite: {} assertions, {} failed", report.made, report.failed.len());
            if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("fs-suite: {error:#}");
            ExitCode::from(2)
        }
    }
}
