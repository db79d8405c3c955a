//! `df`: what the state directory takes on disk.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use monocore_orchestrator::Home;
use serde::Serialize;

use super::args::FormatArgs;
use super::output::{self, Table};
use super::store;

#[derive(Debug, Serialize)]
struct Row {
    what: &'static str,
    bytes: u64,
    reclaimable_bytes: u64,
}

pub(super) fn main(args: FormatArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    let usage = store::open(&home)?.disk_usage()?;
    let row = |what, bytes| Row { what, bytes, reclaimable_bytes: 0 };
    let mut rows = vec![
        row("image blobs", usage.blobs_bytes),
        row("image contents", usage.layers_bytes + usage.images_bytes),
        row("unfinished downloads", usage.temporary_bytes),
        row("volumes", disk_usage(&home.volumes())),
        row("guest kernels", disk_usage(&home.kernel())),
        row("running sandboxes", disk_usage(&home.run())),
    ];
    let bytes = rows.iter().map(|row| row.bytes).sum();
    rows.push(Row { what: "total", bytes, reclaimable_bytes: usage.reclaimable_bytes });
    output::listing(args.format, &rows, |rows| {
        let mut table = Table::new(&["WHAT", "SIZE", "RECLAIMABLE"]);
        for row in rows {
            let reclaimable = match row.reclaimable_bytes {
                0 => String::new(),
                bytes => output::size(bytes),
            };
            table.row([row.what.to_owned(), output::size(row.bytes), reclaimable]);
        }
        table.to_string()
    })
}

/// Bytes on disk beneath `path`, holes not counted; what vanishes meanwhile or cannot be read counts nothing.
pub(super) fn disk_usage(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else { return 0 };
    let entries = if metadata.is_dir() { std::fs::read_dir(path).ok() } else { None };
    let below: u64 = entries.into_iter().flatten().flatten().map(|entry| disk_usage(&entry.path())).sum();
    metadata.blocks() * 512 + below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_cost_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("full"), vec![1; 64 << 10]).unwrap();
        std::fs::File::create(dir.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        let bytes = disk_usage(dir.path());
        assert!((64 << 10..1 << 20).contains(&bytes), "{bytes}");
        assert_eq!(disk_usage(&dir.path().join("missing")), 0);
    }
}
