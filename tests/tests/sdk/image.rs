//! `python:3.12` for the guides' examples: busybox and this machine's Python.

use std::path::Path;
use std::process::Command;
use std::sync::Once;

use monocore_test_images::image::Layer;
use monocore_tests::image::{busybox, program};
use monocore_tests::world::World;
use serde_json::json;

/// Puts the image into the store, once.
pub(crate) fn load() {
    static LOADED: Once = Once::new();
    LOADED.call_once(|| {
        let config = json!({ "Env": ["PATH=/usr/bin:/bin"], "Cmd": ["python3"] });
        World::get().load("python:3.12", &config, &[busybox().unwrap(), python()]);
    });
}

fn python() -> Layer {
    let mut layer = Layer::default();
    // Such as `python3.11`.
    let name = std::fs::read_link("/usr/bin/python3").unwrap().to_str().unwrap().to_owned();
    let packages = [format!("{name}-minimal"), format!("lib{name}-minimal")];
    let listed = said("dpkg", &["--listfiles", &packages[0], &packages[1]]);
    let mut paths: Vec<&str> = listed.lines().filter(|path| path.starts_with("/usr/lib/python3")).collect();
    paths.sort_unstable();
    paths.dedup();
    for path in paths {
        let name = path.trim_start_matches('/');
        match std::fs::read(path) {
            Ok(content) => layer.file(name, &content),
            Err(_) => layer.dir(name),
        };
    }
    let interpreter = format!("/usr/bin/{name}");
    program(&mut layer, interpreter.trim_start_matches('/'), &std::fs::read(&interpreter).unwrap());
    layer.symlink("usr/bin/python3", &name);
    // "libm.so.6 => /lib/…/libm.so.6 (0x…)", and the loader without an arrow.
    let needed = said("ldd", &[&interpreter]);
    let words = needed.split_whitespace().filter(|word| word.starts_with('/'));
    for library in words {
        let content = std::fs::read(Path::new(library)).unwrap();
        program(&mut layer, library.trim_start_matches('/'), &content);
    }
    layer
}

fn said(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name).args(arguments).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
