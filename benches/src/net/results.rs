//! Rows kept in a file, a line a load, for each way is measured in a machine of its own and all are compared.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::Row;
use crate::count::Figures;
use crate::mode::MODES;

/// Adds a way's.
pub(crate) fn add(file: &Path, row: &Row) -> Result<()> {
    let mut file = File::options().create(true).append(true).open(file).context("keep the figures")?;
    for Figures { load, instructions, exits, system_calls, copied_bytes } in &row.figures {
        writeln!(file, "{} {load} {instructions} {exits} {system_calls} {copied_bytes}", row.mode.name)?;
    }
    Ok(())
}

/// All that were added.
pub(crate) fn read(file: &Path) -> Result<Vec<Row>> {
    let text = fs::read_to_string(file).context("read the figures")?;
    let row = |mode| Row { mode, figures: text.lines().filter_map(|line| parse(line, mode.name)).collect() };
    Ok(MODES.iter().map(row).collect())
}

fn parse(line: &str, name: &str) -> Option<Figures> {
    let words: Vec<&str> = line.strip_prefix(name)?.split_whitespace().collect();
    let [kind, count, numbers @ ..] = &words[..] else { return None };
    let numbers: Vec<f64> = numbers.iter().filter_map(|word| word.parse().ok()).collect();
    let [instructions, exits, system_calls, copied_bytes] = numbers[..] else { return None };
    let load = format!("{kind} {count}").parse().ok()?;
    Some(Figures { load, instructions, exits, system_calls, copied_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_kept() {
        let file = std::env::temp_dir().join(format!("bench-net-{}", std::process::id()));
        let load = "send 16".parse().unwrap();
        let figures =
            vec![Figures { load, instructions: 2.5, exits: 3.0, system_calls: 4.0, copied_bytes: 5.0 }];
        add(&file, &Row { mode: &MODES[1], figures }).unwrap();
        let rows = read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        assert!(rows[0].figures.is_empty() && rows[1].figures.len() == 1);
        assert_eq!((rows[1].figures[0].load, rows[1].figures[0].copied_bytes), (load, 5.0));
    }
}
