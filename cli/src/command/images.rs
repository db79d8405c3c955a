//! `images`: what is in the store.

use std::collections::BTreeSet;

use monocore_oci::{Image, Reference};
use monocore_orchestrator::Home;
use serde::Serialize;
use serde_json::Value;

use super::args::ListArgs;
use super::output::{self, Table};
use super::store;

/// An image as listings show it.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) reference: Option<String>,
    pub(super) id: String,
    pub(super) digest: String,
    pub(super) platform: String,
    pub(super) created: Option<String>,
    /// Compressed, bytes.
    pub(super) size: u64,
}

impl Row {
    pub(super) fn new(image: &Image) -> Self {
        Self {
            reference: image.reference.as_deref().map(familiar),
            id: image.id.to_string(),
            digest: image.digest.to_string(),
            platform: image.platform.to_string(),
            created: image.created.clone(),
            size: image.size(),
        }
    }
}

pub(super) fn main(args: &ListArgs) -> anyhow::Result<()> {
    let store = store::open(&Home::locate()?)?;
    let mut rows: Vec<Row> = store.list()?.iter().map(Row::new).collect();
    rows.sort_by(|a, b| (&a.reference, &a.id).cmp(&(&b.reference, &b.id)));
    if args.quiet {
        let ids: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        return output::print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>());
    }
    let items = || rows.iter().map(docker).collect();
    output::listing_as(args.output.format, &rows, items, &HEADINGS, |rows| table(rows).to_string())
}

/// Docker's headings for the columns of a template.
const HEADINGS: [(&str, &str); 6] = [
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
];

/// An image with the fields that Docker's `images` gives to templates.
fn docker(row: &Row) -> Value {
    let none = || "<none>".to_owned();
    let reference = row.reference.as_deref().unwrap_or_default();
    let (name, digest) =
        reference.split_once('@').map_or((reference, None), |(name, digest)| (name, Some(digest)));
    // A colon before a slash is a registry's port.
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    };
    let is_named = !repository.is_empty();
    let tag = tag
        .map(str::to_owned)
        .unwrap_or_else(|| if is_named && digest.is_none() { "latest".to_owned() } else { none() });
    serde_json::json!({
        "ID": short(&row.id),
        "Repository": if is_named { repository.to_owned() } else { none() },
        "Tag": tag,
        "Digest": row.digest,
        "CreatedAt": row.created.clone().unwrap_or_default(),
        "Size": output::size(row.size),
        "Platform": row.platform,
    })
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&["IMAGE", "ID", "PLATFORM", "CREATED", "SIZE"]);
    for row in rows {
        table.row([
            row.reference.clone().unwrap_or_else(|| "<none>".into()),
            short(&row.id).to_owned(),
            row.platform.clone(),
            row.created.as_deref().and_then(|time| time.get(..10)).unwrap_or("").to_owned(),
            output::size(row.size),
        ]);
    }
    table
}

/// The twelve digits people tell images by.
pub(super) fn short(digest: &str) -> &str {
    let digits = digest.split_once(':').map_or(digest, |(_, digits)| digits);
    digits.get(..12).unwrap_or(digits)
}

/// A reference as people write it, without what Docker takes for granted.
pub(super) fn familiar(reference: &str) -> String {
    reference.parse::<Reference>().map_or_else(|_| reference.to_owned(), |reference| reference.familiar())
}
