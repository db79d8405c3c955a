//! `tmp`: a sandbox for one look around, of which nothing stays.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use monocore_orchestrator::Home;

use super::RunArgs;
use crate::command::{shell, store};

#[derive(Debug, Args)]
#[command(override_usage = "monocore tmp [OPTIONS] IMAGE [COMMAND [ARG…]]")]
pub(crate) struct TmpArgs {
    /// Remove the image as well, if it was not in the store before
    #[arg(long)]
    rmi: bool,
    #[command(flatten)]
    run: RunArgs,
}

/// As `run -it IMAGE`, with a shell where no command is given.
pub(in crate::command) fn main(args: TmpArgs) -> ExitCode {
    match tmp(args) {
        Ok(code) => code,
        Err(error) => super::failure(&error),
    }
}

fn tmp(args: TmpArgs) -> anyhow::Result<ExitCode> {
    let TmpArgs { rmi, run: mut call } = args;
    ensure!(!call.detach, "--detach: a sandbox of `tmp` ends with its command; use `run -d`");
    call.interactive = true;
    call.tty |= io::stdin().is_terminal() && io::stdout().is_terminal();
    with_shell(&mut call);
    let image = call.words.first().filter(|_| call.rootfs.is_none());
    let image = image.and_then(|word| word.to_str()).map(str::to_owned);
    let home = Home::locate()?;
    let had_image = match &image {
        Some(name) if rmi => store::open(&home)?.find(name).is_ok(),
        _ => true,
    };
    let code = super::main(call);
    if let Some(name) = image.filter(|_| !had_image)
        && store::open(&home)?.find(&name).is_ok()
    {
        store::open(&home)?.remove(&name)?;
    }
    Ok(code)
}

/// A shell in the place of the image's entrypoint and command, where none is given.
fn with_shell(call: &mut RunArgs) {
    let is_bare = call.words.len() == usize::from(call.rootfs.is_none());
    if !is_bare || call.entrypoint.is_some() {
        return;
    }
    let mut words = shell::command(None).into_iter();
    let program = words.next();
    match call.rootfs {
        Some(_) => call.words.extend(program),
        None => call.entrypoint = program,
    }
    call.words.extend(words.collect::<Vec<OsString>>());
}
