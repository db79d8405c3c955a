//! `inspect` and `image inspect`.

pub(super) mod docker;

use monocore_oci::{Image, ImageConfig, LayerInfo};
use monocore_orchestrator::{Home, KeptSandbox, SandboxEntry};
use serde::Serialize;
use serde_json::Value;

use super::args::{Format, InspectArgs, InspectSandboxArgs};
use super::end;
use super::images::Row;
use super::named;
use super::output::{self, Table};
use super::store;

#[derive(Debug, Serialize)]
struct Details {
    #[serde(flatten)]
    row: Row,
    remote_digest: Option<String>,
    config: ImageConfig,
    layers: Vec<LayerInfo>,
    /// What was left out of the image when it was converted, and why.
    warnings: Vec<String>,
}

impl Details {
    fn new(image: &Image) -> anyhow::Result<Self> {
        Ok(Self {
            row: Row::new(image),
            remote_digest: image.remote_digest.map(|digest| digest.to_string()),
            config: image.config.clone(),
            layers: image.layers.clone(),
            warnings: image.warnings()?,
        })
    }
}

pub(super) fn main(args: &InspectArgs) -> anyhow::Result<()> {
    let store = store::open(&Home::locate()?)?;
    let found = args.images.iter().map(|name| Details::new(&store.find(name)?));
    let details: Vec<Details> = found.collect::<anyhow::Result<_>>()?;
    output::listing(args.format, &details, |details| {
        details.iter().map(|image| table(image).to_string()).collect()
    })
}

/// `inspect`: everything about sandboxes, under Docker's names and, in lower case, our own.
pub(super) fn sandboxes(args: &InspectSandboxArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    let mut found = Vec::with_capacity(args.sandboxes.len());
    let each = end::each(&args.sandboxes, |wanted| {
        found.push(shown(&home, &named::find(&home, wanted)?)?);
        Ok(())
    });
    // What was found is shown, whatever was not.
    match args.format {
        Format::Template(template) | Format::Columns(template) => output::inspected(template, &found)?,
        Format::Json | Format::Table => output::listing(Format::Json, &found, |_| String::new())?,
    }
    each
}

fn shown(home: &Home, entry: &SandboxEntry) -> anyhow::Result<Value> {
    let record = entry.kept.as_ref().map(KeptSandbox::record);
    let image = record.and_then(|record| record.image.as_deref());
    let found = image.and_then(|image| store::open(home).ok()?.find(image).ok());
    let image = found.map(|image| image.config.clone()).unwrap_or_default();
    let mut shown = docker::sandbox(home, entry, &image);
    shown["id"] = entry.id.clone().into();
    shown["name"] = entry.name.clone().into();
    shown["state"] = serde_json::to_value(&entry.state)?;
    // The record while it runs: its ports among others.
    shown["running"] = serde_json::to_value(&entry.running)?;
    // The description; absent for a sandbox that ends with its command.
    shown["record"] = serde_json::to_value(record)?;
    Ok(shown)
}

fn table(image: &Details) -> Table {
    let mut table = Table::new(&["FIELD", "VALUE"]);
    let config = &image.config;
    let mut field = |name: &str, value: String| {
        if !value.is_empty() {
            table.row([name.to_owned(), value]);
        }
    };
    field("reference", image.row.reference.clone().unwrap_or_default());
    field("id", image.row.id.clone());
    field("digest", image.row.digest.clone());
    field("platform", image.row.platform.clone());
    field("created", image.row.created.clone().unwrap_or_default());
    field("size", output::size(image.row.size));
    field("entrypoint", config.entrypoint.join(" "));
    field("command", config.cmd.join(" "));
    field("environment", config.env.join(" "));
    field("working directory", config.working_dir.clone());
    field("user", config.user.clone());
    field("stop signal", config.stop_signal.clone());
    field("volumes", config.volumes.join(" "));
    field("ports", config.exposed_ports.join(" "));
    for layer in &image.layers {
        field("layer", format!("{} {}", layer.digest, output::size(layer.size)));
    }
    for warning in &image.warnings {
        field("warning", warning.clone());
    }
    table
}
