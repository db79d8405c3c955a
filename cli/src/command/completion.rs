//! `completion`: a shell's completions for both names of the program.

use clap::CommandFactory;

use super::args::{Cli, CompletionArgs};
use super::output;

pub(super) fn main(args: &CompletionArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    for name in ["monocore", "mc"] {
        clap_complete::generate(args.shell, &mut Cli::command(), name, &mut script);
    }
    output::print(&String::from_utf8(script)?)
}
