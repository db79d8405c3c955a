//! `cargo xtask build`: the static `monocore` binary with kernel and init inside.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::guest;
use crate::kernel::Arch;
use crate::process::run as run_command;
use crate::project;

/// What `cargo xtask build` is asked for.
#[derive(Args)]
pub(crate) struct BuildArgs {
    /// Optimize as for a release.
    #[arg(long)]
    release: bool,
}

/// A package's binary, and how it is built.
pub(crate) struct Package<'a> {
    /// The package.
    pub(crate) name: &'a str,
    /// Its binary.
    pub(crate) binary: &'a str,
    /// Cargo's profile.
    pub(crate) profile: &'a str,
}

/// The command of this name.
pub(crate) fn run(args: &BuildArgs) -> Result<()> {
    let binary = monocore(args.release)?;
    eprintln!("{}", binary.display());
    Ok(())
}

/// The guest and the binary around it.
pub(crate) fn monocore(release: bool) -> Result<PathBuf> {
    guest::build()?;
    static_binary(
        Arch::host(),
        &Package {
            name: "monocore-cli",
            binary: "monocore",
            profile: if release { "release" } else { "dev" },
        },
    )
}

/// Builds a package as a static executable and says where it is.
pub(crate) fn static_binary(arch: Arch, package: &Package<'_>) -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", arch.name());
    let mut cargo = project::cargo();
    cargo.args([
        "build",
        "--package",
        package.name,
        "--bin",
        package.binary,
        "--profile",
        package.profile,
        "--target",
        &triple,
    ]);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    run_command(&mut cargo)?;
    let folder = if package.profile == "dev" { "debug" } else { package.profile };
    Ok(project::target_dir().join(triple).join(folder).join(package.binary))
}
