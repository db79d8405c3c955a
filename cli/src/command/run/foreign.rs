//! Docker's flags of `run` and `create` that mean nothing to a virtual machine, or that monocore lacks: accepted where
//! ignoring them changes nothing for the user, else refused with the reason.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// A flag of Docker's.
#[derive(Clone, Copy, Debug)]
pub(in crate::command) struct ForeignFlag {
    pub(in crate::command) name: &'static str,
    short: Option<char>,
    takes_value: bool,
    pub(in crate::command) accepted: Accepted,
    pub(in crate::command) reason: &'static str,
}

/// With which values a flag is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::command) enum Accepted {
    Never,
    Always,
    /// With one of these.
    Values(&'static [&'static str]),
}

const fn flag(name: &'static str, accepted: Accepted, reason: &'static str) -> ForeignFlag {
    ForeignFlag { name, short: None, takes_value: true, accepted, reason }
}

const fn switch(name: &'static str, accepted: Accepted, reason: &'static str) -> ForeignFlag {
    ForeignFlag { name, short: None, takes_value: false, accepted, reason }
}

const WINDOWS: &str = "a flag of Windows hosts only";
const RATES: &str = "disk rates are not limited";
const WEIGHTS: &str = "weights among machines are the host's scheduler's to give";
const DEVICES: &str = "a sandbox has no devices of the host; share a directory or a socket with --volume";
const ADDRESSES: &str =
    "a sandbox's own network has fixed addresses; --group NAME,ip=ADDRESS gives one in a group";
const GROUPS: &str = "sandboxes reach each other by name in a group; see --group and monocore network";
const NAMESPACES: &str =
    "a sandbox is a machine of its own and shares no namespace with the host or with others";
const NO_SWAP: &str = "the guest has no swap, and the host takes back only what the guest gives up";

/// All of them, by name.
pub(in crate::command) const FOREIGN: &[ForeignFlag] = &[
    flag("annotation", Accepted::Always, "no other runtime reads it; use --label to find sandboxes by it"),
    flag("blkio-weight", Accepted::Always, WEIGHTS),
    flag("blkio-weight-device", Accepted::Always, WEIGHTS),
    flag("cgroup-parent", Accepted::Never, "the guest's control groups are its own"),
    flag("cgroupns", Accepted::Values(&["", "private"]), NAMESPACES),
    flag("cpu-count", Accepted::Never, WINDOWS),
    flag("cpu-percent", Accepted::Never, WINDOWS),
    flag("cpu-rt-period", Accepted::Never, "virtual CPUs have no real-time budget"),
    flag("cpu-rt-runtime", Accepted::Never, "virtual CPUs have no real-time budget"),
    ForeignFlag { short: Some('c'), ..flag("cpu-shares", Accepted::Always, WEIGHTS) },
    flag(
        "cpuset-cpus",
        Accepted::Never,
        "virtual CPUs are not bound to CPUs of the host; run monocore under taskset",
    ),
    flag(
        "cpuset-mems",
        Accepted::Never,
        "a guest's memory is not bound to a node; run monocore under numactl",
    ),
    flag(
        "detach-keys",
        Accepted::Always,
        "a sandbox in the background is left by the keys given to attach or exec; one in the foreground ends with its terminal",
    ),
    flag("device", Accepted::Never, DEVICES),
    flag("device-cgroup-rule", Accepted::Never, DEVICES),
    flag("device-read-bps", Accepted::Never, RATES),
    flag("device-read-iops", Accepted::Never, RATES),
    flag("device-write-bps", Accepted::Never, RATES),
    flag("device-write-iops", Accepted::Never, RATES),
    switch(
        "disable-content-trust",
        Accepted::Always,
        "signatures of Docker Content Trust are not checked, as is Docker's default",
    ),
    flag("gpus", Accepted::Never, "a sandbox has no GPU"),
    flag("io-maxbandwidth", Accepted::Never, WINDOWS),
    flag("io-maxiops", Accepted::Never, WINDOWS),
    flag("ip", Accepted::Never, ADDRESSES),
    flag("ip6", Accepted::Never, ADDRESSES),
    flag("ipc", Accepted::Values(&["", "none", "private", "shareable"]), NAMESPACES),
    flag("isolation", Accepted::Values(&["", "default"]), WINDOWS),
    flag(
        "kernel-memory",
        Accepted::Always,
        "the guest's kernel is part of --memory; Docker ignores the flag, too",
    ),
    flag("link", Accepted::Never, GROUPS),
    flag("link-local-ip", Accepted::Never, ADDRESSES),
    flag(
        "log-driver",
        Accepted::Values(&["json-file", "local"]),
        "output goes to files in Docker's json-file form",
    ),
    flag("log-opt", Accepted::Always, "files of the log are put aside at 16 MiB, and four of them are kept"),
    flag("mac-address", Accepted::Never, ADDRESSES),
    flag("memory-reservation", Accepted::Always, NO_SWAP),
    flag("memory-swap", Accepted::Always, NO_SWAP),
    flag("memory-swappiness", Accepted::Always, NO_SWAP),
    switch(
        "oom-kill-disable",
        Accepted::Never,
        "the guest's kernel must be able to end a process when memory is out",
    ),
    flag(
        "oom-score-adj",
        Accepted::Always,
        "the guest's kernel chooses among the sandbox's own processes only",
    ),
    flag("pid", Accepted::Values(&["", "private"]), NAMESPACES),
    flag("runtime", Accepted::Values(&["", "monocore"]), "monocore is the runtime"),
    flag(
        "sig-proxy",
        Accepted::Values(&["true"]),
        "in the foreground, signals are the command's; use run -d and attach --sig-proxy=false",
    ),
    switch("use-api-socket", Accepted::Never, "there is no daemon with a socket"),
    flag("userns", Accepted::Values(&["", "host", "private"]), NAMESPACES),
    flag("uts", Accepted::Values(&["", "private"]), NAMESPACES),
    flag("volume-driver", Accepted::Values(&["", "local"]), "volumes are directories of this machine"),
];

/// What was given of them: nothing that needs to be known any more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ForeignArgs(());

impl Args for ForeignArgs {
    fn augment_args(command: Command) -> Command {
        FOREIGN.iter().fold(command, |command, flag| {
            let arg = Arg::new(flag.name).long(flag.name).hide(true);
            let arg = match flag.short {
                Some(short) => arg.short(short),
                None => arg,
            };
            command.arg(match (flag.takes_value, flag.name) {
                // A flag that may stand alone.
                (_, "sig-proxy") => arg
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true")
                    .action(ArgAction::Append),
                (true, _) => arg.allow_hyphen_values(true).action(ArgAction::Append),
                (false, _) => arg
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("")
                    .action(ArgAction::Append),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ForeignArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        for flag in FOREIGN {
            for value in matches.get_many::<String>(flag.name).into_iter().flatten() {
                let accepted = match flag.accepted {
                    Accepted::Never => false,
                    Accepted::Always => true,
                    Accepted::Values(known) => known.contains(&value.as_str()),
                };
                if !accepted {
                    let text = format!("--{}: not supported: {}\n", flag.name, flag.reason);
                    return Err(clap::Error::raw(ErrorKind::InvalidValue, text));
                }
            }
        }
        Ok(Self(()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::command::args::Cli;

    /// `docker run --help` of the version that its first line names.
    const HELP: &str = include_str!("docker-run-help.txt");
    const GUIDE: &str = include_str!("../../../../docs/guide/docker.md");

    /// The long flags of Docker's.
    fn docker() -> Vec<String> {
        let flag = |line: &str| {
            let start = line.trim_start();
            let start = start.strip_prefix('-').filter(|_| line.starts_with("  ")).and_then(|rest| {
                rest.strip_prefix('-').or_else(|| rest.split_once("--").map(|(_, rest)| rest))
            })?;
            Some(start.split_whitespace().next()?.to_owned())
        };
        HELP.lines().filter_map(flag).collect()
    }

    /// What the guide says about each flag.
    fn guide() -> BTreeMap<String, String> {
        let row = |line: &str| {
            let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
            let flag = cells.next()?.strip_prefix("`--")?.split(['`', ' ']).next()?.to_owned();
            Some((flag, cells.next()?.to_owned()))
        };
        GUIDE.lines().filter_map(row).collect()
    }

    #[test]
    fn every_flag_of_dockers_works_or_is_accepted_or_refused_and_the_guide_says_which() {
        let (docker, guide) = (docker(), guide());
        assert!(docker.len() > 90, "{docker:?}");
        let mut command = Cli::command();
        command.build();
        let run = command.find_subcommand("run").unwrap();
        for name in &docker {
            let told = guide.get(name).unwrap_or_else(|| panic!("--{name} is not in the guide"));
            let foreign = FOREIGN.iter().find(|flag| flag.name == name);
            let wanted = match foreign.map(|flag| flag.accepted) {
                Some(Accepted::Never) => "refused",
                Some(Accepted::Always) => "accepted",
                Some(Accepted::Values(_)) => "in part",
                None => "works",
            };
            assert_eq!(told, wanted, "--{name}");
            let known = |arg: &Arg| {
                arg.get_long() == Some(name)
                    || arg.get_all_aliases().is_some_and(|all| all.contains(&name.as_str()))
            };
            assert!(run.get_arguments().any(known), "--{name} is not known to run");
        }
        for flag in FOREIGN {
            assert!(docker.contains(&flag.name.to_owned()), "--{} is none of Docker's", flag.name);
            assert!(GUIDE.contains(flag.reason), "the guide lacks the reason of --{}", flag.name);
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        let parse = |words: &str| {
            Cli::try_parse_from(format!("monocore run {words} alpine x").split(' '))
                .map(drop)
                .map_err(|error| error.to_string())
        };
        assert!(parse("--gpus all").unwrap_err().contains("--gpus: not supported: a sandbox has no GPU"));
        assert!(parse("--pid=host").unwrap_err().contains("--pid: not supported"));
        for accepted in [
            "--ipc=private",
            "-c 512",
            "--memory-swap -1",
            "--disable-content-trust",
            "--sig-proxy",
            "--disable-content-trust=false",
        ] {
            assert_eq!(parse(accepted), Ok(()), "{accepted}");
        }
        assert!(parse("--sig-proxy=false").unwrap_err().contains("attach"));
    }
}
