//! `save`: writes images to an archive.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};

use anyhow::{Context, bail};
use monocore_oci::SaveFormat;
use monocore_orchestrator::Home;

use super::args::{ArchiveKind, SaveArgs};
use super::store;

pub(super) fn main(args: &SaveArgs) -> anyhow::Result<()> {
    let store = store::open(&Home::locate()?)?;
    let format = match args.kind {
        ArchiveKind::Docker => SaveFormat::Docker,
        ArchiveKind::Oci => SaveFormat::Oci,
    };
    let names: Vec<&str> = args.images.iter().map(String::as_str).collect();
    let Some(path) = &args.output else {
        let stdout = io::stdout().lock();
        if stdout.is_terminal() {
            bail!("an archive does not belong on a terminal: name a file with --output, or redirect");
        }
        let mut stdout = BufWriter::new(stdout);
        store.save(&names, format, &mut stdout)?;
        return stdout.flush().context("writing to standard output");
    };
    let shown = || format!("--output {}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(shown)?);
    let saved = store.save(&names, format, &mut file).map_err(anyhow::Error::from);
    let saved = saved.and_then(|_| file.flush().with_context(shown));
    if saved.is_err() {
        // Half an archive is worse than none; the error that made it so is the one to report.
        let _ = std::fs::remove_file(path);
    }
    saved
}
