//! Images made by hand, trees read by three readers, a registry.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "support of tests")]

pub(crate) mod child;
pub(crate) mod listing;
pub(crate) mod registry;
pub(crate) mod server;

use std::path::Path;
use std::process::{Command, Output};

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stdout)
    );
    output
}

/// Writes the device an image becomes into one sparse file.
pub(crate) fn concatenate(root: &monocore_oci::RootImage, to: &Path) {
    use std::io::{Seek, SeekFrom};
    let mut out = std::fs::File::create(to).unwrap();
    for part in &root.parts {
        out.seek(SeekFrom::Start(part.offset_bytes)).unwrap();
        let copied = std::io::copy(&mut std::fs::File::open(&part.path).unwrap(), &mut out).unwrap();
        assert_eq!(copied, part.len_bytes);
    }
    out.set_len(root.len_bytes).unwrap();
}

/// Checks an image with fsck.erofs.
pub(crate) fn fsck(device: &Path) {
    let output = run("fsck.erofs", &["--extract", device.to_str().unwrap()]);
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("<E>"), "{text}");
}

/// Pulls an image of these layers into a store with these limits.
pub(crate) fn pull_layers(
    home: &Path,
    layers: &[monocore_test_images::image::Packed],
    limits: monocore_oci::Limits,
) -> Result<monocore_oci::Image, monocore_oci::Error> {
    let content = server::Content::image(
        &monocore_test_images::image::documents(layers, serde_json::json!({})),
        layers,
    );
    let server = server::Server::start(move |request| content.answer(request));
    let store = monocore_oci::Store::open_with(home, limits).unwrap();
    let reference = format!("{}/some/image:1", server.address).parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(store.pull(&reference, &monocore_oci::PullOptions::default(), &monocore_oci::Silent))
}
