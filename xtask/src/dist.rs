//! `cargo xtask dist`: what is published, in `target/dist`: the Python wheel, the npm package and, where it is asked for,
//! the program with its digest and signature.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::build;
use crate::digest::sha256_file;
use crate::process::{command, output, run as run_command, step};
use crate::project;
use crate::sdk;

/// What is signed is this and the program's SHA-256 as hexadecimal digits; `monocore self update` verifies it.
const CONTEXT: &str = "monocore-program-sha256:";

/// What `cargo xtask dist` is asked for.
#[derive(Args, Default)]
pub(crate) struct DistArgs {
    /// Build the program, too. Its public key is the base64 in the variable MONOCORE_PUBLIC_KEY.
    #[arg(long)]
    program: bool,
    /// The Ed25519 private key (PKCS #8, PEM) to sign the program with, as `openssl genpkey -algorithm ed25519` makes it.
    #[arg(long, requires = "program")]
    key: Option<PathBuf>,
}

/// The command of this name.
pub(crate) fn run(args: &DistArgs) -> Result<()> {
    sdk::check_generated()?;
    sdk::check_types()?;
    let dist = project::target_dir().join("dist");
    project::fresh_dir(&dist)?;
    let sdk = project::root().join("sdk");
    let wheel = step("Python wheel", || wheel(&sdk.join("python"), &dist))?;
    let package = step("npm package", || package(&sdk.join("typescript"), &dist))?;
    let mut published = vec![wheel, package];
    if args.program {
        // A key that cannot be read fails before the long part.
        let key = args.key.as_deref().map(read_key).transpose()?;
        published.push(program(&dist, key.as_ref())?);
    }
    for path in published {
        eprintln!("{}  {}", sha256_file(&path)?, path.display());
    }
    Ok(())
}

/// The program, as `self update` finds it: with the files of its digest and, if there is a key, of its signature.
fn program(dist: &Path, key: Option<&Ed25519KeyPair>) -> Result<PathBuf> {
    let built = step("monocore", || build::monocore(true))?;
    let name = format!("monocore-{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    let path = dist.join(&name);
    fs::copy(&built, &path).context("cannot copy the program")?;
    let digest = sha256_file(&path)?;
    fs::write(dist.join(format!("{name}.sha256")), format!("{digest}  {name}\n"))?;
    if let Some(key) = key {
        fs::write(dist.join(format!("{name}.sig")), sign(key, &digest))?;
        eprintln!("public key: {}", BASE64_STANDARD.encode(key.public_key()));
    }
    Ok(path)
}

fn read_key(path: &Path) -> Result<Ed25519KeyPair> {
    let cannot = || format!("{}", path.display());
    let text = fs::read_to_string(path).with_context(cannot)?;
    let lines = text.lines().filter(|line| !line.starts_with("-----"));
    let bytes = BASE64_STANDARD.decode(lines.collect::<String>()).with_context(cannot)?;
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&bytes)
        .map_err(|error| anyhow::anyhow!("{}: not an Ed25519 key: {error}", path.display()))
}

fn sign(key: &Ed25519KeyPair, digest: &str) -> String {
    format!("{}\n", BASE64_STANDARD.encode(key.sign(format!("{CONTEXT}{digest}").as_bytes())))
}

/// The same sources give the same bytes: hatchling and npm write fixed times.
fn wheel(sdk: &Path, dist: &Path) -> Result<PathBuf> {
    with_licence(sdk, || {
        let mut build = Command::new(sdk::python());
        build.args(["-m", "hatchling", "build", "--target", "wheel", "--directory"]).arg(dist);
        output(build.current_dir(sdk)).map(drop)
    })?;
    let wheel = only(dist, "whl")?;
    let mut import = Command::new(sdk::python());
    import.args(["-c", "import monocore, monocore.models"]).env("PYTHONPATH", &wheel);
    run_command(&mut import).context("the wheel cannot be imported")?;
    Ok(wheel)
}

fn package(sdk: &Path, dist: &Path) -> Result<PathBuf> {
    with_licence(sdk, || {
        let pack = ["pack", "--silent", "--ignore-scripts", "--pack-destination"];
        output(command("npm", pack).arg(dist).current_dir(sdk)).map(drop)
    })?;
    let package = only(dist, "tgz")?;
    let listed = output(command("tar", ["tzf"]).arg(&package))?;
    for file in ["LICENSE", "README.md", "package.json", "dist/src/index.js", "dist/src/index.d.ts"] {
        anyhow::ensure!(
            listed.lines().any(|line| line == format!("package/{file}")),
            "the npm package lacks {file}"
        );
    }
    Ok(package)
}

/// Does `work` with the project's licence in the folder.
fn with_licence(folder: &Path, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let licence = folder.join("LICENSE");
    fs::copy(project::root().join("LICENSE"), &licence).context("cannot copy the licence")?;
    let worked = work();
    fs::remove_file(licence)?;
    worked
}

fn only(dist: &Path, extension: &str) -> Result<PathBuf> {
    let mut paths = fs::read_dir(dist)?.map(|entry| entry.map(|entry| entry.path()));
    let found = paths.find(|path| {
        path.as_ref().is_ok_and(|path| path.extension().is_some_and(|found| found == extension))
    });
    Ok(found.with_context(|| format!("no .{extension} was made"))??)
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    /// As `openssl genpkey -algorithm ed25519` writes it: the first test of RFC 8032, section 7.1.
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
                       MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                       -----END PRIVATE KEY-----\n";

    #[test]
    fn a_key_of_openssl_signs_a_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        fs::write(&path, KEY).unwrap();
        let key = read_key(&path).unwrap();
        assert_eq!(key.public_key().as_ref()[..4], [0xd7, 0x5a, 0x98, 0x01]);
        let signature = BASE64_STANDARD.decode(sign(&key, "00ff").trim()).unwrap();
        let public = UnparsedPublicKey::new(&ED25519, key.public_key());
        public.verify(b"monocore-program-sha256:00ff", &signature).unwrap();
        fs::write(&path, "no key").unwrap();
        assert!(read_key(&path).is_err());
    }
}
