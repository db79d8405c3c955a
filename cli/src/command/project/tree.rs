//! `tree`: groups, services and what they need.

use std::fmt::Write;

use monocore_orchestrator::config::{Condition, Monocore, Service};

use super::{TreeArgs, load};
use crate::command::output;

pub(in crate::command) fn main(args: &TreeArgs) -> anyhow::Result<()> {
    let project = load(&args.project)?;
    output::listing(args.output.format, &project.config, |config| draw(&project.name, config))
}

fn draw(name: &str, config: &Monocore) -> String {
    let mut text = format!("{name}\n");
    let mut branches: Vec<(String, Vec<&Service>)> = config
        .groups
        .iter()
        .map(|group| (format!("group {}", group.name), config.members(&group.name).collect()))
        .collect();
    let alone: Vec<_> = config.services.iter().filter(|service| service.groups.is_empty()).collect();
    if !alone.is_empty() {
        branches.push(("without a group".to_owned(), alone));
    }
    let count = branches.len();
    for (index, (title, services)) in branches.into_iter().enumerate() {
        let (mark, indent) = branch(index + 1 == count);
        let _ = writeln!(text, "{mark}{title}");
        for (place, service) in services.iter().enumerate() {
            let (mark, deeper) = branch(place + 1 == services.len());
            let _ = writeln!(text, "{indent}{mark}{} ({})", service.name, service.base);
            let needs: Vec<_> = service.depends_on.iter().collect();
            for (place, (needed, how)) in needs.iter().enumerate() {
                let (mark, _) = branch(place + 1 == needs.len());
                let condition = match how.condition {
                    Condition::Started => "",
                    Condition::Healthy => ", healthy",
                    Condition::Completed => ", completed",
                };
                let _ = writeln!(text, "{indent}{deeper}{mark}needs {needed}{condition}");
            }
        }
    }
    text
}

/// What leads to an entry, and what comes before the lines below it.
fn branch(is_last: bool) -> (&'static str, &'static str) {
    if is_last { ("└── ", "    ") } else { ("├── ", "│   ") }
}
