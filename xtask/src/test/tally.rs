//! Counting what test programs report, so that one closing line can be printed for all of them.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::str::FromStr;

use anyhow::{Context, Result};

/// How many tests ended how; written as the closing line of `cargo test`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    filtered: u64,
}

impl Tally {
    /// Adds another part's counts.
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.filtered += other.filtered;
    }

    /// Whether nothing failed.
    pub(super) fn passes(&self) -> bool {
        self.failed == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = if self.failed == 0 { "ok" } else { "FAILED" };
        let Self { passed, failed, ignored, filtered } = self;
        write!(
            f,
            "test result: {result}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; {filtered} filtered out"
        )
    }
}

impl FromStr for Tally {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let counts = line.strip_prefix("test result: ").context("this is no closing line of a test")?;
        let counts = counts.split_once(". ").context("a closing line without counts")?.1;
        let mut tally = Self::default();
        for count in counts.split("; ") {
            let (number, what) = count.split_once(' ').unwrap_or(("", count));
            let field = match what {
                "passed" => &mut tally.passed,
                "failed" => &mut tally.failed,
                "ignored" => &mut tally.ignored,
                "filtered out" => &mut tally.filtered,
                _ => continue,
            };
            *field = number.parse().with_context(|| format!("cannot read the count in {line:?}"))?;
        }
        Ok(tally)
    }
}

/// Runs test programs, passing on what they print, and counts.
pub(super) fn run(command: &mut Command) -> Result<(ExitStatus, Tally)> {
    run_watched(command, |_| ())
}

/// The same; `watch` is told the process, and what it gives is dropped when that has ended.
pub(super) fn run_watched<W>(
    command: &mut Command,
    watch: impl FnOnce(&Child) -> W,
) -> Result<(ExitStatus, Tally)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start a test program")?;
    let _watch = watch(&child);
    let stdout = child.stdout.take().context("a test program has no standard output")?;
    let mut tally = Tally::default();
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).context("cannot read a test program's output")? > 0 {
        std::io::stdout().write_all(&line)?;
        if let Ok(counts) = String::from_utf8_lossy(&line).trim_end().parse() {
            tally.add(counts);
        }
        line.clear();
    }
    let status = child.wait().context("cannot wait for a test program")?;
    // A program that dies counts nothing.
    if !status.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok((status, tally))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closing_line_is_read_and_written() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 4 filtered out; finished in 0.01s";
        let tally: Tally = line.parse().unwrap();
        assert_eq!(tally, Tally { passed: 3, failed: 1, ignored: 2, filtered: 4 });
        assert!(line.starts_with(&tally.to_string()));
        assert!("running 3 tests".parse::<Tally>().is_err());
    }

    #[test]
    fn a_program_that_dies_counts_as_a_failure() {
        let (status, tally) = run(Command::new("sh").args(["-c", "exit 9"])).unwrap();
        assert_eq!((status.code(), tally.failed), (Some(9), 1));
    }
}
