//! The store under everything that can happen to it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use monocore_oci::{Error, Limits, Pruned, PullOptions, PullPolicy, Reference, Silent, Store};
use monocore_test_images::image::{Compression, Layer, Packed, digest, documents, pack};
use serde_json::json;
use support::server::{Content, Server};

fn layer(name: &str, len: usize) -> Packed {
    let mut layer = Layer::default();
    let mut state = 7u32;
    let noise = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    layer.file(name, &(0..len).map(noise).collect::<Vec<_>>());
    pack(&layer, Compression::Gzip)
}

/// A server with one image for each tag.
fn server(images: &[(&str, Vec<Packed>)]) -> Server {
    let mut content = Content::default();
    for (tag, layers) in images {
        let documents = documents(layers, json!({"Labels": {"tag": tag}}));
        let one = Content::image(&documents, layers);
        content.manifests.insert((*tag).to_owned(), documents.manifest.clone());
        content.blobs.extend(one.blobs);
    }
    Server::start(move |request| content.answer(request))
}

fn pull(store: &Store, server: &Server, tag: &str) -> Result<monocore_oci::Image, Error> {
    let reference: Reference = format!("{}/app:{tag}", server.address).parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(store.pull(&reference, &PullOptions::default(), &Silent))
}

fn files(home: &Path, folder: &str) -> Vec<PathBuf> {
    std::fs::read_dir(home.join("oci").join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn removal_keeps_what_others_need() {
    let (shared, own) = (layer("shared", 100_000), layer("own", 50_000));
    let server = server(&[("a", vec![shared.clone()]), ("b", vec![shared.clone(), own.clone()])]);
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let a = pull(&store, &server, "a").unwrap();
    let b = pull(&store, &server, "b").unwrap();
    assert_eq!(store.list().unwrap().len(), 2);
    assert_eq!(store.disk_usage().unwrap().reclaimable_bytes, 0);

    let pruned = store.remove(&b.id.hex()[..12]).unwrap();
    assert_eq!(pruned.images, 1);
    assert!(pruned.bytes >= 50_000);
    assert!(a.root().is_ok());
    assert!(!home.path().join("oci/blobs/sha256").join(&digest(&own.blob)[7..]).exists());
    assert!(matches!(store.find("b"), Err(Error::NoSuchImage(_))));

    assert_eq!(store.prune(false, |_| false).unwrap().images, 0);
    assert_eq!(store.prune(true, |image| image.id == a.id).unwrap().images, 0);
    assert_eq!(store.prune(true, |_| false).unwrap().images, 1);
    for folder in ["blobs/sha256", "erofs/layers", "erofs/images", "tmp", "locks"] {
        assert_eq!(files(home.path(), folder), Vec::<PathBuf>::new(), "{folder}");
    }
    assert_eq!(store.prune(true, |_| false).unwrap(), Pruned::default());
}

#[test]
fn an_image_whose_reference_moved_on_stays_until_it_is_pruned() {
    let moved = Arc::new(AtomicBool::new(false));
    let content = |name| {
        let layers = vec![layer(name, 20_000)];
        let documents = documents(&layers, json!({"Labels": {"name": name}}));
        let mut content = Content::image(&documents, &layers);
        content.manifests.insert("latest".to_owned(), documents.manifest.clone());
        content
    };
    let (old, new) = (content("old"), content("new"));
    let seen = Arc::clone(&moved);
    let server =
        Server::start(
            move |request| {
                if seen.load(Ordering::Relaxed) { new.answer(request) } else { old.answer(request) }
            },
        );
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let always = |store: &Store| {
        let reference: Reference = format!("{}/app:latest", server.address).parse().unwrap();
        let options = PullOptions { policy: PullPolicy::Always, ..PullOptions::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(store.pull(&reference, &options, &Silent)).unwrap()
    };
    let first = always(&store);
    assert_eq!(always(&store).id, first.id);
    assert_eq!(store.list().unwrap().len(), 1, "the same image again displaces nothing");
    moved.store(true, Ordering::Relaxed);
    let second = always(&store);
    assert_ne!(first.id, second.id);
    let found = store.find(&first.id.to_string()).unwrap();
    assert!(found.root().is_ok() && found.reference.is_none());
    assert_eq!(store.prune(false, |image| image.id == first.id).unwrap().images, 0);
    assert_eq!(store.prune(false, |_| false).unwrap().images, 1);
    assert!(matches!(store.find(&first.id.to_string()), Err(Error::NoSuchImage(_))));
    assert!(second.root().is_ok());
    // Back to the first one: one entry again.
    moved.store(false, Ordering::Relaxed);
    always(&store);
    moved.store(true, Ordering::Relaxed);
    always(&store);
    assert_eq!(store.list().unwrap().len(), 2);
}

#[test]
fn images_are_found_by_name_and_id() {
    let server = server(&[("1", vec![layer("x", 10)]), ("2", vec![layer("y", 10)])]);
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let image = pull(&store, &server, "1").unwrap();
    pull(&store, &server, "2").unwrap();
    for name in
        [image.id.hex(), image.id.to_string(), image.digest.hex(), format!("{}/app:1", server.address)]
    {
        assert_eq!(store.find(&name).unwrap().id, image.id, "{name}");
    }
    let by_digest: Reference = format!("{}/app@{}", server.address, image.digest).parse().unwrap();
    assert_eq!(store.resolve(&by_digest).unwrap().unwrap().id, image.id);
    for name in ["", "zz", "a", "sha256:", "not/there"] {
        assert!(matches!(store.find(name), Err(Error::NoSuchImage(_))), "{name}");
    }
}

#[test]
fn an_image_that_lost_its_converted_form_gets_it_back() {
    let server = server(&[("1", vec![layer("x", 200_000)])]);
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let image = pull(&store, &server, "1").unwrap();
    let (root, asked) = (image.root().unwrap(), server.seen().len());
    let bytes = || root.parts.iter().map(|part| std::fs::read(&part.path).unwrap()).collect::<Vec<_>>();
    let before = bytes();
    std::fs::remove_dir_all(home.path().join("oci/erofs")).unwrap();
    let store = Store::open(home.path()).unwrap();
    let image = pull(&store, &server, "1").unwrap();
    assert_eq!(image.root().unwrap(), root);
    assert!(bytes() == before, "the same bytes again");
    assert_eq!(server.seen().len(), asked, "without the network");
}

/// Set for a child: registry and store.
const CHILD: &str = "MONOCORE_STORE_TEST";

/// Does nothing unless it is run by [`start`].
#[test]
fn child() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let (address, home) = told.split_once(' ').unwrap();
    let reference: Reference = format!("{address}/app:1").parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = Store::open(home).unwrap();
    runtime.block_on(store.pull(&reference, &PullOptions::default(), &Silent)).unwrap();
}

/// Pulls `app:1` in a process of its own.
fn start(address: &str, home: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, format!("{address} {}", home.display()))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn processes_share_the_work() {
    let layers = vec![layer("x", 3_000_000), layer("y", 1_000_000)];
    let digests: Vec<_> = layers.iter().map(|layer| digest(&layer.blob)).collect();
    let server = server(&[("1", layers)]);
    let home = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..4).map(|_| start(&server.address, home.path())).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    digests.iter().for_each(|digest| assert_eq!(server.count(digest), 1));
    assert!(files(home.path(), "tmp").is_empty());
}

#[test]
fn a_killed_pull_leaves_old_or_new() {
    let layers = vec![layer("x", 4_000_000), layer("y", 2_000_000)];
    let server = server(&[("1", layers)]);
    let home = tempfile::tempdir().unwrap();
    for pause in [20, 40, 60, 80, 120, 160, 240] {
        let mut child = start(&server.address, home.path());
        let until = Instant::now() + Duration::from_millis(pause);
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if !home.path().join("oci").exists() {
            continue;
        }
        let store = Store::open(home.path()).unwrap();
        for blob in files(home.path(), "blobs/sha256") {
            let name = format!("sha256:{}", blob.file_name().unwrap().to_str().unwrap());
            assert_eq!(digest(&std::fs::read(&blob).unwrap()), name, "after {pause} ms");
        }
        for image in store.list().unwrap() {
            assert!(image.root().is_ok());
        }
    }
    let store = Store::open(home.path()).unwrap();
    assert!(pull(&store, &server, "1").unwrap().root().is_ok());
    store.prune(false, |_| true).unwrap();
    assert!(files(home.path(), "tmp").is_empty());
    assert!(store.find(&format!("{}/app:1", server.address)).unwrap().root().is_ok());
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    let home = tempfile::tempdir().unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "none"])
        .arg(home.path())
        .output()
        .unwrap();
    if !mount.status.success() {
        eprintln!("no tmpfs here: {}", String::from_utf8_lossy(&mount.stderr).trim());
        return;
    }
    let result = std::panic::catch_unwind(|| {
        let server = server(&[("1", vec![layer("x", 1000)]), ("2", vec![layer("y", 5_000_000)])]);
        let store = Store::open(home.path()).unwrap();
        let image = pull(&store, &server, "1").unwrap();
        let error = pull(&store, &server, "2").unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        assert_eq!(store.list().unwrap().len(), 1);
        assert!(image.root().is_ok());
        store.prune(false, |_| true).unwrap();
        assert!(files(home.path(), "tmp").is_empty());
        assert!(image.root().is_ok());
    });
    support::run("umount", &[home.path().to_str().unwrap()]);
    result.unwrap();
}

#[test]
fn limits_are_the_stores() {
    let server = server(&[("1", vec![layer("x", 100_000)])]);
    let home = tempfile::tempdir().unwrap();
    let store = Store::open_with(home.path(), Limits { layer_bytes: 10_000, ..Limits::default() }).unwrap();
    assert!(matches!(pull(&store, &server, "1"), Err(Error::Layer { .. })));
}

#[test]
fn another_layout_version_is_not_touched() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("oci")).unwrap();
    std::fs::write(home.path().join("oci/oci-layout"), br#"{"imageLayoutVersion":"9.0.0"}"#).unwrap();
    assert!(matches!(Store::open(home.path()), Err(Error::Document { .. })));
}
