//! `self update` and `self uninstall`: the program on this machine.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use clap::Args;
use monocore_oci::{Digest, digest_of_reader, download};
use monocore_orchestrator::{Home, registry};

use super::Units;
use super::signature::{self, PublicKey};
use crate::command::output;

/// The longest program that is taken, bytes.
const MAX_PROGRAM_BYTES: u64 = 1 << 30;
/// The longest file of a digest, bytes.
const MAX_DIGEST_BYTES: u64 = 4 << 10;

#[derive(Debug, Args)]
pub(in crate::command) struct UpdateArgs {
    /// Address of the program; {os} and {arch} become this machine's. Its SHA-256 is at the same address with .sha256,
    /// the signature of that with .sig
    #[arg(long, value_name = "URL", env = "MONOCORE_UPDATE_URL")]
    url: String,
    /// The publisher's public key (Ed25519, base64) instead of this program's
    #[arg(long, value_name = "FILE", env = "MONOCORE_UPDATE_KEY")]
    key: Option<PathBuf>,
    /// Only say whether there is another program
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Args)]
pub(in crate::command) struct UninstallArgs {
    /// Ask nothing
    #[arg(short, long)]
    yes: bool,
    /// Remove the state directory, too: sandboxes, images, volumes
    #[arg(long)]
    data: bool,
}

pub(super) fn update(args: &UpdateArgs) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("finding this program")?;
    let url = args.url.replace("{os}", std::env::consts::OS).replace("{arch}", std::env::consts::ARCH);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut published = Vec::new();
    runtime.block_on(download(&format!("{url}.sha256"), MAX_DIGEST_BYTES, &mut published))?;
    let published = digest_of(&published).with_context(|| format!("{url}.sha256"))?;
    if published == hash(&program)? {
        return output::print("monocore is up to date\n");
    }
    if args.check {
        return output::print(&format!("another program is at {url}\n"));
    }
    let key = PublicKey::find(args.key.as_deref())?;
    let mut signature = Vec::new();
    runtime.block_on(download(&format!("{url}.sig"), signature::MAX_BYTES, &mut signature))?;
    key.verify(&published, &signature).with_context(|| format!("{url}.sig; nothing was changed"))?;
    // In the program's directory, so that it can take the program's place in one step.
    let dir = program.parent().context("finding this program's directory")?;
    let file = tempfile::Builder::new().prefix(".monocore-update").tempfile_in(dir);
    let mut file = file.with_context(|| format!("cannot write to {}", dir.display()))?;
    let arrived = runtime.block_on(download(&url, MAX_PROGRAM_BYTES, file.as_file_mut()))?;
    ensure!(
        arrived == published,
        "{url} failed verification: its SHA-256 is {}, published is {}; nothing was changed",
        arrived.hex(),
        published.hex()
    );
    let mode = std::fs::metadata(&program).map_or(0o755, |there| there.permissions().mode() & 0o777);
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode | 0o500))?;
    file.as_file().sync_all().context("writing the program")?;
    // A file that is open for writing cannot be run.
    let fresh = file.into_temp_path();
    let version = version_of(&fresh)?;
    fresh.persist(&program).with_context(|| format!("cannot replace {}", program.display()))?;
    File::open(dir).and_then(|dir| dir.sync_all()).context("writing the program's directory")?;
    output::print(&format!("{}: {version}\n", program.display()))?;
    output::note("sandboxes that run go on with the program that started them");
    Ok(())
}

/// The digest in a file such as sha256sum(1) writes.
fn digest_of(text: &[u8]) -> anyhow::Result<Digest> {
    let text = std::str::from_utf8(text).context("not the text of a SHA-256")?;
    let word = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    format!("sha256:{word}").parse().map_err(|problem: &str| anyhow::anyhow!("not a SHA-256: {problem}"))
}

fn hash(path: &Path) -> anyhow::Result<Digest> {
    let cannot = || format!("cannot read {}", path.display());
    digest_of_reader(File::open(path).with_context(cannot)?).with_context(cannot)
}

/// The first line of what a program says about its version; one that does not start says nothing.
fn version_of(program: &Path) -> anyhow::Result<String> {
    let said = Command::new(program).arg("version").output();
    let said = said.context("the new program does not start; nothing was changed")?;
    ensure!(said.status.success(), "the new program does not work; nothing was changed");
    Ok(String::from_utf8_lossy(&said.stdout).lines().next().unwrap_or_default().to_owned())
}

pub(super) fn uninstall(args: &UninstallArgs) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("finding this program")?;
    let home = Home::locate()?;
    let running = registry::list(&home)?.into_iter().filter(|entry| entry.running.is_some());
    let running: Vec<_> = running.map(|entry| entry.name).collect();
    ensure!(running.is_empty(), "stop these sandboxes first: {}", running.join(", "));
    let mut gone = vec![program];
    gone.extend(names_of(&gone[0]));
    let units = Units::locate()?;
    gone.extend(units.all_files().filter(|path| path.symlink_metadata().is_ok()));
    if args.data {
        gone.push(home.root().to_owned());
    }
    if !args.yes {
        ask(&gone)?;
    }
    for path in &gone {
        let removed = match path.symlink_metadata().is_ok_and(|there| there.is_dir()) {
            true => std::fs::remove_dir_all(path),
            false => std::fs::remove_file(path),
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
        output::print(&format!("removed {}\n", path.display()))?;
    }
    if !args.data {
        output::note(&format!("sandboxes, images and volumes stay in {}", home.root().display()));
    }
    Ok(())
}

/// Links beside the program that lead to it, such as `mc`.
fn names_of(program: &Path) -> Vec<PathBuf> {
    let Some(dir) = program.parent() else { return Vec::new() };
    let links = ["mc", "monocore"].map(|name| dir.join(name)).into_iter();
    links
        .filter(|link| link != program && link.is_symlink())
        .filter(|link| link.canonicalize().is_ok_and(|leads| leads == program))
        .collect()
}

fn ask(gone: &[PathBuf]) -> anyhow::Result<()> {
    ensure!(io::stdin().is_terminal(), "nobody is there to ask: confirm with --yes");
    let mut stderr = io::stderr().lock();
    writeln!(stderr, "This removes:")?;
    for path in gone {
        writeln!(stderr, "  {}", path.display())?;
    }
    write!(stderr, "Go on? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("reading the answer")?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => bail!("nothing was removed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_sha256sum_writes_it() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [format!("{hex}  monocore\n"), hex.to_uppercase(), format!("{hex} *monocore")] {
            assert_eq!(digest_of(text.as_bytes()).unwrap().hex(), hex);
        }
        for bad in ["", "monocore", "<html>"] {
            assert!(digest_of(bad.as_bytes()).is_err());
        }
    }
}
