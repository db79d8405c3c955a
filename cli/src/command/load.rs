//! `load`: takes in the images of an archive.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use anyhow::Context;
use monocore_orchestrator::Home;

use super::args::LoadArgs;
use super::images::{Row, short};
use super::output::{self, Bars};
use super::store;

pub(super) fn main(args: &LoadArgs) -> anyhow::Result<()> {
    let store = store::open(&Home::locate()?)?;
    let archive = match &args.input {
        Some(path) => File::open(path).with_context(|| format!("--input {}", path.display()))?,
        None => io::stdin().as_fd().try_clone_to_owned().context("duplicating standard input")?.into(),
    };
    let images = store.load(archive, &Bars::new(args.quiet)).map_err(monocore_orchestrator::Error::from)?;
    let rows: Vec<Row> = images.iter().map(Row::new).collect();
    output::listing(args.output.format, &rows, |rows| {
        let line = |row: &Row| match &row.reference {
            Some(reference) if !args.quiet => format!("loaded {reference} ({})\n", short(&row.id)),
            _ => format!("{}\n", row.id),
        };
        rows.iter().map(line).collect()
    })
}
