//! `doctor`: whether this machine can run sandboxes, and what to do if it cannot.

mod checks;

use std::io::IsTerminal;
use std::process::ExitCode;

use serde::Serialize;

use super::args::{Format, FormatArgs};
use super::output::{self, Table};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Good,
    /// Sandboxes run, but something is not as it should be.
    Warning,
    /// Sandboxes cannot run.
    Bad,
}

/// One thing looked at.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) verdict: Verdict,
    /// What was found and, unless it is good, what to do.
    pub(super) detail: String,
}

#[derive(Debug, Serialize)]
struct Report {
    can_run: bool,
    checks: Vec<Check>,
}

/// Everything that is looked at.
pub(super) fn checks() -> Vec<Check> {
    checks::all()
}

/// Fails when sandboxes cannot run here.
pub(super) fn main(args: FormatArgs) -> ExitCode {
    let checks = checks::all();
    let report = Report { can_run: checks.iter().all(|check| check.verdict != Verdict::Bad), checks };
    let written = output::listing(args.format, &report, |report| text(report, args.format));
    if let Err(error) = written {
        output::error(&error);
        return ExitCode::FAILURE;
    }
    if report.can_run { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn text(report: &Report, format: Format) -> String {
    let colours = format == Format::Table && std::io::stdout().is_terminal() && output::colours_wanted();
    let mut table = Table::new(&["CHECK", "RESULT", "DETAIL"]);
    for check in &report.checks {
        let (word, colour) = match check.verdict {
            Verdict::Good => ("good", 32),
            Verdict::Warning => ("warning", 33),
            Verdict::Bad => ("bad", 31),
        };
        let word = if colours { format!("\x1b[{colour}m{word:<7}\x1b[0m") } else { word.to_owned() };
        table.row([check.name.to_owned(), word, check.detail.clone()]);
    }
    let conclusion = if report.can_run { "Sandboxes can run here." } else { "Sandboxes cannot run here." };
    format!("{table}\n{conclusion}\n")
}
