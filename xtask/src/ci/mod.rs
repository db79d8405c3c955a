//! `cargo xtask ci`: the rules of the house that a machine can check.
//!
//! Formatting, lints, documentation, dependency licences, and the invariants of ARCHITECTURE.md: who may depend on whom,
//! where `unsafe` may stand, how long a file may be. Every part is run, then all that failed is named.

mod arrows;
mod files;
mod lexer;
mod rules;

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;

use crate::dist;
use crate::process::{run as run_command, step};
use crate::project;
use crate::sdk;
use crate::tools;

/// What `cargo xtask ci` is asked for.
#[derive(Args)]
pub(crate) struct CiArgs {
    /// Only what needs no compiler: dependency arrows, `unsafe`, file sizes, words, formatting.
    #[arg(long)]
    quick: bool,
}

/// The command of this name.
pub(crate) fn run(args: &CiArgs) -> Result<ExitCode> {
    let mut report = Report::default();
    report.part("dependency arrows", || violations(arrows::check()?));
    report.part("rules about source files", || violations(rules::check(&files::tracked()?)?));
    report.part("generated types of the SDKs", sdk::check_generated);
    report.part("formatting", || cargo(&["fmt", "--all", "--check"]));
    if !args.quick {
        report.part("lints", || {
            cargo(&[
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
                "-D",
                "clippy::too_many_lines",
            ])
        });
        report.part("types and packages of the SDKs", || dist::run(&dist::DistArgs::default()));
        report.part("documentation", || {
            let mut doc = project::cargo();
            doc.args(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
            run_command(doc.env("RUSTDOCFLAGS", "-D warnings"))
        });
        report.part("licences, sources and banned crates", || {
            let deny = tools::cargo_deny()?;
            let mut check = Command::new(deny);
            run_command(check.current_dir(project::root()).args(["check", "bans", "licenses", "sources"]))
        });
    }
    Ok(report.finish())
}

fn cargo(args: &[&str]) -> Result<()> {
    run_command(project::cargo().args(args))
}

fn violations(found: Vec<String>) -> Result<()> {
    anyhow::ensure!(found.is_empty(), "{} broken:\n  {}", found.len(), found.join("\n  "));
    Ok(())
}

/// What failed so far.
#[derive(Default)]
struct Report(Vec<&'static str>);

impl Report {
    fn part(&mut self, what: &'static str, check: impl FnOnce() -> Result<()>) {
        if let Err(error) = step(what, check) {
            eprintln!("error: {error:#}");
            self.0.push(what);
        }
    }

    fn finish(self) -> ExitCode {
        if self.0.is_empty() {
            eprintln!("==> all rules hold");
            return ExitCode::SUCCESS;
        }
        eprintln!("==> broken: {}", self.0.join(", "));
        ExitCode::FAILURE
    }
}
