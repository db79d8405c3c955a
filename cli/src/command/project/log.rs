//! `log`: the output of a project's sandboxes, together.

use anyhow::Context;
use monocore_orchestrator::{Home, LogSelection, Member, SelectedLog};

use super::args::LogFlags;
use super::down::members_of;
use super::lines::{Output, Source};
use super::{LogArgs, ProjectArgs, name, runner};
use crate::command::args::RegistryArgs;
use crate::command::logs::Tail;

pub(in crate::command) fn main(args: &LogArgs) -> anyhow::Result<()> {
    let files = ProjectArgs { file: args.file.clone(), more: args.more.clone() };
    show(&files, &args.flags)
}

/// Shows the output of the project of `files`.
///
/// # Errors
/// There is no such project or service, or its logs cannot be read.
pub(in crate::command) fn show(files: &ProjectArgs, args: &LogFlags) -> anyhow::Result<()> {
    let members = chosen(files, args)?;
    let home = Home::locate()?;
    let names = members.iter().map(|member| member.entry.name.as_str());
    let output = Output::new(names, args.timestamps, args.no_prefix);
    let source = |index: usize, member: &Member| output.source(&member.entry.name, index, args.grep.as_ref());
    let mut readings = Vec::new();
    for (index, member) in members.iter().enumerate() {
        let Some(kept) = &member.entry.kept else { continue };
        let tail = match args.tail {
            Tail::All => None,
            Tail::Lines(count) => Some(count),
        };
        let selection = LogSelection { tail, since: args.since, follow: args.follow };
        let log = SelectedLog::open(&home, kept, selection, None)?;
        readings.push(Reading { log, source: source(index, member) });
    }
    if args.follow {
        return std::thread::scope(|scope| {
            let threads: Vec<_> =
                readings.into_iter().map(|reading| scope.spawn(|| reading.drain())).collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        });
    }
    by_time(readings)
}

fn chosen(files: &ProjectArgs, args: &LogFlags) -> anyhow::Result<Vec<Member>> {
    let services = members_of(files, &[], &args.services)?;
    let members = runner(&name(files)?, None, &RegistryArgs::default())?.members()?;
    let is_chosen = |member: &Member| services.is_empty() || services.contains(&member.service);
    Ok(members.into_iter().filter(is_chosen).collect())
}

/// One sandbox's log on its way out.
struct Reading<'a> {
    log: SelectedLog,
    source: Source<'a>,
}

impl Reading<'_> {
    fn drain(mut self) -> anyhow::Result<()> {
        while let Some(entry) = self.log.next_entry().context("reading the log")? {
            if !self.source.entry(&entry).context("writing the log")? {
                return Ok(());
            }
        }
        self.source.finish().context("writing the log")
    }
}

/// Writes what all of `readings` have, oldest first.
fn by_time(mut readings: Vec<Reading<'_>>) -> anyhow::Result<()> {
    let mut heads = Vec::new();
    for reading in &mut readings {
        heads.push(reading.log.next_entry().context("reading the log")?);
    }
    loop {
        let times = heads.iter().enumerate().filter_map(|(index, head)| Some((head.as_ref()?.time, index)));
        let Some((_, index)) = times.min() else { break };
        let reading = &mut readings[index];
        let next = reading.log.next_entry().context("reading the log")?;
        if let Some(entry) = std::mem::replace(&mut heads[index], next)
            && !reading.source.entry(&entry).context("writing the log")?
        {
            return Ok(());
        }
    }
    readings.iter_mut().try_for_each(|reading| reading.source.finish().context("writing the log"))
}
