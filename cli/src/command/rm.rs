//! `rm`: removes sandboxes.

use monocore_orchestrator::{Error, Home, registry};

use super::args::RmArgs;
use super::{end, output};

const SIGKILL: u8 = 9;

pub(super) fn main(args: &RmArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    end::each(&args.sandboxes, |wanted| {
        let entry = match registry::find(&home, wanted) {
            Err(Error::NoSandbox(_)) if args.force => return Ok(()),
            other => other?,
        };
        if entry.running.is_some() {
            if !args.force {
                return Err(Error::StillRunning(entry.name).into());
            }
            end::stop_with(&home, &entry, Some(SIGKILL), None)?;
        }
        if let Some(kept) = &entry.kept {
            match registry::remove(&home, kept) {
                // It was to go with its command, and has.
                Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        output::print(&format!("{wanted}\n"))
    })
}
