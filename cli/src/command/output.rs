//! What users and programs read: listings, errors, progress.

mod format;
mod progress;
mod table;
mod template;

use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use serde::Serialize;

use serde_json::Value;

pub(super) use format::Format;
pub(super) use progress::Bars;
pub(super) use table::Table;
pub(super) use template::Template;

/// Writes `text` to standard output. A reader that has gone away has seen enough: no error.
///
/// # Errors
/// The output cannot be written.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("writing to standard output"),
    }
}

/// Writes `text` and a newline at once; false if the reader has gone away.
///
/// # Errors
/// The output cannot be written.
pub(super) fn line(text: &str) -> anyhow::Result<bool> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true).context("writing to standard output"),
    }
}

/// Writes `value` as JSON, or what `table` makes of it.
///
/// # Errors
/// The output cannot be written.
pub(super) fn listing<T: Serialize + ?Sized>(
    format: Format,
    value: &T,
    table: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    match format {
        Format::Table => print(&table(value)),
        Format::Json => print(&format!("{}\n", serde_json::to_string_pretty(value)?)),
        Format::Template(text) => print(&format::lines(text, &format::items(value)?, true)?),
        Format::Columns(text) => print(&format::columns(text, &format::items(value)?, &[])?),
    }
}

/// The same, where templates see `items`, which have the fields that Docker's have, and `headings` for columns of them.
///
/// # Errors
/// The output cannot be written; a template names a field that does not exist.
pub(super) fn listing_as<T: Serialize + ?Sized>(
    format: Format,
    value: &T,
    items: impl FnOnce() -> Vec<Value>,
    headings: &[(&str, &str)],
    table: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    match format {
        Format::Template(text) => print(&format::lines(text, &items(), true)?),
        Format::Columns(text) => print(&format::columns(text, &items(), headings)?),
        Format::Table | Format::Json => listing(format, value, table),
    }
}

/// Each of `items` by a template, whose text is taken as it is.
///
/// # Errors
/// The output cannot be written; the template names a field that does not exist.
pub(super) fn inspected(template: &str, items: &[Value]) -> anyhow::Result<()> {
    print(&format::lines(template, items, false)?)
}

/// Tells the user something beside the output.
pub(super) fn note(text: &str) {
    // If standard error is gone, nobody is left to tell.
    let _ = writeln!(io::stderr().lock(), "monocore: {text}");
}

/// Tells the user what failed.
pub(super) fn error(error: &anyhow::Error) {
    let mut stderr = io::stderr().lock();
    let label = if stderr.is_terminal() && colours_wanted() { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    // If standard error is gone, nobody is left to tell.
    let _ = writeln!(stderr, "monocore: {label} {}", with_causes(error));
}

/// What an error says, and what its causes say beyond that: many say their cause themselves.
fn with_causes(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

/// Tells the user what was left out.
pub(super) fn warning(text: &str) {
    // If standard error is gone, nobody is left to tell.
    let _ = writeln!(io::stderr().lock(), "monocore: warning: {text}");
}

/// Whether the user has not said otherwise (<https://no-color.org>).
pub(super) fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A size for people: `4.2 MB`, in powers of 1000 as Docker shows them.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    let mut divisor: u64 = 1;
    while unit + 1 < UNITS.len() && bytes / divisor >= 1000 {
        divisor *= 1000;
        unit += 1;
    }
    if unit == 0 {
        return format!("{bytes} B");
    }
    let tenths = u128::from(bytes) * 10 / u128::from(divisor);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let own =
            anyhow::anyhow!("No space left").context("cannot write x: No space left").context("cannot save");
        assert_eq!(with_causes(&own), "cannot save: cannot write x: No space left");
    }

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (4_250_000, "4.2 MB"), (u64::MAX, "18446.7 PB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
