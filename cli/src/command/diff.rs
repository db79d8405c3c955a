//! `diff`: what a sandbox changed in its image's files.

use monocore_orchestrator::session::Signals;
use monocore_orchestrator::{Home, Launcher, this_program, tool_output};
use monocore_protocol::Tool;
use serde::Serialize;

use super::args::DiffArgs;
use super::{named, output};

/// One change.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Change {
    kind: &'static str,
    path: String,
}

pub(super) fn main(args: &DiffArgs) -> anyhow::Result<()> {
    // Before any thread, so that every signal comes here.
    let signals = Signals::block()?;
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    let entry = named::find(&launcher.home, &args.sandbox)?;
    let changes = parse(&tool_output(&launcher, &entry, Tool::Changes, &signals)?);
    output::listing(args.output.format, &changes, |changes| {
        changes.iter().map(|change| format!("{} {}\n", change.kind, change.path)).collect()
    })
}

/// Reads what the guest says; what makes no sense is passed over.
fn parse(told: &[u8]) -> Vec<Change> {
    let change = |record: &[u8]| {
        let kind = match record.get(..2)? {
            b"A " => "A",
            b"C " => "C",
            b"D " => "D",
            _ => return None,
        };
        // Names are the guest's: nothing in them controls a terminal.
        let path = String::from_utf8_lossy(record.get(2..)?);
        Some(Change { kind, path: path.chars().map(|c| if c.is_control() { '?' } else { c }).collect() })
    };
    told.split(|byte| *byte == 0).filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_and_nonsense_is_passed_over() {
        let told = parse(b"A /new\0C /a b\n\x1b[2J\0X /x\0D\0D /gone\0");
        let told: Vec<_> = told.iter().map(|change| (change.kind, change.path.as_str())).collect();
        assert_eq!(told, [("A", "/new"), ("C", "/a b??[2J"), ("D", "/gone")]);
    }
}
