//! `supervise ID REPORT_FD`, hidden: this process supervises a kept sandbox.

use std::ffi::OsString;
use std::process::ExitCode;

use monocore_orchestrator::{Home, Launcher, supervise, this_program};

use super::{OUR_FAILURE, output};

pub(super) fn main(words: &[OsString]) -> ExitCode {
    match run(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is the supervisor's own log.
            output::error(&error);
            ExitCode::from(OUR_FAILURE)
        }
    }
}

fn run(words: &[OsString]) -> anyhow::Result<()> {
    let usage = || anyhow::anyhow!("`supervise` is for monocore itself: an id and an inherited descriptor");
    let [id, report] = words else { return Err(usage()) };
    let id = id.to_str().ok_or_else(usage)?;
    let report: i32 = report.to_str().and_then(|text| text.parse().ok()).ok_or_else(usage)?;
    // No directory is kept from being unmounted or removed.
    std::env::set_current_dir("/")?;
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    supervise(&launcher, id, report)?;
    Ok(())
}
