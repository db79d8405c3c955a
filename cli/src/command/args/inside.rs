//! Arguments of the verbs that look into one sandbox or change it.

use std::ffi::OsString;

use clap::Args;
use monocore_orchestrator::session::DetachKeys;
use monocore_orchestrator::spec::{self, RestartPolicy};

use super::FormatArgs;

#[derive(Debug, Args)]
#[command(
    override_usage = "monocore cp [OPTIONS] NAME:PATH PATH|-\n       monocore cp [OPTIONS] PATH|- NAME:PATH"
)]
pub(in crate::command) struct CpArgs {
    /// Keep owners and set-id bits; else files belong to root in the sandbox and to the caller on this machine
    #[arg(short, long)]
    pub(in crate::command) archive: bool,
    /// Copy what PATH leads to if it is a symbolic link
    #[arg(short = 'L', long)]
    pub(in crate::command) follow_link: bool,
    /// Do not tell how much was copied
    #[arg(short, long)]
    pub(in crate::command) quiet: bool,
    /// A file or directory, as PATH or NAME:PATH; DIRECTORY/. for only what is in it; - for a tar stream from standard input
    #[arg(value_name = "SOURCE")]
    pub(in crate::command) source: OsString,
    /// Where it goes; - for a tar stream to standard output
    #[arg(value_name = "TARGET")]
    pub(in crate::command) target: OsString,
}

#[derive(Debug, Args)]
pub(in crate::command) struct AttachArgs {
    /// Keys that leave the command without ending it
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub(in crate::command) detach_keys: DetachKeys,
    /// Do not pass standard input to the command
    #[arg(long)]
    pub(in crate::command) no_stdin: bool,
    /// Pass signals on to the command; with `false`, Ctrl-C ends only this
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(in crate::command) sig_proxy: bool,
    /// Name, ID, unique ID prefix, or service of the project here
    #[arg(value_name = "SANDBOX")]
    pub(in crate::command) sandbox: String,
}

#[derive(Debug, Args)]
pub(in crate::command) struct ShellArgs {
    /// Set an environment variable, or pass the caller's
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(in crate::command) env: Vec<OsString>,
    /// Working directory [default: the sandbox's]
    #[arg(short, long, value_name = "DIR")]
    pub(in crate::command) workdir: Option<String>,
    /// User [default: the sandbox's]
    #[arg(short, long, value_name = "NAME|UID[:GROUP|GID]")]
    pub(in crate::command) user: Option<String>,
    /// The shell [default: $SHELL of the sandbox, else bash, else sh]
    #[arg(long, value_name = "PROGRAM")]
    pub(in crate::command) shell: Option<OsString>,
    /// Name, ID, unique ID prefix, or service of the project here
    #[arg(value_name = "SANDBOX")]
    pub(in crate::command) sandbox: String,
}

#[derive(Debug, Args)]
pub(in crate::command) struct TopArgs {
    /// Name, ID, unique ID prefix, or service of the project here
    #[arg(value_name = "SANDBOX")]
    pub(in crate::command) sandbox: String,
    /// Options as of ps: -ef, aux, or -o with names of columns [default: -ef]
    #[arg(value_name = "PS OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(in crate::command) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct UpdateArgs {
    /// Memory: 512m, 2g; more than the machine of one that runs has, at its next start
    #[arg(short, long, alias = "mem", value_name = "SIZE", value_parser = spec::parse_ram_mib)]
    pub(in crate::command) memory: Option<u32>,
    /// How many CPUs, also parts: 2, 1.5; more than the machine of one that runs has, at its next start
    #[arg(long, value_name = "N", value_parser = spec::parse_cpu_limit)]
    pub(in crate::command) cpus: Option<spec::Cpus>,
    /// When to start the sandbox again after its command has ended: no, on-failure or on-failure:N, always, unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = spec::parse_restart)]
    pub(in crate::command) restart: Option<RestartPolicy>,
    /// Name, ID, unique ID prefix, or service of the project here
    #[arg(required = true, value_name = "SANDBOX")]
    pub(in crate::command) sandboxes: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct DiffArgs {
    /// Name, ID, unique ID prefix, or service of the project here
    #[arg(value_name = "SANDBOX")]
    pub(in crate::command) sandbox: String,
    #[command(flatten)]
    pub(in crate::command) output: FormatArgs,
}

#[derive(Debug, Args)]
pub(in crate::command) struct RenameArgs {
    /// Name, ID, unique ID prefix, or service of the project here
    #[arg(value_name = "SANDBOX")]
    pub(in crate::command) sandbox: String,
    /// The new name
    #[arg(value_name = "NEW_NAME", value_parser = spec::parse_name)]
    pub(in crate::command) name: String,
}
