//! `image inspect`: an image's configuration and layers.

use monocore_oci::{Image, ImageConfig, LayerInfo};
use monocore_orchestrator::{Home, KeptRecord, Record, SandboxState, registry};
use serde::Serialize;

use super::args::{Format, InspectArgs, NamesArgs};
use super::images::Row;
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

/// A sandbox as `inspect` shows it.
#[derive(Debug, Serialize)]
struct Sandbox {
    id: String,
    name: String,
    state: SandboxState,
    /// Its record while it runs: its ports among others.
    running: Option<Record>,
    /// The description; absent for a sandbox that ends with its command.
    record: Option<KeptRecord>,
}

/// `inspect`: everything about sandboxes.
pub(super) fn sandboxes(args: &NamesArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    let mut found = Vec::with_capacity(args.sandboxes.len());
    for wanted in &args.sandboxes {
        let entry = registry::find(&home, wanted)?;
        found.push(Sandbox {
            id: entry.id,
            name: entry.name,
            state: entry.state,
            running: entry.running,
            record: entry.kept.map(|kept| kept.record().clone()),
        });
    }
    output::listing(Format::Json, &found, |_| String::new())
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
