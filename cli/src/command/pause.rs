//! `pause` and `unpause`.

use monocore_orchestrator::{ControlClient, Error, Home};

use super::args::NamesArgs;
use super::{end, named, output};

pub(super) fn pause(args: &NamesArgs) -> anyhow::Result<()> {
    each(args, ControlClient::pause)
}

pub(super) fn unpause(args: &NamesArgs) -> anyhow::Result<()> {
    each(args, ControlClient::unpause)
}

/// Asks each of the sandboxes and prints its name, as Docker does.
fn each(args: &NamesArgs, ask: impl Fn(&ControlClient) -> Result<(), Error>) -> anyhow::Result<()> {
    let home = Home::locate()?;
    end::each(&args.sandboxes, |wanted| {
        let record = named::running(&home, wanted)?;
        ask(&ControlClient::connect(&home, &record)?)?;
        output::print(&format!("{wanted}\n"))
    })
}
