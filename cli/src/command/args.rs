//! The command line's grammar.

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::run::RunArgs;

/// Run OCI images as microVM sandboxes.
#[derive(Debug, Parser)]
#[command(name = "monocore", version, max_term_width = 120, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a command in a new sandbox
    Run(Box<RunArgs>),
    /// Fetch an image from a registry
    Pull(PullArgs),
    /// List the images in the store
    Images(ListArgs),
    /// Remove images from the store
    Rmi(RmiArgs),
    /// Look at one image
    #[command(subcommand)]
    Image(ImageCommand),
    /// Remove what no image in the store needs
    Prune(PruneArgs),
    /// Show what the state directory takes
    Df(FormatArgs),
    /// Say whether this machine can run sandboxes, and why not
    Doctor(FormatArgs),
    /// Show versions
    Version(FormatArgs),
    /// Write a shell's completions to standard output
    Completion(CompletionArgs),
}

/// How a listing is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct FormatArgs {
    /// How to write the result
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct PullArgs {
    /// For instance alpine, python:3.12 or ghcr.io/owner/name@sha256:…
    pub(super) image: String,
    /// The image for another machine, for instance linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    pub(super) platform: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) registry: RegistryArgs,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// How registries are reached.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RegistryArgs {
    /// Speak plain HTTP to the image's registry (one on this machine needs no leave)
    #[arg(long)]
    pub(super) insecure: bool,
    /// Ask this mirror first, for instance docker.io=https://mirror.example
    #[arg(long, value_name = "REGISTRY=URL", env = "MONOCORE_MIRRORS", value_delimiter = ',', value_parser = parse_mirror)]
    pub(super) mirror: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Show digests only
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

#[derive(Debug, Args)]
pub(super) struct RmiArgs {
    /// Names or digests
    #[arg(required = true, value_name = "IMAGE")]
    pub(super) images: Vec<String>,
    /// Be content if an image is not there
    #[arg(short, long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum ImageCommand {
    /// Show an image's configuration and layers
    Inspect(InspectArgs),
    /// List the images in the store
    Ls(ListArgs),
    /// Remove images from the store
    Rm(RmiArgs),
}

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Names or digests
    #[arg(required = true, value_name = "IMAGE")]
    pub(super) images: Vec<String>,
    /// How to write the result
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub(super) format: Format,
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct PruneArgs {
    /// Remove every image, not only what belongs to none
    #[arg(short, long)]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

#[derive(Debug, Args)]
pub(super) struct CompletionArgs {
    /// Which shell
    #[arg(value_enum)]
    pub(super) shell: clap_complete::Shell,
}

fn parse_mirror(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((registry, url)) if !registry.is_empty() && !url.is_empty() => Ok((registry.into(), url.into())),
        _ => Err("give REGISTRY=URL, for instance docker.io=https://mirror.example".to_owned()),
    }
}
