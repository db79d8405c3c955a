//! `volume`: create, ls, inspect, rm, prune.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use monocore_orchestrator::volume::{self, Volume};
use monocore_orchestrator::{Error, Home};
use serde_json::{Value, json};

use super::args::{Format, VolumeCommand, VolumeListArgs, VolumePruneArgs, VolumeRmArgs};
use super::output::{self, Table};
use super::{df, end};

pub(super) fn main(command: &VolumeCommand) -> anyhow::Result<()> {
    let home = Home::locate()?;
    match command {
        VolumeCommand::Create(args) => {
            let name = args.name.as_deref().or(args.named.as_deref());
            let name = volume::create(&home, name, args.label.iter().cloned().collect())?;
            output::print(&format!("{name}\n"))
        }
        VolumeCommand::Ls(args) => list(&home, args),
        VolumeCommand::Inspect(args) => {
            let mut found = Vec::new();
            let each = end::each(&args.volumes, |name| {
                found.push(inspected(&volume::find(&home, name)?));
                Ok(())
            });
            match args.format {
                Format::Template(template) | Format::Columns(template) => {
                    output::inspected(template, &found)?
                }
                Format::Json | Format::Table => output::listing(Format::Json, &found, |_| String::new())?,
            }
            each
        }
        VolumeCommand::Rm(args) => remove(&home, args),
        VolumeCommand::Prune(args) => prune(&home, args),
    }
}

/// A property of volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Name(String),
    Label(String, Option<String>),
    Dangling(bool),
    Driver(String),
}

/// Reads `name=`, `label=`, `dangling=` or `driver=`.
pub(super) fn parse_filter(text: &str) -> Result<Filter, String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    Ok(match (key, value) {
        ("name", name) => Filter::Name(name.to_owned()),
        ("driver", name) => Filter::Driver(name.to_owned()),
        ("dangling", "true" | "1") => Filter::Dangling(true),
        ("dangling", "false" | "0") => Filter::Dangling(false),
        ("label", label) if !label.is_empty() => match label.split_once('=') {
            Some((key, value)) => Filter::Label(key.to_owned(), Some(value.to_owned())),
            None => Filter::Label(label.to_owned(), None),
        },
        _ => {
            return Err(format!(
                "invalid filter '{key}': give name=TEXT, label=KEY[=VALUE], dangling=true|false or driver=local"
            ));
        }
    })
}

impl Filter {
    fn takes(&self, volume: &Volume) -> bool {
        match self {
            Self::Name(name) => volume.name.contains(name.as_str()),
            Self::Driver(name) => name == "local",
            Self::Dangling(dangling) => volume.users.is_empty() == *dangling,
            Self::Label(key, value) => {
                volume.labels.get(key).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            }
        }
    }
}

/// Docker's headings for the columns of a template.
const HEADINGS: [(&str, &str); 6] = [
    ("Name", "VOLUME NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
];

fn list(home: &Home, args: &VolumeListArgs) -> anyhow::Result<()> {
    let mut volumes = volume::list(home)?;
    volumes.retain(|volume| args.filter.iter().all(|filter| filter.takes(volume)));
    if args.quiet {
        return output::print(&volumes.iter().map(|volume| format!("{}\n", volume.name)).collect::<String>());
    }
    let values: Vec<Value> = volumes.iter().map(inspected).collect();
    let items = || volumes.iter().map(listed).collect();
    output::listing_as(args.output.format, &values, items, &HEADINGS, |_| {
        let mut table = Table::new(&["DRIVER", "VOLUME NAME"]);
        for volume in &volumes {
            table.row(["local".to_owned(), volume.name.clone()]);
        }
        table.to_string()
    })
}

/// A volume with the fields that Docker's `volume ls` gives to templates.
fn listed(volume: &Volume) -> Value {
    let labels: Vec<String> = volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "Name": volume.name, "Driver": "local", "Scope": "local", "Mountpoint": volume.data,
        "Labels": labels.join(","), "Links": volume.users.len().to_string(), "Size": "N/A",
    })
}

fn inspected(volume: &Volume) -> Value {
    let created = UNIX_EPOCH + Duration::from_millis(volume.created_ms);
    json!({
        "CreatedAt": humantime::format_rfc3339_seconds(created).to_string(),
        "Driver": "local",
        "Labels": volume.labels,
        "Mountpoint": volume.data,
        "Name": volume.name,
        "Options": Value::Null,
        "Scope": "local",
        "UsedBy": volume.users,
    })
}

fn remove(home: &Home, args: &VolumeRmArgs) -> anyhow::Result<()> {
    end::each(&args.volumes, |name| match volume::remove_unused(home, name) {
        Err(Error::NoVolume(_)) if args.force => Ok(()),
        other => {
            other?;
            output::print(&format!("{name}\n"))
        }
    })
}

fn prune(home: &Home, args: &VolumePruneArgs) -> anyhow::Result<()> {
    let mut removed = BTreeMap::new();
    let unused = volume::list(home)?.into_iter().filter(|volume| {
        volume.users.is_empty()
            && (args.all || volume.is_anonymous)
            && args.filter.iter().all(|filter| filter.takes(volume))
    });
    for volume in unused {
        let bytes = df::disk_usage(volume.data.parent().unwrap_or(Path::new("")));
        match volume::remove_unused(home, &volume.name) {
            Ok(()) => {
                removed.insert(volume.name, bytes);
            }
            // A sandbox was made meanwhile, or somebody else removed it.
            Err(Error::VolumeInUse { .. } | Error::NoVolume(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut text = String::new();
    if !removed.is_empty() {
        let names: String = removed.keys().map(|name| format!("{name}\n")).collect();
        text = format!("Deleted Volumes:\n{names}\n");
    }
    let bytes = removed.values().sum();
    output::print(&format!("{text}Total reclaimed space: {}\n", output::size(bytes)))
}
