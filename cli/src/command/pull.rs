//! `pull`: fetches an image whether the store has it or not.

use monocore_oci::{PullOptions, PullPolicy, Reference};
use monocore_orchestrator::Home;

use super::args::PullArgs;
use super::images::{Row, short};
use super::output::{self, Bars};
use super::store;

pub(super) fn main(args: &PullArgs) -> anyhow::Result<()> {
    let reference: Reference = args.image.parse()?;
    let store = store::open(&Home::locate()?)?;
    let options = PullOptions {
        policy: PullPolicy::Always,
        platform: store::platform(args.platform.as_deref())?,
        registry: store::registry_options(&args.registry, &reference),
    };
    let image = store::pull(&store, &reference, &options, &Bars::new(args.quiet))?;
    output::listing(args.output.format, &Row::new(&image), |row| match &row.reference {
        Some(reference) if !args.quiet => format!("{reference}: {}\n", short(&row.id)),
        _ => format!("{}\n", row.id),
    })
}
