//! `update`: memory, processors and restart policy of sandboxes that exist.

use anyhow::{Context, bail};
use monocore_orchestrator::{Applied, Home};

use super::args::UpdateArgs;
use super::{end, named, output};

pub(super) fn main(args: &UpdateArgs) -> anyhow::Result<()> {
    if args.memory.is_none() && args.cpus.is_none() && args.restart.is_none() {
        bail!("you must provide one or more flags when using this command");
    }
    let home = Home::locate()?;
    end::each(&args.sandboxes, |wanted| {
        let entry = named::find(&home, wanted)?;
        let kept = entry.kept.as_ref().with_context(|| {
            format!("sandbox {} runs in the foreground: it ends with its command", entry.name)
        })?;
        if kept.record().auto_remove && args.restart.is_some_and(|policy| policy.name() != "no") {
            bail!("restart policy cannot be updated because AutoRemove is enabled for the sandbox");
        }
        let applied = monocore_orchestrator::update(&home, &entry, kept, |spec| {
            spec.machine.ram_mib = args.memory.unwrap_or(spec.machine.ram_mib);
            if let Some(cpus) = args.cpus {
                (spec.machine.vcpus, spec.machine.cpu_millis) = (cpus.vcpus, cpus.limit_millis);
            }
            spec.restart = args.restart.unwrap_or(spec.restart);
        })?;
        if applied == Applied::AtNextStart {
            output::warning(&format!(
                "sandbox {} runs in a smaller machine: its memory and processors change at its next start",
                entry.name
            ));
        }
        output::print(&format!("{wanted}\n"))
    })
}
