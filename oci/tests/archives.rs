//! Archives that other tools write and read, and a store that other tools read.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs::File;
use std::path::Path;

use monocore_oci::{Image, SaveFormat, Silent, Store};
use monocore_test_images::image::{Compression, Layer, documents, layout, pack};
use serde_json::json;
use support::listing::{assert_same, of_folder, of_image};
use support::run;

/// A layout of two layers, and what umoci unpacks of it.
fn source(work: &Path) -> (String, support::listing::Listing) {
    let mut base = Layer::default();
    base.full(tar::EntryType::Directory, ".", 0o755, (0, 0), 1, &[], b"")
        .dir("d")
        .file("d/old", b"old")
        .file("f", b"1");
    let mut upper = Layer::default();
    upper.file("d/.wh.old", b"").file("new", &[3; 100_000]);
    let folder = work.join("layout");
    layout(
        &folder,
        &[pack(&base, Compression::Gzip), pack(&upper, Compression::Gzip)],
        json!({"Cmd": ["sh"]}),
    );
    let bundle = work.join("bundle");
    run("umoci", &["unpack", "--image", &format!("{}:latest", folder.display()), bundle.to_str().unwrap()]);
    (folder.display().to_string(), of_folder(&bundle.join("rootfs")))
}

fn skopeo(arguments: &[&str]) -> String {
    let output = run("skopeo", &[&["--insecure-policy"], arguments].concat());
    String::from_utf8(output.stdout).unwrap()
}

fn load(home: &Path, archive: &str) -> Vec<Image> {
    Store::open(home).unwrap().load(File::open(archive).unwrap(), &Silent).unwrap()
}

#[test]
fn what_others_write_is_loaded() {
    let work = tempfile::tempdir().unwrap();
    let (folder, expected) = source(work.path());
    let from = format!("oci:{folder}:latest");
    let path = |name: &str| work.path().join(name).display().to_string();
    skopeo(&["copy", &from, &format!("docker-archive:{}:example.com/app:1", path("docker.tar"))]);
    skopeo(&["copy", &from, &format!("oci-archive:{}:example.com/app:2", path("oci.tar"))]);
    run("gzip", &["-k", &path("docker.tar")]);
    for (archive, name) in [
        ("docker.tar", "example.com/app:1"),
        ("oci.tar", "example.com/app:2"),
        ("docker.tar.gz", "example.com/app:1"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let images = load(home.path(), &path(archive));
        assert_eq!(images.len(), 1);
        assert_eq!(images[0].reference.as_deref(), Some(name));
        assert_eq!(images[0].config.cmd, ["sh"]);
        assert_same(&expected, &of_image(&images[0].root().unwrap()), archive);
    }
}

#[test]
fn what_is_saved_is_read_by_others() {
    let work = tempfile::tempdir().unwrap();
    let (folder, expected) = source(work.path());
    let path = |name: &str| work.path().join(name).display().to_string();
    skopeo(&["copy", &format!("oci:{folder}:latest"), &format!("oci-archive:{}:alpine:1", path("in.tar"))]);
    let home = tempfile::tempdir().unwrap();
    load(home.path(), &path("in.tar"));
    let store = Store::open(home.path()).unwrap();
    for (format, name, transport) in
        [(SaveFormat::Docker, "docker.tar", "docker-archive"), (SaveFormat::Oci, "oci.tar", "oci-archive")]
    {
        store.save(&["alpine:1"], format, File::create(path(name)).unwrap()).unwrap();
        let copy = path(&format!("{name}-layout"));
        skopeo(&["copy", &format!("{transport}:{}", path(name)), &format!("oci:{copy}:latest")]);
        let bundle = path(&format!("{name}-bundle"));
        run("umoci", &["unpack", "--image", &format!("{copy}:latest"), &bundle]);
        assert_same(&expected, &of_folder(&Path::new(&bundle).join("rootfs")), name);
        let again = tempfile::tempdir().unwrap();
        let images = load(again.path(), &path(name));
        assert_eq!(images[0].reference.as_deref(), Some("docker.io/library/alpine:1"));
        assert_same(&expected, &of_image(&images[0].root().unwrap()), name);
    }
}

#[test]
fn the_store_is_a_layout_that_others_read_and_write() {
    let work = tempfile::tempdir().unwrap();
    let (folder, expected) = source(work.path());
    let home = work.path().join("home");
    let store = Store::open(&home).unwrap();
    let oci = home.join("oci").display().to_string();
    // Another tool puts an image into the store; it is converted when its root is asked for.
    skopeo(&["copy", &format!("oci:{folder}:latest"), &format!("oci:{oci}:docker.io/library/app:1")]);
    let image = store.find("app:1").unwrap();
    assert_same(&expected, &of_image(&image.root().unwrap()), "put in by skopeo");
    let text = skopeo(&["inspect", &format!("oci:{oci}:docker.io/library/app:1")]);
    assert!(text.contains(&image.layers[0].digest.to_string()), "{text}");
    let bundle = work.path().join("again");
    run("umoci", &["unpack", "--image", &format!("{oci}:docker.io/library/app:1"), bundle.to_str().unwrap()]);
    assert_same(&expected, &of_folder(&bundle.join("rootfs")), "read by umoci");
}

/// Docker writes a layer that occurs again as a link to its first occurrence.
#[test]
fn layers_that_are_links_to_others_are_followed() {
    let mut base = Layer::default();
    base.file("d/x", b"1").file("d/a", b"");
    let mut upper = Layer::default();
    upper.file("d/x", b"2").file("d/b", b"");
    let (base, upper) = (pack(&base, Compression::None), pack(&upper, Compression::None));
    let documents = documents(&[base.clone(), upper.clone(), base.clone()], json!({}));
    let manifest = json!([{ "Config": "c.json", "RepoTags": ["app:1"],
        "Layers": ["l0/layer.tar", "l1/layer.tar", "l2/layer.tar"] }]);
    for links in ["../l0/layer.tar", "../../../l0/layer.tar", "/l0/layer.tar"] {
        let mut archive = Layer::default();
        archive
            .file("l0/layer.tar", &base.blob)
            .file("l1/layer.tar", &upper.blob)
            .symlink("l2/layer.tar", links);
        archive
            .file("c.json", &documents.config)
            .file("manifest.json", &serde_json::to_vec(&manifest).unwrap());
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x.tar").display().to_string();
        std::fs::write(&path, archive.finish()).unwrap();
        let listing = of_image(&load(home.path(), &path)[0].root().unwrap());
        let paths: Vec<_> = listing.keys().map(|path| String::from_utf8_lossy(path)).collect();
        assert_eq!(paths, ["", "d", "d/a", "d/b", "d/x"], "{links}");
    }
}

#[test]
fn what_is_no_image_archive_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let path = home.path().join("x.tar");
    let mut other = Layer::default();
    other.file("something", b"else");
    let mut lacking = Layer::default();
    lacking.file("manifest.json", br#"[{"Config":"c.json","RepoTags":null,"Layers":["l.tar"]}]"#);
    let mut looping = Layer::default();
    looping.symlink("manifest.json", "index.json").symlink("index.json", "manifest.json");
    for raw in [b"no tar".to_vec(), Vec::new(), other.finish(), lacking.finish(), looping.finish()] {
        std::fs::write(&path, raw).unwrap();
        let error = store.load(File::open(&path).unwrap(), &Silent).unwrap_err();
        assert!(matches!(error, monocore_oci::Error::Archive(_)), "{error}");
    }
    assert!(store.list().unwrap().is_empty());
}
