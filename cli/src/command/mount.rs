//! `mount add`, `mount rm` and `mount ls`.

use monocore_orchestrator::spec::MountSource;
use monocore_orchestrator::{ControlClient, Error, Home, LiveMount, SandboxEntry};
use serde::Serialize;

use super::args::{MountAddArgs, MountCommand, MountLsArgs, MountRmArgs};
use super::named;
use super::output::{self, Table};

/// A mount as listings show it.
#[derive(Debug, Serialize)]
struct Row {
    source: String,
    target: String,
    read_only: bool,
    /// It was mounted while the sandbox ran.
    live: bool,
}

pub(super) fn main(command: &MountCommand) -> anyhow::Result<()> {
    match command {
        MountCommand::Add(args) => add(args),
        MountCommand::Rm(args) => rm(args),
        MountCommand::Ls(args) => ls(args),
    }
}

fn add(args: &MountAddArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    Ok(client(&home, &args.sandbox)?.add_mount(&home, &args.mount)?)
}

fn rm(args: &MountRmArgs) -> anyhow::Result<()> {
    Ok(client(&Home::locate()?, &args.sandbox)?.remove_mount(&args.target)?)
}

fn client(home: &Home, wanted: &str) -> Result<ControlClient, Error> {
    ControlClient::connect(home, &named::running(home, wanted)?)
}

fn ls(args: &MountLsArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    let entry = named::find(&home, &args.sandbox)?;
    let mut rows = from_the_start(&entry);
    if let Some(record) = &entry.running {
        rows.extend(ControlClient::connect(&home, record)?.mounts()?.into_iter().map(Row::from));
    }
    output::listing(args.output.format, &rows, |rows| {
        let mut table = Table::new(&["SOURCE", "TARGET", "MODE", "SINCE"]);
        for row in rows {
            let mode = if row.read_only { "ro" } else { "rw" };
            let since = if row.live { "mount add" } else { "start" };
            table.row([row.source.clone(), row.target.clone(), mode.to_owned(), since.to_owned()]);
        }
        table.to_string()
    })
}

/// What a kept sandbox mounts when it starts.
fn from_the_start(entry: &SandboxEntry) -> Vec<Row> {
    let mounts = entry.kept.iter().flat_map(|kept| &kept.record().spec.mounts);
    let shown = |source: &MountSource| match source {
        MountSource::Bind { path, .. } | MountSource::Socket(path) => path.display().to_string(),
        MountSource::Volume(name) => name.clone(),
        MountSource::Anonymous => "volume".to_owned(),
        MountSource::Tmpfs(_) => "tmpfs".to_owned(),
    };
    mounts
        .map(|mount| Row {
            source: shown(&mount.source),
            target: mount.target.clone(),
            read_only: mount.read_only,
            live: false,
        })
        .collect()
}

impl From<LiveMount> for Row {
    fn from(mount: LiveMount) -> Self {
        Self { source: mount.source, target: mount.target, read_only: mount.read_only, live: true }
    }
}
