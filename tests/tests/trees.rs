//! What a guest sees of an image, compared with what umoci unpacks: entry by entry, `/` included.
//!
//! The lister is a program of this machine; it and its libraries are shared into the guest below `/dev`, so that nothing
//! is added to the image's own tree.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::process::Command;

use monocore_test_images::image::{Compression, layout, pack};
use monocore_test_images::rich::{self, Layers};
use monocore_tests::tree;
use monocore_tests::world::World;
use serde_json::json;

/// What no image has and every guest needs: mount points and the files the runtime provides.
const RUNTIME: &[&str] = &["dev", "proc", "sys", "etc"];

#[test]
fn whiteouts_and_replacements() {
    compare("whiteouts", &rich::whiteouts_and_replacements());
}

#[test]
fn metadata_of_every_kind() {
    compare("metadata", &rich::metadata_of_every_kind());
}

#[test]
fn contents_sparse_and_dense() {
    compare("contents", &rich::contents_sparse_and_dense());
}

fn compare(name: &str, layers: &Layers) {
    let work = tempfile::tempdir().unwrap();
    let expected = unpacked(layers, work.path());
    assert!(expected.len() > 10, "umoci unpacked {} entries", expected.len());
    let seen = in_guest(name, layers, work.path());
    let missing: Vec<_> = expected.iter().filter(|line| !seen.contains(line)).take(8).collect();
    let surplus: Vec<_> = seen.iter().filter(|line| !expected.contains(line)).take(8).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "umoci only: {missing:#?}\nguest only: {surplus:#?}");
}

/// What umoci makes of the layers.
fn unpacked(layers: &Layers, work: &Path) -> Vec<String> {
    // This umoci knows no zstd; the archives are the same.
    let packed: Vec<_> = layers.iter().map(|(layer, _)| pack(layer, Compression::Gzip)).collect();
    let (folder, bundle) = (work.join("for-umoci"), work.join("bundle"));
    layout(&folder, &packed, json!({}));
    run(Command::new("umoci")
        .args(["unpack", "--image", &format!("{}:latest", folder.display())])
        .arg(&bundle));
    tree::dump(&bundle.join("rootfs"), RUNTIME).unwrap()
}

/// What a guest sees whose root they are.
fn in_guest(name: &str, layers: &Layers, work: &Path) -> Vec<String> {
    let packed: Vec<_> = layers.iter().map(|(layer, compression)| pack(layer, *compression)).collect();
    let folder = work.join("layout");
    layout(&folder, &packed, json!({}));
    let image = format!("test/tree-{name}:1");
    let index = fs::read_to_string(folder.join("index.json")).unwrap();
    fs::write(folder.join("index.json"), index.replace("\"latest\"", &format!("\"{image}\""))).unwrap();
    let archive = work.join("layout.tar");
    run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&folder).arg("."));
    let world = World::get();
    run(world.monocore(["load", "-q", "-i"]).arg(&archive));
    let lister = Path::new(env!("CARGO_BIN_EXE_tree-dump")).parent().unwrap().display().to_string();
    let ran = world.run(
        [
            &[
                "-v",
                "/lib/x86_64-linux-gnu:/dev/libraries:ro",
                "-v",
                &format!("{lister}:/dev/programs:ro"),
                &image,
            ][..],
            &["/dev/libraries/ld-linux-x86-64.so.2", "--library-path", "/dev/libraries"],
            &["/dev/programs/tree-dump", "/"],
            RUNTIME,
        ]
        .concat(),
    );
    ran.out().lines().map(str::to_owned).collect()
}

/// Runs a program that must succeed.
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
