//! `token`: who may use the REST API from elsewhere.

use monocore_orchestrator::Home;
use monocore_server::tokens;
use serde::Serialize;

use super::args::TokenCommand;
use super::output::{self, Table};

#[derive(Debug, Serialize)]
struct Row {
    id: String,
    name: String,
    scope: &'static str,
    created_ms: u64,
}

pub(super) fn main(command: &TokenCommand) -> anyhow::Result<()> {
    let home = Home::locate()?;
    match command {
        TokenCommand::Create(args) => {
            let (_, text) = tokens::create(&home, &args.name, args.scope)?;
            output::print(&format!("{text}\n"))
        }
        TokenCommand::Ls(args) => {
            let row = |token: tokens::Token| Row {
                id: token.id,
                name: token.name,
                scope: token.scope.name(),
                created_ms: token.created_ms,
            };
            let rows: Vec<Row> = tokens::list(&home)?.into_iter().map(row).collect();
            output::listing(args.format, &rows, |rows| {
                let mut table = Table::new(&["TOKEN ID", "NAME", "SCOPE"]);
                for row in rows {
                    table.row([row.id.clone(), row.name.clone(), row.scope.to_owned()]);
                }
                table.to_string()
            })
        }
        TokenCommand::Rm(args) => super::end::each(&args.ids, |id| {
            tokens::remove(&home, id)?;
            output::print(&format!("{id}\n"))
        }),
    }
}
