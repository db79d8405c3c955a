//! `cp`: files between this machine and a sandbox.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use monocore_orchestrator::copy::{Copied, Copier, Source};
use monocore_orchestrator::session::Signals;
use monocore_orchestrator::{Home, Launcher, this_program};

use super::args::CpArgs;
use super::{named, output};

/// One side of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Side {
    /// A tar stream: standard input or output.
    Stream,
    Host(PathBuf),
    Guest {
        sandbox: String,
        path: Vec<u8>,
    },
}

pub(super) fn main(args: &CpArgs) -> anyhow::Result<()> {
    let (from, to) = (side(&args.source)?, side(&args.target)?);
    let sandbox = match (&from, &to) {
        (Side::Guest { .. }, Side::Guest { .. }) => bail!("copying between sandboxes is not supported"),
        (Side::Guest { sandbox, .. }, _) | (_, Side::Guest { sandbox, .. }) => sandbox.clone(),
        _ => bail!("must specify at least one sandbox: NAME:PATH"),
    };
    // Before any thread, so that every signal comes here.
    let signals = Signals::block()?;
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    let entry = named::find(&launcher.home, &sandbox)?;
    let copier = Copier { launcher: &launcher, entry: &entry, signals: &signals, owners: args.archive };
    let copied = match (&from, &to) {
        (Side::Guest { path, .. }, Side::Stream) => {
            let out = io::stdout().as_fd().try_clone_to_owned().context("duplicating standard output")?;
            copier.archive_out(&Source::new(path, args.follow_link), out)?
        }
        (Side::Stream, Side::Guest { path, .. }) => {
            let input = io::stdin().as_fd().try_clone_to_owned().context("duplicating standard input")?;
            copier.archive_in(input, path)?
        }
        (Side::Guest { path, .. }, Side::Host(target)) => {
            copier.to_host(&Source::new(path, args.follow_link), target)?
        }
        (Side::Host(source), Side::Guest { path, .. }) => {
            copier.to_guest(&host_source(source, args.follow_link)?, path)?
        }
        _ => Copied::default(),
    };
    for warning in &copied.warnings {
        output::warning(warning);
    }
    let is_stream = from == Side::Stream || to == Side::Stream;
    if !is_stream && !args.quiet && io::stdout().is_terminal() {
        output::print(&format!(
            "Successfully copied {} to {}\n",
            output::size(copied.bytes),
            args.target.display()
        ))?;
    }
    Ok(())
}

/// Reads `-`, `NAME:PATH` or a path of this machine; one with a `:` begins with `/` or `.`.
fn side(text: &OsStr) -> anyhow::Result<Side> {
    let bytes = text.as_bytes();
    if bytes == b"-" {
        return Ok(Side::Stream);
    }
    let colon = bytes.iter().position(|byte| *byte == b':');
    match colon {
        Some(at) if !matches!(bytes.first(), Some(b'/' | b'.')) => {
            let sandbox = String::from_utf8(bytes[..at].to_vec()).context("a sandbox's name is UTF-8")?;
            if sandbox.is_empty() {
                bail!("{}: give NAME:PATH", text.display());
            }
            Ok(Side::Guest { sandbox, path: [b"/", &bytes[at + 1..]].concat() })
        }
        _ if bytes.is_empty() => bail!("a path is empty"),
        _ => Ok(Side::Host(PathBuf::from(text))),
    }
}

/// A file of this machine, which must be there before a sandbox is asked.
fn host_source(path: &Path, follow: bool) -> anyhow::Result<Source> {
    std::fs::symlink_metadata(path).with_context(|| format!("lstat {}", path.display()))?;
    Ok(Source::new(path.as_os_str().as_bytes(), follow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_apart() {
        let of = |text: &str| side(OsStr::new(text)).unwrap();
        assert_eq!(of("-"), Side::Stream);
        let guest = |path: &[u8]| Side::Guest { sandbox: "web".into(), path: path.to_vec() };
        assert_eq!(of("web:/etc"), guest(b"//etc"));
        assert_eq!(of("web:etc/."), guest(b"/etc/."));
        assert_eq!(of("web:"), guest(b"/"));
        for host in ["./a:b", "/a:b", "a", "../x"] {
            assert_eq!(of(host), Side::Host(host.into()));
        }
        assert!(side(OsStr::new(":/x")).is_err() && side(OsStr::new("")).is_err());
    }
}
