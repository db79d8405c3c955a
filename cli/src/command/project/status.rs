//! `status`: the sandboxes of a project.

use std::time::SystemTime;

use monocore_orchestrator::Member;
use serde::Serialize;

use super::args::StatusFlags;
use super::{ProjectArgs, name, runner};
use crate::command::args::RegistryArgs;
use crate::command::output::{self, Table};
use crate::command::ps;

#[derive(Debug, Serialize)]
struct Row {
    service: String,
    name: String,
    id: String,
    image: String,
    status: &'static str,
    exit_code: Option<u8>,
    started_ms: Option<u64>,
    ports: Vec<String>,
    #[serde(skip)]
    text: String,
}

impl Row {
    fn new(member: &Member, now: SystemTime) -> Self {
        let entry = &member.entry;
        Self {
            service: member.service.clone(),
            name: entry.name.clone(),
            id: entry.id.clone(),
            image: entry.root.clone(),
            status: entry.state.status.name(),
            exit_code: entry.state.exit_code,
            started_ms: entry.state.started_ms,
            ports: ps::ports(entry),
            text: ps::status(entry, now),
        }
    }
}

pub(in crate::command) fn main(files: &ProjectArgs, args: &StatusFlags) -> anyhow::Result<()> {
    let now = SystemTime::now();
    let rows: Vec<_> = chosen(files, args)?.iter().map(|member| Row::new(member, now)).collect();
    output::listing(args.output.format, &rows, |rows| {
        let mut table = Table::new(&["SERVICE", "NAME", "IMAGE", "STATUS", "PORTS"]);
        for row in rows {
            table.row([
                row.service.clone(),
                row.name.clone(),
                row.image.clone(),
                row.text.clone(),
                row.ports.join(", "),
            ]);
        }
        table.to_string()
    })
}

/// The IDs of the same sandboxes.
///
/// # Errors
/// As [`main`].
pub(in crate::command) fn ids(files: &ProjectArgs, args: &StatusFlags) -> anyhow::Result<()> {
    output::print(
        &chosen(files, args)?.iter().map(|member| format!("{}\n", member.entry.id)).collect::<String>(),
    )
}

fn chosen(files: &ProjectArgs, args: &StatusFlags) -> anyhow::Result<Vec<Member>> {
    let runner = runner(&name(files)?, None, &RegistryArgs::default())?;
    let is_chosen = |member: &Member| {
        (args.services.is_empty() || args.services.contains(&member.service))
            && (member.is_running() || !args.running)
    };
    Ok(runner.members()?.into_iter().filter(is_chosen).collect())
}
