//! Small images as `docker save` writes them, made of Debian's static busybox.

use std::path::Path;

use anyhow::{Context, Result};
use monocore_test_images::image::{Compression, Layer, digest, documents, pack};
use serde_json::{Value, json};
use tar::EntryType;

/// Where Debian's package busybox-static has it.
pub const BUSYBOX: &str = "/bin/busybox";
/// The programs an image gets, each a link to busybox.
const APPLETS: &str = "ash awk cat chmod chown cut date dd df dmesg echo env expr false find free grep head hostname id \
                       kill ln ls mkdir mount nproc od poweroff printf ps pwd rm sed seq sh sha256sum sleep sort stat \
                       stty tail tee test touch tr true tty uname wc";

/// A layer with a shell, its tools, and two users beside root: `app` (1000:1000) and `other` (2000, group `staff`).
///
/// # Errors
/// busybox is not installed.
pub fn busybox() -> Result<Layer> {
    let busybox = std::fs::read(BUSYBOX).context("Debian's busybox-static is not installed")?;
    let mut layer = Layer::default();
    for dir in ["bin", "dev", "etc", "home", "home/app", "proc", "root", "sys", "usr", "usr/bin", "var"] {
        layer.dir(dir);
    }
    layer.entry(EntryType::Directory, "tmp", 0o1777, b"");
    program(&mut layer, "bin/busybox", &busybox);
    for applet in APPLETS.split_whitespace() {
        layer.symlink(&format!("bin/{applet}"), "busybox");
    }
    layer.file(
        "etc/passwd",
        b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nother:x:2000:50::/:/bin/sh\n",
    );
    layer.file("etc/group", b"root:x:0:\napp:x:1000:\nstaff:x:50:\nextra:x:77:app\n");
    Ok(layer)
}

/// Adds a file that everybody may run.
pub fn program(layer: &mut Layer, path: &str, content: &[u8]) {
    layer.entry(EntryType::Regular, path, 0o755, content);
}

/// Writes an archive that `monocore load` and `docker load` take: one image called `name`, its `config` as the OCI image
/// spec has it (`Env`, `Cmd`, …).
///
/// # Errors
/// The file cannot be written.
pub fn write_archive(path: &Path, name: &str, config: &Value, layers: &[Layer]) -> Result<()> {
    let layers: Vec<_> = layers.iter().map(|layer| pack(layer, Compression::None)).collect();
    let config = documents(&layers, config.clone()).config;
    let config_name = format!("{}.json", &digest(&config)["sha256:".len()..]);
    let names: Vec<String> = (0..layers.len()).map(|index| format!("{index}/layer.tar")).collect();
    let manifest = json!([{ "Config": config_name, "RepoTags": [name], "Layers": names }]);
    let mut archive = Layer::default();
    archive.file(&config_name, &config);
    for (index, (name, layer)) in names.iter().zip(&layers).enumerate() {
        // `docker save` writes a layer once, and a link for each time that it comes again.
        match layers[..index].iter().position(|earlier| earlier.blob == layer.blob) {
            Some(first) => archive.symlink(name, &format!("../{first}/layer.tar")),
            None => archive.file(name, &layer.blob),
        };
    }
    archive.file("manifest.json", &serde_json::to_vec(&manifest)?);
    std::fs::write(path, archive.finish()).with_context(|| format!("cannot write {}", path.display()))
}
