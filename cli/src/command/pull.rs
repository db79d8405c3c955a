//! `pull`: fetches an image whether the store has it or not.

use monocore_orchestrator::Home;
use monocore_orchestrator::images::parse_platform;

use super::args::PullArgs;
use super::images::{Row, short};
use super::{output, store};

pub(super) fn main(args: &PullArgs) -> anyhow::Result<()> {
    let reference = args.image.parse()?;
    let platform = args.platform.as_deref().map(parse_platform).transpose()?;
    let image = store::images(&Home::locate()?, &args.registry, args.quiet).pull(&reference, platform)?;
    output::listing(args.output.format, &Row::new(&image), |row| match &row.reference {
        Some(reference) if !args.quiet => format!("{reference}: {}\n", short(&row.id)),
        _ => format!("{}\n", row.id),
    })
}
