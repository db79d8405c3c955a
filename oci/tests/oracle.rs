//! What an image becomes, compared with what umoci unpacks: entry by entry, `/` included.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::os::unix::fs::FileExt;
use std::path::Path;

use monocore_oci::{PullOptions, Reference, Silent, Store};
use monocore_test_images::image::{Compression, Layer, layout, pack};
use monocore_test_images::rich;
use serde_json::json;
use support::listing::{assert_same, of_folder, of_image};
use support::{concatenate, fsck, run};

/// Pulls a layout through a registry, and compares.
fn compare(layers: &[(Layer, Compression)]) {
    let work = tempfile::tempdir().unwrap();
    let packed: Vec<_> = layers.iter().map(|(layer, compression)| pack(layer, *compression)).collect();
    let source = work.path().join("layout");
    layout(&source, &packed, json!({"Cmd": ["sh"]}));

    let bundle = work.path().join("bundle");
    // This umoci knows no zstd; the archives are the same.
    let plain: Vec<_> = layers.iter().map(|(layer, _)| pack(layer, Compression::Gzip)).collect();
    let for_umoci = work.path().join("layout-for-umoci");
    layout(&for_umoci, &plain, json!({}));
    let image = format!("{}:latest", for_umoci.display());
    run("umoci", &["unpack", "--image", &image, bundle.to_str().unwrap()]);
    let expected = of_folder(&bundle.join("rootfs"));

    let registry = support::registry::Registry::start();
    registry.push(&source, "oracle/image:1");
    let store = Store::open(work.path().join("home")).unwrap();
    let reference: Reference = format!("{}/oracle/image:1", registry.address).parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let image = runtime.block_on(store.pull(&reference, &PullOptions::default(), &Silent)).unwrap();
    let root = image.root().unwrap();
    assert_same(&expected, &of_image(&root), "umoci and our reader");

    let device = work.path().join("device.erofs");
    concatenate(&root, &device);
    fsck(&device);
    mounted(&device, work.path(), |folder| {
        assert_same(&expected, &of_folder(folder), "umoci and the kernel")
    });
}

/// Lets the kernel read a device where it can.
fn mounted(device: &Path, work: &Path, check: impl Fn(&Path)) {
    let folder = work.join("mnt");
    std::fs::create_dir_all(&folder).unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "erofs", "-o", "ro,loop"])
        .args([device, &folder])
        .output()
        .unwrap();
    if !mount.status.success() {
        eprintln!("not mounted here: {}", String::from_utf8_lossy(&mount.stderr).trim());
        return;
    }
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&folder)));
    run("umount", &[folder.to_str().unwrap()]);
    result.unwrap();
}

#[test]
fn whiteouts_and_replacements() {
    compare(&rich::whiteouts_and_replacements());
}

#[test]
fn metadata_of_every_kind() {
    compare(&rich::metadata_of_every_kind());
}

#[test]
fn contents_sparse_and_dense() {
    compare(&rich::contents_sparse_and_dense());
}

/// What umoci refuses but GNU tar writes: the old sparse form, made by GNU tar itself.
#[test]
fn old_gnu_sparse_files() {
    let work = tempfile::tempdir().unwrap();
    let tree = work.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let file = std::fs::File::create(tree.join("sparse")).unwrap();
    file.set_len(100 << 20).unwrap();
    for offset in (0..60u64).map(|count| count * (1 << 20)) {
        file.write_all_at(format!("data at {offset}").as_bytes(), offset).unwrap();
    }
    drop(file);
    for path in [&tree.join("sparse"), &tree] {
        // The format knows whole seconds only.
        run("touch", &["-d", "@1700000000", path.to_str().unwrap()]);
    }
    let archive = work.path().join("layer.tar");
    run("tar", &["--format=gnu", "-S", "-C", tree.to_str().unwrap(), "-cf", archive.to_str().unwrap(), "."]);
    let raw = std::fs::read(&archive).unwrap();
    let summary = {
        let data = std::fs::File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(work.path().join("data"))
            .unwrap();
        let converted =
            monocore_erofs::convert(&raw[..], data, Vec::new(), &monocore_erofs::Limits::default()).unwrap();
        let mut tree = monocore_erofs::Tree::new(monocore_erofs::Limits::default());
        tree.apply(&mut monocore_erofs::LogReader::new(&converted.log[..]).unwrap()).unwrap();
        let image = monocore_erofs::Image::new(&tree).unwrap();
        let mut metadata = Vec::new();
        image.write([1; 16], &mut metadata).unwrap();
        std::fs::write(work.path().join("metadata"), &metadata).unwrap();
        image.summary()
    };
    let part = |name: &str, offset_bytes, len_bytes| monocore_oci::RootPart {
        path: work.path().join(name),
        offset_bytes,
        len_bytes,
    };
    let root = monocore_oci::RootImage {
        parts: vec![
            part("metadata", 0, summary.metadata_bytes),
            part("data", summary.layers[0].0, summary.layers[0].1),
        ],
        len_bytes: summary.layers[0].0 + summary.layers[0].1,
    };
    assert!(summary.layers[0].1 < 1 << 20, "holes stay holes");
    assert_same(&of_folder(&tree), &of_image(&root), "GNU tar's source and our reader");
}
