//! Parts of the grammar that are built only for the verb that was typed. The whole grammar takes some milliseconds and a
//! megabyte, which `exec` would pay each time.

use std::ops::Deref;

use clap::builder::Resettable;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches, Subcommand};

/// Arguments, or subcommands, of a verb.
#[derive(Debug)]
pub(in crate::command) struct Lazy<T>(pub(in crate::command) T);

impl<T> Deref for Lazy<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: FromArgMatches> FromArgMatches for Lazy<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches_mut(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl<T: Args> Args for Lazy<T> {
    fn augment_args(command: Command) -> Command {
        command.defer(|command| keeping_about(command, T::augment_args))
    }

    fn augment_args_for_update(command: Command) -> Command {
        T::augment_args_for_update(command)
    }
}

impl<T: Subcommand> Subcommand for Lazy<T> {
    fn augment_subcommands(command: Command) -> Command {
        command.defer(|command| keeping_about(command, T::augment_subcommands))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        T::augment_subcommands_for_update(command)
    }

    fn has_subcommand(name: &str) -> bool {
        T::has_subcommand(name)
    }
}

/// Adds the arguments and keeps the verb's own description, which that of the arguments' type would replace.
fn keeping_about(command: Command, augment: impl Fn(Command) -> Command) -> Command {
    let (about, long_about) = (command.get_about().cloned(), command.get_long_about().cloned());
    let mut command = augment(command);
    if let Some(about) = about {
        command = command.about(about);
    }
    match long_about {
        Some(about) => command.long_about(about),
        None => command.long_about(Resettable::Reset),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// The description of the arguments.
    #[derive(Debug, Args)]
    struct Flags {
        /// A flag
        #[arg(long)]
        flag: bool,
    }

    #[derive(Debug, Subcommand)]
    enum Verb {
        /// The verb's own description
        Do(Lazy<Flags>),
    }

    #[derive(Debug, Parser)]
    struct Grammar {
        #[command(subcommand)]
        verb: Verb,
    }

    #[test]
    fn a_lazy_part_is_parsed_and_shown_as_any_other() {
        let Grammar { verb: Verb::Do(flags) } = Grammar::try_parse_from(["x", "do", "--flag"]).unwrap();
        assert!(flags.flag);
        let help = Grammar::try_parse_from(["x", "do", "--help"]).unwrap_err().to_string();
        assert!(help.starts_with("The verb's own description\n") && help.contains("A flag"), "{help}");
        assert!(Grammar::try_parse_from(["x", "do", "--flat"]).unwrap_err().to_string().contains("--flag"));
    }
}
